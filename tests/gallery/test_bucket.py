"""Galleries in an object store: all that those on disk can, over S3's protocol, and one writer among machines."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
from typer.testing import CliRunner

from composir.backbones import load_backbone
from composir.cli.main import app
from composir.engine import Engine
from composir.errors import GalleryError
from composir.gallery import bucket, editions, kept, part
from composir.gallery.account import last_report
from composir.gallery.place import Folder, place_of
from composir.gallery.scan import FileRow, Stamp
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder
from composir.methods import load_method
from composir.server.answering.engine import open_service
from composir.server.settings import Settings


@pytest.fixture(scope="module")
def store():
    """The address of a store that speaks S3's protocol, in memory."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def uri(store, request, tmp_path, monkeypatch) -> str:
    """Of a place in a bucket of the test's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    told = {"ACCESS_KEY_ID": "x", "SECRET_ACCESS_KEY": "y", "REGION": "us-east-1", "ENDPOINT": store}
    for name, value in {**told, "ALLOW_HTTP": "true"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("COMPOSIR_CACHE", str(tmp_path / "cache"))
    name = f"t{abs(hash(request.node.nodeid)):x}"
    urllib.request.urlopen(urllib.request.Request(f"{store}/{name}", method="PUT")).close()
    return f"s3://{name}/shops/one"


@pytest.fixture
def quick(monkeypatch) -> None:
    """A writer counts as dead after a second."""
    monkeypatch.setattr(bucket, "LEASE", 1.2)


def test_it_holds_what_a_gallery_on_disk_holds(uri, tmp_path, tiny_method, pictures):
    folder = pictures(7)
    (folder / "metadata.csv").write_text(
        "file_name,price\n" + "".join(f"{p.name},{i}\n" for i, p in enumerate(sorted(folder.glob("*.png"))))
    )
    for where in (uri, tmp_path / "g"):
        report = index_folder(create_gallery(where, tiny_method, folder), tiny_method, folder, workers=0, batch_size=3)
        assert report.encoded == 7
    there, here = Gallery.open(uri), Gallery.open(tmp_path / "g")
    assert there.manifest == here.manifest
    assert there.files() == here.files()
    assert there.metadata().to_pylist() == here.metadata().to_pylist()
    (engine, own) = (Engine(tiny_method, gallery) for gallery in (there, here))
    for where in ("", "price > 2"):
        assert engine.search(text="in red", k=5, where=where) == own.search(text="in red", k=5, where=where)
    first = next(iter(sorted(folder.glob("*.png"))))
    first.rename(first.with_name("moved.png"))
    again = index_folder(there, tiny_method, folder, workers=0)
    assert (again.encoded, again.moved) == (0, 1)
    assert last_report(there)["moved"] == 1
    assert not there.damaged()


def test_a_reader_sees_what_is_added(uri, tiny_method, pictures):
    folder = pictures(3)
    gallery = create_gallery(uri, tiny_method, folder)
    index_folder(gallery, tiny_method, folder, workers=0)
    shelf = Shelf.load(Gallery.open(uri))
    row = np.zeros((1, 1, gallery.manifest.dim), np.float16)
    row[0, 0, 0] = 1
    with gallery.writing():
        gallery.add(["f" * 32], row, [FileRow("new.png", "f" * 32, Stamp(1, 2, 3))], known=frozenset())
    grown = shelf.grown(Gallery.open(uri))
    assert grown is not None
    assert list(grown.paths)[-1] == ("new.png",)


def test_a_large_one_is_kept_on_the_readers_machine(uri, tmp_path, tiny_method, pictures, monkeypatch):
    monkeypatch.setattr(part, "MANY", 3)
    folder = pictures(6)
    gallery = create_gallery(uri, tiny_method, folder)
    index_folder(gallery, tiny_method, folder, workers=0)
    assert kept.read(gallery) is None
    first = Shelf.load(gallery)
    assert list((tmp_path / "cache" / "shelves").glob("*/shelf-*"))
    monkeypatch.setattr(Gallery, "vectors", lambda self: pytest.fail("all was read for nothing"))
    assert list(Shelf.load(Gallery.open(uri)).ids) == list(first.ids)


def test_editions_are_exchanged_under_a_service(uri, tiny_method, pictures):
    folder, run = pictures(3), CliRunner()
    index_folder(create_gallery(uri, tiny_method, folder), tiny_method, folder, workers=0)
    other = load_method("slerp", load_backbone("siglip-tiny"))
    key = other.gallery_key()
    beside = create_gallery(editions.edition(place_of(uri), key), other, folder)
    index_folder(beside, other, folder, workers=0)
    service = open_service(Settings(gallery=uri, refresh_seconds=3600.0))
    try:
        for words, read in (("swap", key), ("rollback", tiny_method.gallery_key())):
            done = run.invoke(app, ["gallery", words, uri], catch_exceptions=False)
            assert done.exit_code == 0, done.output
            service.refresh()
            assert service.info().key == read
    finally:
        service.close()
    told = json.loads(run.invoke(app, ["gallery", "info", uri, "--json"]).output)
    assert told["editions"].keys() == {".", key}
    assert told["pictures"] == 3
    assert run.invoke(app, ["gallery", "verify", uri]).exit_code == 0
    assert run.invoke(app, ["gallery", "compact", uri]).exit_code == 0
    assert len(Gallery.open(uri).ids()) == 3


def test_one_writer_at_a_time(uri, tiny_method, pictures, quick):
    gallery = create_gallery(uri, tiny_method, pictures(2))
    with (
        gallery.writing(),
        pytest.raises(GalleryError, match="is being written by another process"),
        Gallery.open(uri).writing(),
    ):
        pytest.fail("two at once")
    before = time.monotonic()
    with gallery.writing():
        pass
    assert time.monotonic() - before < bucket.LEASE  # an orderly end leaves nothing to wait for


def test_who_stands_still_loses_the_lock_and_writes_no_more(uri, tiny_method, pictures, quick, monkeypatch):
    gallery = create_gallery(uri, tiny_method, pictures(2))
    owner, awake, put = [], threading.Event(), bucket.Lease._put

    def slow(own: bucket.Lease, *given: object, **named: object) -> object:
        if own in owner:
            awake.wait(5)
        return put(own, *given, **named)

    monkeypatch.setattr(bucket.Lease, "_put", slow)

    def stand_still() -> None:
        with gallery.writing():
            owner.append(gallery._held.__self__)
            time.sleep(0.3)  # one renewal may be on its way
            with Gallery.open(uri).writing():
                awake.set()
                for write in (
                    lambda: gallery.add([], np.zeros((0, 1, 16), np.float16), []),
                    lambda: gallery.compact(at_once=True),
                    lambda: gallery.write_skipped([]),
                ):
                    with pytest.raises(GalleryError, match="may be written by another process now"):
                        write()

    with pytest.raises(GalleryError, match="may be written by another process now"):
        stand_still()


def test_a_lost_answer_to_its_own_renewal_is_no_loss(uri, tiny_method, pictures, quick, monkeypatch):
    gallery = create_gallery(uri, tiny_method, pictures(2))
    put, times = bucket.Lease._put, []

    def answered_to_nobody(own, mark, state="held"):
        times.append(put(own, mark, state))
        if len(times) == 2:
            raise bucket.PreconditionError("the first try was written, the second found it")
        return times[-1]

    monkeypatch.setattr(bucket.Lease, "_put", answered_to_nobody)
    with gallery.writing():
        time.sleep(bucket.LEASE * 1.5)
    assert len(times) > 4


def test_a_store_that_is_away_for_a_moment_loses_no_lock(uri, tiny_method, pictures, quick, monkeypatch, caplog):
    gallery = create_gallery(uri, tiny_method, pictures(2))
    put, seen, calls = bucket.Lease._put, bucket.Lease._seen, []

    def away(own, mark, state="held"):
        calls.append(state)
        if len(calls) == 2:
            raise bucket.PreconditionError("maybe ours")
        return put(own, mark, state)

    def silent(own):
        if len(calls) == 2:
            raise bucket.BaseError("the network is down")
        return seen(own)

    monkeypatch.setattr(bucket.Lease, "_put", away)
    monkeypatch.setattr(bucket.Lease, "_seen", silent)
    with gallery.writing():
        time.sleep(bucket.LEASE * 1.5)
        assert len(calls) > 4
    assert "could not be written anew: the network is down" in caplog.text


KILLED = """
import sys
from composir.gallery.store import Gallery
with Gallery.open(sys.argv[1]).writing():
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_a_killed_writer_is_outlived(uri, tiny_method, pictures, quick, caplog):
    folder = pictures(2)
    gallery = create_gallery(uri, tiny_method, folder)
    with subprocess.Popen([sys.executable, "-c", KILLED, uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdout.readline() == b"writing\n"
        writer.send_signal(signal.SIGKILL)
    assert index_folder(gallery, tiny_method, folder, workers=0).encoded == 2
    assert "waiting 1 s for a sign of life" in caplog.text


def test_a_creation_that_was_stopped_is_gone_on_with(uri, tiny_method, pictures, monkeypatch):
    folder = pictures(2)
    with monkeypatch.context() as patched:
        patched.setattr("composir.gallery.store._write_manifest", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            create_gallery(uri, tiny_method, folder)
    with pytest.raises(GalleryError, match="holds no gallery; build one with"):
        Gallery.open(uri)
    assert index_folder(create_gallery(uri, tiny_method, folder), tiny_method, folder, workers=0).encoded == 2


def test_what_is_there_is_not_written_over(uri, tiny_method, pictures):
    folder = pictures(2)
    create_gallery(uri, tiny_method, folder)
    with pytest.raises(GalleryError, match="holds a gallery already"):
        create_gallery(uri, tiny_method, folder)
    other = place_of(uri.replace("/one", "/two"))
    other.replace("notes.txt", "mine")
    with pytest.raises(GalleryError, match=r"two holds notes\.txt and is no gallery"):
        create_gallery(other, tiny_method, folder)
    third = place_of(uri.replace("/one", "/three"))
    third.replace("lock", "mine")
    with pytest.raises(GalleryError, match="three/lock is none of composir's locks"):
        create_gallery(third, tiny_method, folder)


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("ftp://a/b", r"ftp:// is none of file://, s3://, gs://, az://"),
        ("s3://shop", r"names no place in the bucket; name one, e\.g\. s3://shop/shop"),
        ("s3://", r"e\.g\. s3://BUCKET/shop"),
        ("s3://shop//one", r"'' can be no part of a place"),
        ("s3://shop/../one", r"'\.\.' can be no part of a place"),
        ("S3://shop/one?x=1", r"'one\?x=1' can be no part of a place"),
        ("s3://me@shop/one", r"'me@shop' can be no part of a place"),
    ],
)
def test_what_is_no_place_is_told(told, why):
    with pytest.raises(GalleryError, match=why):
        place_of(told)


def test_a_file_uri_is_a_folder(tmp_path):
    assert place_of(f"file://{tmp_path}/a%20b") == Folder(tmp_path / "a b")


def test_a_missing_bucket_and_a_silent_store_are_told(uri, monkeypatch):
    with pytest.raises(GalleryError, match=r"s3://nobody/g cannot be reached .* AWS_ENDPOINT"):
        Gallery.open("s3://nobody/g")
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(bucket, "PATIENCE", {"max_retries": 0})
    with pytest.raises(GalleryError, match="cannot be reached"):
        Gallery.open(uri)


def test_without_the_package_the_install_command_is_told(monkeypatch):
    monkeypatch.delitem(sys.modules, "composir.gallery.bucket")
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(GalleryError, match=r"pip install 'composir\[scale\]'"):
        place_of("s3://shop/g")
