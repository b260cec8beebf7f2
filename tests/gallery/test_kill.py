"""kill -9 anywhere while indexing: the gallery opens, its vectors are right, the next run encodes what is missing."""

import json
import random
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

from composir.errors import GalleryError
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder

DRIVER = Path(__file__).with_name("killed_indexer.py")


@pytest.fixture(scope="module")
def drive():
    """drive(folder, gallery, when, moment) lets an indexer die; the steps it took if it lived, and seconds."""
    with subprocess.Popen(
        [sys.executable, DRIVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def order(folder: Path, gallery: Path, when: str, moment: float) -> tuple[int, float]:
            mark = uuid.uuid4().hex
            told = {"folder": str(folder), "gallery": str(gallery), "when": when, "moment": moment, "mark": mark}
            process.stdin.write(f"{json.dumps(told)}\n")
            process.stdin.flush()
            steps, seconds = json.loads(process.stdout.readline())
            assert no_process_left(mark), "a process outlived its killed master"
            return steps, seconds

        yield order
        process.stdin.close()


def no_process_left(mark: str) -> bool:
    """Whether within 10 s all processes that were started with this mark in their environment are gone."""
    for _ in range(100):
        if not any(mark.encode() in environment(process) for process in Path("/proc").glob("[0-9]*")):
            return True
        time.sleep(0.1)
    return False


def environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()  # as it was when the process was started
    except OSError:
        return b""


def check_and_go_on(path: Path, folder: Path, method) -> int:
    """Everything that must hold after a death; returns how many pictures the next run encoded."""
    try:
        gallery = Gallery.open(path)
    except GalleryError:
        assert not path.exists()  # died before there was one: then there is nothing at all
        gallery = create_gallery(path, method, folder)
    assert gallery.damaged() == []
    had = gallery.ids()
    assert {row.id for row in gallery.files().values() if not row.reason} <= had
    assert len(Shelf.load(gallery)) <= len(had)
    report = index_folder(gallery, method, folder, batch_size=2, workers=0)
    now = gallery.ids()
    assert report.encoded == len(now - had)
    assert report.files == report.images + report.copies + len(report.skipped)
    assert report.images == len(now) == len(Shelf.load(gallery))
    assert gallery.damaged() == []
    again = index_folder(gallery, method, folder, batch_size=2, workers=0)
    assert (again.encoded, again.unchanged) == (0, report.images + report.copies)
    return report.encoded


@pytest.fixture
def folder(pictures):
    root = pictures(5)
    shutil.copy(root / "000.png", root / "copy.png")
    (root / "broken.png").write_bytes((root / "001.png").read_bytes()[:50])
    return root


@pytest.fixture
def reference(folder, tmp_path, tiny_method):
    gallery = create_gallery(tmp_path / "reference", tiny_method, folder)
    index_folder(gallery, tiny_method, folder, batch_size=2, workers=0)
    return gallery


def test_death_between_two_commits_of_a_first_run(folder, tmp_path, tiny_method, drive):
    """The fourth step: one batch is committed, pictures and files, and the next one's pictures without their files."""
    drive(folder, tmp_path / "g", "at", 4)
    had = Gallery.open(tmp_path / "g").ids()
    assert had
    assert check_and_go_on(tmp_path / "g", folder, tiny_method) == 5 - len(had)


@pytest.mark.long
def test_death_with_the_shipped_interval(pictures, tmp_path, tiny_method, drive):
    """A slow encoder, which needs 11 seconds for all: what was committed before its death is not done again."""
    folder = pictures(20)
    drive(folder, tmp_path / "g", "slowly", 8.0)
    had = Gallery.open(tmp_path / "g").ids()
    assert 0 < len(had) < 20
    assert check_and_go_on(tmp_path / "g", folder, tiny_method) == 20 - len(had)


@pytest.mark.long
def test_death_at_every_step_of_a_first_run(folder, tmp_path, tiny_method, reference, drive):
    steps, _ = drive(folder, tmp_path / "g", "at", 0)
    assert steps > 12
    encoded = []
    for step in range(1, steps + 1):
        path = tmp_path / f"g{step}"
        drive(folder, path, "at", step)
        encoded.append(check_and_go_on(path, folder, tiny_method))
        assert Gallery.open(path).vectors()[0] == reference.vectors()[0]
    assert encoded[0] == encoded[1] == 5
    assert encoded[-1] == 0
    assert encoded == sorted(encoded, reverse=True)  # what was committed is never done again


@pytest.mark.long
def test_death_at_every_step_of_a_later_run(folder, tmp_path, tiny_method, reference, pictures, drive):
    (folder / "000.png").rename(folder / "moved.png")
    (folder / "002.png").unlink()
    shutil.copy(pictures(1, "other", seed=90) / "000.png", folder / "003.png")
    shutil.copy(pictures(1, "other", seed=91) / "000.png", folder / "new.png")
    expected = tmp_path / "expected"
    shutil.copytree(reference.place.path, expected)
    steps, _ = drive(folder, expected, "at", 0)
    assert steps > 8
    for step in range(1, steps + 1):
        path = tmp_path / f"g{step}"
        shutil.copytree(reference.place.path, path)
        drive(folder, path, "at", step)
        assert check_and_go_on(path, folder, tiny_method) <= 2
        assert Gallery.open(path).ids() == Gallery.open(expected).ids()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_death_at_a_hundred_random_moments(pictures, tmp_path, tiny_method, drive):
    """Half of them anywhere in a run, half while pictures are encoded, which a run spends little time with."""
    folder = pictures(60)
    whole, amid = (drive(folder, tmp_path / when, when, 600.0)[1] for when in ("after", "amid"))
    assert len(Gallery.open(tmp_path / "amid").ids()) == 60
    chance, half = random.Random(7), 0
    for number in range(100):
        path = tmp_path / f"g{number}"
        when, longest = ("after", whole) if number % 2 else ("amid", amid)
        drive(folder, path, when, chance.uniform(0.0, longest))
        half += check_and_go_on(path, folder, tiny_method) in range(1, 60)
    assert half >= 30, f"only {half} of 100 deaths left a gallery half full: the moments miss what they are for"
