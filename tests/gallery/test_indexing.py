"""Indexing understands content: what is renamed, copied, edited or deleted, and what is broken."""

import itertools
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from composir import indexing
from composir.backbones import load_backbone
from composir.errors import DataError, GalleryError
from composir.gallery import picture
from composir.gallery.scan import file_id
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder
from composir.loading import pixel_batches
from composir.methods import load_method


@pytest.fixture
def run(tmp_path, tiny_method):
    """run(root) indexes into tmp_path/g, made when needed, and gives the report."""

    def index(root, gallery=tmp_path / "g", **options):
        opened = Gallery.open(gallery) if gallery.exists() else create_gallery(gallery, tiny_method, root)
        return index_folder(opened, tiny_method, root, **{"workers": 0, "batch_size": 4, **options})

    return index


@pytest.fixture(autouse=True)
def settled(monkeypatch):
    """The files of a test are a moment old; let their stamps be trusted as those of a user's files are."""
    monkeypatch.setattr("composir.gallery.scan.UNSETTLED", -60.0)


def counts(report):
    names = ("unchanged", "added", "edited", "moved", "copied", "removed", "encoded")
    return {name: value for name in names if (value := getattr(report, name))}


def paths(gallery: Path) -> set[str]:
    return {path for places in Shelf.load(Gallery.open(gallery)).paths for path in places}


def test_a_folder_is_indexed_once(run, pictures, tmp_path, monkeypatch):
    root = pictures(10)
    report = run(root)
    assert counts(report) == {"added": 10, "encoded": 10}
    assert (report.files, report.images, report.copies, report.skipped) == (10, 10, 0, ())
    monkeypatch.setattr(picture, "file_id", lambda path: pytest.fail(f"{path} was read again"))
    assert counts(run(root)) == {"unchanged": 10}


def test_vectors_are_those_of_the_encoder(run, pictures, tiny_method, tmp_path):
    root = pictures(6)
    run(root)
    shelf = Shelf.load(Gallery.open(tmp_path / "g"))
    for path in root.iterdir():
        pixels = tiny_method.transform("gallery")(Image.open(path).convert("RGB"))
        with torch.inference_mode():
            expected = tiny_method.encode_gallery(pixels[None])[0]
        assert torch.allclose(shelf.vectors([shelf.rows[file_id(path)]])[0].float(), expected, atol=2e-3)


def test_renamed_moved_and_case_renamed_files_are_not_encoded_again(run, pictures, tmp_path):
    root = pictures(8)
    run(root)
    (root / "000.png").rename(root / "new name.png")
    (root / "deep" / "er").mkdir(parents=True)
    (root / "001.png").rename(root / "deep" / "er" / "001.png")
    (root / "002.png").rename(root / "002.PNG")
    shutil.move(root / "003.png", root / "004.x.png")
    assert counts(run(root)) == {"unchanged": 4, "moved": 4}
    assert paths(tmp_path / "g") == {str(p.relative_to(root)) for p in root.rglob("*.*")}


def test_a_whole_folder_renamed_by_case(run, pictures, tmp_path):
    root = pictures([f"Shoes/{i}.png" for i in range(20)])
    run(root)
    (root / "Shoes").rename(root / "shoes")
    assert counts(run(root)) == {"moved": 20}
    assert paths(tmp_path / "g") == {f"shoes/{i}.png" for i in range(20)}


