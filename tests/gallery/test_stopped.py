"""Indexing that is stopped: what was committed is a sound gallery, and the next run encodes the rest alone."""

from __future__ import annotations

import shutil
import signal
import time
from types import SimpleNamespace

import lancedb.merge
import lancedb.table
import pytest

from composir import indexing
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder

SHIPPED = 2.0  # seconds between commits, as README.md has it
WRITES = (
    (lancedb.table.LanceTable, "add"),
    (lancedb.merge.LanceMergeInsertBuilder, "execute"),
    (lancedb.table.LanceTable, "delete"),
)


class Stopped(Exception):
    """In the place of a death."""


@pytest.fixture
def hears_ctrl_c():
    """Where the suite runs in the background of a shell, it was born deaf to SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def at_batch(monkeypatch):
    """set_up(n, do) does something before batch n is encoded; every batch before takes so many seconds of the clock."""
    real, clock = indexing.encode, SimpleNamespace(now=0.0, monotonic=lambda: clock.now)

    def set_up(number, do, seconds=0.5):
        seen = []

        def encode(method, pixels):
            seen.append(len(pixels))
            if len(seen) == number:
                do()
            clock.now += seconds
            return real(method, pixels)

        monkeypatch.setattr(indexing, "encode", encode)

    def index(gallery, method, folder, batch_size=1):
        monkeypatch.setattr(indexing, "time", clock)
        return index_folder(gallery, method, folder, batch_size=batch_size, workers=0)

    return SimpleNamespace(set_up=set_up, index=index, real=real)


def stop():
    raise Stopped


def ctrl_c():
    signal.raise_signal(signal.SIGINT)


def pointed(gallery: Gallery) -> set[str]:
    """Ids of the pictures that files point to."""
    return {row.id for row in gallery.files().values() if not row.reason}


def test_the_shipped_interval_is_what_the_words_say():
    assert indexing.COMMIT_SECONDS == SHIPPED


@pytest.mark.parametrize(("end", "batches"), [(Stopped, 10), (KeyboardInterrupt, 14)])
def test_a_stopped_run_goes_on_where_it_stopped(
    pictures, tmp_path, tiny_method, monkeypatch, at_batch, hears_ctrl_c, end, batches
):
    """With the shipped interval: a death loses two seconds at most, Ctrl-C none."""
    folder = pictures(20)
    gallery = create_gallery(tmp_path / "g", tiny_method, folder)
    at_batch.set_up(15, stop if end is Stopped else ctrl_c)
    with pytest.raises(end):
        at_batch.index(gallery, tiny_method, folder)
    kept = gallery.ids()
    assert len(kept) == batches
    assert pointed(gallery) == kept
    monkeypatch.setattr(indexing, "encode", at_batch.real)
    report = index_folder(gallery, tiny_method, folder, workers=0)
    assert (report.encoded, report.unchanged) == (20 - len(kept), len(kept))
    assert gallery.damaged() == []


@pytest.mark.parametrize("batch", [2, 3, 4])
def test_a_slow_encoder_loses_no_batch_that_was_encoded(pictures, tmp_path, tiny_method, at_batch, batch):
    """Where a batch takes longer than the time between commits, each is written whole when it is encoded."""
    folder = pictures(20)
    gallery = create_gallery(tmp_path / "g", tiny_method, folder)
    at_batch.set_up(batch, stop, seconds=3.0)
    with pytest.raises(Stopped):
        at_batch.index(gallery, tiny_method, folder, batch_size=4)
    assert len(gallery.ids()) == 4 * (batch - 1)


@pytest.mark.parametrize("times", [1, 2])
def test_ctrl_c_during_a_commit_waits_for_it(pictures, tmp_path, tiny_method, monkeypatch, hears_ctrl_c, times):
    folder = pictures(6)
    gallery = create_gallery(tmp_path / "g", tiny_method, folder)
    monkeypatch.setattr(indexing, "COMMIT_SECONDS", 0.0)
    real, calls = Gallery.add, []

    def interrupted(self, ids, *rest):
        calls.append(ids)
        if len(calls) == 3:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
                time.sleep(0.1)
        real(self, ids, *rest)

    monkeypatch.setattr(Gallery, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        index_folder(gallery, tiny_method, folder, batch_size=1, workers=0)
    stored = gallery.vectors()[0]
    assert len(stored) == len(set(stored)) == 3
    assert pointed(gallery) == set(stored)


@pytest.fixture
def changed(pictures, tmp_path, tiny_method):
    """A gallery, and its folder in which since then a file is new, one is gone, one moved and one was edited."""
    folder = pictures(5)
    index_folder(create_gallery(tmp_path / "g", tiny_method, folder), tiny_method, folder, workers=0)
    (folder / "000.png").rename(folder / "moved.png")
    (folder / "001.png").unlink()
    shutil.copy(pictures(1, "other", seed=90) / "000.png", folder / "002.png")
    shutil.copy(pictures(1, "other", seed=91) / "000.png", folder / "new.png")
    return folder, tmp_path / "g"


def test_after_each_commit_no_file_points_to_a_missing_picture(changed, tmp_path, tiny_method, monkeypatch):
    """Pictures come before the files that point to them, and go after them."""
    folder, path = changed
    for last in range(9):
        copy = tmp_path / f"copy {last}"
        shutil.copytree(path, copy)
        written = []
        with monkeypatch.context() as patch:
            for owner, name in WRITES:
                patch.setattr(owner, name, counted(getattr(owner, name), name, written, last))
            try:
                index_folder(Gallery.open(copy), tiny_method, folder, workers=0)
            except Stopped:
                pass
            else:
                break
        gallery = Gallery.open(copy)
        assert pointed(gallery) <= gallery.ids(), f"after {written}"
        index_folder(gallery, tiny_method, folder, workers=0)
        assert pointed(gallery) == gallery.ids()
    assert sorted(written) == ["add", "add", "delete", "delete", "execute"]


def counted(write, name, written, last):
    def wrapped(*args, **kwargs):
        if len(written) == last:
            raise Stopped
        result = write(*args, **kwargs)
        written.append(name)
        return result

    return wrapped