@pytest.mark.long
def test_a_thousand_files_renamed_are_not_encoded_again(run, pictures, tmp_path, tiny_method, monkeypatch):
    root = tmp_path / "thousand"
    root.mkdir()
    for n in range(1000):
        Image.new("RGB", (4, 4), (n % 250, n // 250, 0)).save(root / f"{n:03}.png")
    assert counts(run(root, batch_size=250)) == {"added": 1000, "encoded": 1000}
    (root / "new").mkdir()
    for n in range(1000):
        (root / f"{n:03}.png").rename(root / "new" / f"renamed-{n}.png")
    monkeypatch.setattr(tiny_method, "encode_gallery", lambda _: pytest.fail("a picture was encoded again"))
    assert counts(run(root)) == {"moved": 1000}
    assert paths(tmp_path / "g") == {f"new/renamed-{n}.png" for n in range(1000)}


def test_two_files_that_swap_names(run, pictures, tmp_path):
    root = pictures(3)
    run(root)
    first, second = file_id(root / "000.png"), file_id(root / "001.png")
    (root / "000.png").rename(root / "t")
    (root / "001.png").rename(root / "000.png")
    (root / "t").rename(root / "001.png")
    report = run(root)
    assert report.encoded == 0
    rows = Gallery.open(tmp_path / "g").files()
    assert (rows["000.png"].id, rows["001.png"].id) == (second, first)


def test_copies_are_one_picture_with_several_paths(run, pictures, tmp_path):
    root = pictures(3)
    shutil.copy(root / "000.png", root / "a copy.png")
    report = run(root)
    assert (report.files, report.images, report.copies, report.encoded) == (4, 3, 1, 3)
    shutil.copy(root / "000.png", root / "later.png")
    report = run(root)
    assert counts(report) == {"unchanged": 4, "copied": 1}
    shelf = Shelf.load(Gallery.open(tmp_path / "g"))
    assert len(shelf) == 3
    assert shelf.paths[shelf.rows[file_id(root / "000.png")]] == ("000.png", "a copy.png", "later.png")
    (root / "000.png").unlink()
    assert counts(run(root)) == {"unchanged": 4, "removed": 1}


def test_edited_and_deleted_files(run, pictures, tmp_path):
    root = pictures(6)
    run(root)
    old = file_id(root / "002.png")
    shutil.copy(pictures(1, "other", seed=77) / "000.png", root / "002.png")
    (root / "003.png").unlink()
    assert counts(run(root)) == {"unchanged": 4, "edited": 1, "removed": 1, "encoded": 1}
    shelf = Shelf.load(Gallery.open(tmp_path / "g"))
    assert old not in shelf.rows
    assert "003.png" not in paths(tmp_path / "g")
    assert len(shelf) == 5
    assert Gallery.open(tmp_path / "g").ids() == set(shelf.ids)


def test_an_edit_that_hides_its_time_is_noticed(run, pictures):
    root = pictures(1)
    run(root)
    path, other = root / "000.png", pictures(1, "other", seed=5) / "000.png"
    times, size = path.stat(), path.stat().st_size
    other.write_bytes(other.read_bytes().ljust(size, b"\0")[:size] if other.stat().st_size <= size else b"")
    path.write_bytes(other.read_bytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert counts(run(root))["edited" if other.stat().st_size else "removed"] == 1


def test_a_touched_file_is_read_but_not_encoded(run, pictures):
    root = pictures(3)
    run(root)
    os.utime(root / "001.png", (1, 1))
    assert counts(run(root)) == {"unchanged": 3}


def test_a_file_too_young_to_trust_is_read_again(run, pictures, monkeypatch):
    root = pictures(2)
    monkeypatch.setattr("composir.gallery.scan.UNSETTLED", 60.0)
    run(root)
    read = []
    monkeypatch.setattr(picture, "file_id", lambda path: read.append(path.name) or file_id(path))
    assert counts(run(root)) == {"unchanged": 2}
    assert sorted(read) == ["000.png", "001.png"]


def test_broken_files_are_listed_remembered_and_tried_again_on_request(run, pictures, tmp_path, monkeypatch):
    root = pictures(3)
    (root / "broken.png").write_bytes((root / "000.png").read_bytes()[:60])
    shutil.copy(root / "broken.png", root / "broken copy.png")
    (root / "note.txt").write_text("no picture")
    (root / "empty.jpg").touch()
    report = run(root)
    reasons = {row.path: row.reason for row in report.skipped}
    assert reasons["note.txt"] == "not an image"
    assert reasons["empty.jpg"] == "empty file"
    assert reasons["broken.png"] == reasons["broken copy.png"] == "truncated"
    assert report.files == 7 == report.images + len(report.skipped)
    lines = (tmp_path / "g" / "skipped.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert '"path": "note.txt", "reason": "not an image"' in "".join(lines)

    shutil.copy(root / "broken.png", root / "another.png")
    decoded = []
    monkeypatch.setattr(picture, "read_picture", lambda *_, name: decoded.append(name))
    assert {row.path: row.reason for row in run(root).skipped}["another.png"] == "truncated"
    assert decoded == []
    run(root, retry_skipped=True)
    assert len(decoded) == 1  # three files, one content


def test_a_mended_file_is_indexed(run, pictures):
    root = pictures(3)
    good = (root / "000.png").read_bytes()
    (root / "000.png").write_bytes(good[:50])
    assert len(run(root).skipped) == 1
    (root / "000.png").write_bytes(good)
    assert counts(run(root)) == {"unchanged": 2, "edited": 1, "encoded": 1}


def test_a_picture_that_breaks_vanishes_from_the_results(run, pictures, tmp_path):
    root = pictures(3)
    run(root)
    (root / "000.png").write_bytes(b"now a text")
    report = run(root)
    assert [row.path for row in report.skipped] == ["000.png"]
    assert paths(tmp_path / "g") == {"001.png", "002.png"}


def test_a_file_changed_while_being_indexed_is_taken_by_the_next_run(run, pictures, monkeypatch, tmp_path):
    root = pictures(4)
    shutil.copy(root / "001.png", root / "twin.png")
    real = pixel_batches

    def meddle(read, ids, *args, **kwargs):
        def stream():
            for item in ids:
                if item.path == "001.png":
                    shutil.copy(root / "000.png", root / "001.png")
                yield item

        return real(read, stream(), *args, **kwargs)

    monkeypatch.setattr(indexing, "pixel_batches", meddle)
    report = run(root)
    assert {row.path: row.reason for row in report.skipped} == {"001.png": "changed", "twin.png": "changed"}
    monkeypatch.setattr(indexing, "pixel_batches", real)
    report = run(root)
    assert report.skipped == ()
    assert (report.images, report.copies, report.encoded) == (4, 1, 1)


def test_unreadable_files_are_tried_again_by_every_run(run, pictures, monkeypatch):
    root = pictures(2)

    def refuse(path):
        if path.name == "001.png":
            raise PermissionError(13, "Permission denied")
        return file_id(path)

    monkeypatch.setattr(picture, "file_id", refuse)
    [row] = run(root).skipped
    assert (row.path, row.reason, row.detail) == ("001.png", "unreadable", "Permission denied")
    monkeypatch.setattr(picture, "file_id", file_id)
    assert run(root).encoded == 1


@pytest.mark.parametrize("reason", ["unreadable", "missing file"])
def test_what_passes_between_identifying_and_decoding_is_tried_again(run, pictures, monkeypatch, reason):
    root = pictures(2)
    content, calls = (root / "001.png").read_bytes(), []

    def vanish(path):
        own = file_id(path)
        if path.name == "001.png":
            calls.append(path)
            if len(calls) == 2:  # the first identifies it, the second is that of who decodes it
                if reason == "unreadable":
                    raise PermissionError(13, "Permission denied")
                path.unlink()
        return own

    monkeypatch.setattr(picture, "file_id", vanish)
    [row] = run(root).skipped
    assert (row.path, row.reason) == ("001.png", reason)
    assert len(calls) == 2
    stamp = (root / "000.png").stat().st_mtime_ns
    (root / "001.png").write_bytes(content)
    os.utime(root / "001.png", ns=(stamp, stamp))
    report = run(root)
    assert (report.encoded, report.images) == (1, 2)
    assert not report.skipped


def test_odd_names(run, pictures, tmp_path):
    names = [
        "it's.png",
        "日本/語 1.png",
        "👗.png",
        "new\nline.png",
        "%41#?&.png",
        "-rf.png",
        "a\\b.png",
        "e\u0301.png",
        "é.png",
    ]
    root = pictures(names)
    with open(os.fsencode(root) + b"/caf\xe9.png", "wb") as file:
        file.write((root / "it's.png").read_bytes())
    report = run(root)
    assert paths(tmp_path / "g") == set(names)
    assert [(row.path, row.reason) for row in report.skipped] == [("caf\\xe9.png", "unreachable")]
    assert counts(run(root)) == {"unchanged": len(names)}
    for name in names[:4]:
        (root / name).unlink()
    assert counts(run(root)) == {"unchanged": len(names) - 4, "removed": 4}


def test_an_empty_folder_gives_an_empty_gallery(run, pictures, tmp_path):
    report = run(pictures(0))
    assert (report.files, report.images) == (0, 0)
    assert len(Shelf.load(Gallery.open(tmp_path / "g"))) == 0


def test_a_folder_that_lost_all_its_files_does_not_empty_the_gallery(run, pictures, tmp_path):
    root = pictures(3)
    run(root)
    for path in root.iterdir():
        path.unlink()
    with pytest.raises(GalleryError, match="holds no files any more, but the gallery has 3"):
        run(root)
    assert len(Shelf.load(Gallery.open(tmp_path / "g"))) == 3


def test_a_shut_folder_keeps_what_was_known_of_it(run, pictures, monkeypatch, tmp_path):
    root = pictures(["a.png", "shut/b.png", "shut/c.png"])
    run(root)
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    report = run(root)
    assert (report.files, report.kept, report.removed) == (1, 2, 0)
    assert len(paths(tmp_path / "g")) == 3


def test_a_gallery_inside_its_folder_is_not_indexed(run, pictures):
    root = pictures(3)
    assert run(root, root / "my gallery").files == 3
    assert counts(run(root, root / "my gallery")) == {"unchanged": 3}


def test_another_folder_is_refused_unless_the_old_one_moved(run, pictures, tmp_path):
    root, other = pictures(3), pictures(2, "other", seed=50)
    run(root)
    with pytest.raises(GalleryError, match=r"gallery of .*pictures, not of .*other.*--new-root"):
        run(other)
    root.rename(tmp_path / "moved")
    assert counts(run(tmp_path / "moved")) == {"unchanged": 3}
    assert counts(run(other, new_root=True)) == {"edited": 2, "removed": 1, "encoded": 2}


def test_a_missing_folder_is_named(run, tmp_path):
    with pytest.raises(DataError, match="nowhere is missing"):
        run(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file is not a folder"):
        run(tmp_path / "file")


def test_a_foreign_method_is_refused(run, pictures, tmp_path):
    root = pictures(2)
    run(root)
    other = load_method("slerp", load_backbone("siglip-tiny"))
    with pytest.raises(GalleryError, match=r"composir index .* --method slerp --backbone siglip-tiny"):
        index_folder(Gallery.open(tmp_path / "g"), other, root)


def test_damaged_and_lost_vectors_are_encoded_again(run, pictures, tmp_path):
    root = pictures(5)
    run(root)
    gallery = Gallery.open(tmp_path / "g")
    victim, lost = file_id(root / "001.png"), file_id(root / "002.png")
    gallery._images.update(where=f"id = '{victim}'", values={"checksum": 1})
    gallery.drop_images([lost])
    assert run(root, verify=True).encoded == 2
    assert Gallery.open(tmp_path / "g").damaged() == []
    assert len(Shelf.load(gallery)) == 5


def test_an_indexer_waits_for_no_other(run, pictures, tmp_path):
    root = pictures(1)
    run(root)
    with Gallery.open(tmp_path / "g").writing(), pytest.raises(GalleryError, match="another process"):
        run(root)


def test_equal_folders_give_equal_galleries(run, pictures, tmp_path):
    first, second = pictures(9), pictures([f"{8 - i}/x.png" for i in range(9)], "second")
    run(first, tmp_path / "g1")
    run(second, tmp_path / "g2", workers=2)
    one, two = (Gallery.open(tmp_path / name).vectors() for name in ("g1", "g2"))
    assert one[0] == two[0]
    assert np.abs(one[1].astype(np.float32) - two[1].astype(np.float32)).max() < 2e-3
    run(first, tmp_path / "g3")
    three = Gallery.open(tmp_path / "g3").vectors()
    assert np.array_equal(one[1], three[1])


def test_progress_counts_every_changed_file(run, pictures):
    root = pictures(10)
    (root / "note.txt").write_text("x")
    told = []
    run(root, progress=told.append)
    assert [(p.done, p.total, p.encoded, p.skipped) for p in (told[0], told[-1])] == [(0, 11, 0, 0), (11, 11, 10, 1)]
    assert all(a.done <= b.done for a, b in itertools.pairwise(told))


def test_a_full_device_is_given_halves(tiny_method, monkeypatch):
    real, sizes = tiny_method.encode_gallery, []

    def tight(images):
        sizes.append(len(images))
        if len(images) > 3:
            raise torch.OutOfMemoryError("full")
        return real(images)

    pixels = torch.randint(0, 256, (10, 3, 32, 32), dtype=torch.uint8)
    expected = indexing.encode(tiny_method, pixels)
    monkeypatch.setattr(tiny_method, "encode_gallery", tight)
    assert torch.allclose(indexing.encode(tiny_method, pixels), expected, atol=1e-5)
    assert sizes == [10, 5, 3, 2, 5, 3, 2]


def test_a_vector_that_is_not_finite_is_no_vector(run, pictures, tiny_method, monkeypatch):
    root = pictures(4)
    real = indexing.encode

    def spoilt(method, pixels):
        vectors = real(method, pixels).clone()
        vectors[len(vectors) // 2] = float("nan")
        return vectors

    create_gallery(root.parent / "g", tiny_method, root)
    monkeypatch.setattr(indexing, "encode", spoilt)
    report = run(root)
    assert [row.reason for row in report.skipped] == ["no finite vector"]
    assert report.images == 3


def test_pictures_without_a_file_are_not_searched(run, pictures, tmp_path):
    root = pictures(3)
    run(root)
    gallery = Gallery.open(tmp_path / "g")
    gallery.forget_files(["001.png"])
    assert len(gallery.ids()) == 3
    assert len(Shelf.load(gallery)) == 2
    assert counts(run(root)) == {"unchanged": 2, "added": 1}


@pytest.mark.long
def test_a_reader_beside_an_indexer_always_sees_a_sound_gallery(run, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(indexing, "COMMIT_SECONDS", 0.0)
    monkeypatch.setattr(indexing, "COMPACT_COMMITS", 5)
    root = pictures(40)
    run(root)
    for number in range(40):
        (root / f"{number:03}.png").rename(root / f"again {number}.png")
    ended, looked, sizes, problems = threading.Event(), threading.Event(), [], []
    real = Gallery.add

    def add(self, *rest):
        """Commit; go on when somebody has begun to look and ended since."""
        real(self, *rest)
        for _ in range(2):
            looked.clear()
            assert looked.wait(60)

    def look():
        while not ended.is_set():
            try:
                sizes.append(len(Shelf.load(Gallery.open(tmp_path / "g"))))
            except Exception as error:
                problems.append(error)
            looked.set()

    monkeypatch.setattr(Gallery, "add", add)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        run(root)
    finally:
        ended.set()
        watcher.join()
    assert problems == []
    assert set(sizes) == {40}
    assert len(sizes) >= 40


@pytest.mark.long
def test_real_photographs_and_hostile_files(run, shared_data, tmp_path, tiny_method):
    """Every hostile file ends as indexed or as skipped with a reason; the eight orientations are one picture."""
    root = tmp_path / "hostile"
    shutil.copytree(shared_data / "hostile_images", root)
    report = run(root, workers=1, batch_size=32)
    files = sum(1 for path in root.rglob("*") if path.is_file() and not path.name.startswith("."))
    assert report.files == files == report.images + report.copies + len(report.skipped)
    assert report.images > 150
    assert all(row.reason for row in report.skipped)
    assert {row.reason for row in report.skipped} >= {"unsupported format", "not an image", "too many pixels"}
    shelf = Shelf.load(Gallery.open(tmp_path / "g"))
    upright, *others = (
        shelf.vectors([shelf.rows[file_id(p)]])[0].float() for p in sorted(root.rglob("Landscape_*.jpg"))
    )
    assert len(others) == 7
    assert all(float((upright * other).sum()) > 0.999 for other in others)
    assert counts(run(root, workers=1)) == {"unchanged": report.images + report.copies}
