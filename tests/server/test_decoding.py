"""Decoding in child processes: the same pixels as the index has, and pictures that kill, hang and gorge."""

import asyncio
import io
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from composir.backbones.transform import Transform
from composir.gallery.picture import read_picture
from composir.gallery.scan import content_id
from composir.images import ImageError, Limits
from composir.server.decoding import Decoders, File
from composir.server.errors import BusyError, UnavailableError

PLAIN = Transform(32, "shortest", 32, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
LIMITS = Limits()


@pytest.fixture(scope="module")
def decoders():
    made = Decoders(workers=1, seconds=20.0, memory=2**31, limits=LIMITS, queue_length=16)
    yield made
    made.close()


@pytest.fixture(scope="module")
def bad():
    """Decoders whose pictures do what their first byte says."""
    import sys

    sys.path.insert(0, str(Path(__file__).parent))
    import bad_pictures

    reasons = []
    made = Decoders(
        workers=1,
        seconds=3.0,
        memory=2**31,
        limits=LIMITS,
        queue_length=2,
        skipped=reasons.append,
        read=bad_pictures.read,
    )
    made.reasons = reasons
    asyncio.run(made.thumbnail(b"good", 64))
    yield made
    made.close()
    sys.path.remove(str(Path(__file__).parent))


def failure(coroutine) -> ImageError:
    with pytest.raises(ImageError) as caught:
        asyncio.run(coroutine)
    return caught.value


def test_the_pixels_are_those_of_the_index(decoders, make_jpeg):
    for seed, size in ((1, (60, 48)), (2, (700, 300))):
        data = make_jpeg(seed, size)
        expected = PLAIN.pixels(read_picture(data, PLAIN.size))
        assert np.array_equal(asyncio.run(decoders.pixels(data, PLAIN)), expected)


def test_a_thumbnail(decoders, make_jpeg):
    made = asyncio.run(decoders.thumbnail(make_jpeg(1, (400, 200)), 64))
    with Image.open(io.BytesIO(made)) as opened:
        assert (opened.format, opened.size) == ("JPEG", (64, 32))


def test_a_gallery_picture_is_read_from_the_file_that_still_holds_it(decoders, make_jpeg, tmp_path):
    data = make_jpeg(5)
    (tmp_path / "edited.jpg").write_bytes(make_jpeg(6))
    (tmp_path / "kept.jpg").write_bytes(data)
    file = File(str(tmp_path), ("gone.jpg", "edited.jpg", "kept.jpg"), content_id(data))
    assert np.array_equal(asyncio.run(decoders.pixels(file, PLAIN)), asyncio.run(decoders.pixels(data, PLAIN)))
    for paths, reason in ((("gone.jpg",), "missing file"), (("edited.jpg",), "changed"), ((), "missing file")):
        assert failure(decoders.pixels(File(str(tmp_path), paths, content_id(data)), PLAIN)).reason == reason


def test_nothing_outside_the_folder_is_read(decoders, make_jpeg, tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(make_jpeg(5))
    (root / "link.jpg").symlink_to(secret)
    (root / "away").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    own = content_id(secret.read_bytes())
    for path in ("link.jpg", "away/secret.jpg", "../secret.jpg", str(secret), "sub/../../secret.jpg", "sub", "pipe"):
        assert failure(decoders.thumbnail(File(str(root), (path,), own), 64)).reason in ("unreadable", "too many bytes")
    allowed = File(str(root), ("link.jpg",), own, anywhere=True)
    assert asyncio.run(decoders.thumbnail(allowed, 64))


def test_a_picture_that_kills_its_process_costs_that_process(bad):
    error = failure(bad.thumbnail(b"k", 64))
    assert error.reason == "crashes the decoder"
    assert "SIGSEGV, twice" in str(error)
    assert asyncio.run(bad.thumbnail(b"good", 64))
    assert bad.reasons[-1] == "crashes the decoder"


@pytest.mark.parametrize("kind", [b"h", b"f"])
def test_a_picture_that_hangs_is_given_up_in_time(bad, kind, monkeypatch):
    monkeypatch.setattr("composir.server.decoding.SLACK", 0.3)
    started = time.monotonic()
    error = failure(bad.thumbnail(kind, 64))
    assert (error.reason, str(error)) == ("too slow", "the picture was not decoded after 3 s, the limit")
    assert time.monotonic() - started < 30
    assert asyncio.run(bad.thumbnail(b"good", 64))


def test_a_picture_that_gorges_is_refused(bad):
    assert "Memory" in failure(bad.thumbnail(b"m", 64)).reason
    assert asyncio.run(bad.thumbnail(b"good", 64))


def test_a_picture_that_writes_or_opens_much_is_refused(bad, tmp_path):
    target = tmp_path / "written"
    assert "File too large" in str(failure(bad.thumbnail(b"w" + str(target).encode(), 64)))
    assert target.stat().st_size == 0
    assert "Too many open files" in str(failure(bad.thumbnail(b"n", 64)))
    assert asyncio.run(bad.thumbnail(b"good", 64))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may lift any limit")
def test_a_picture_cannot_lift_its_limits(bad):
    assert failure(bad.thumbnail(b"l", 64)).reason == "ValueError"


def test_an_innocent_picture_survives_the_death_of_its_process(bad, tmp_path):
    assert asyncio.run(bad.thumbnail(b"o" + str(tmp_path / "mark").encode(), 64))


def test_sigterm_to_the_group_does_not_end_a_child(bad):
    assert asyncio.run(bad.thumbnail(b"t", 64))


def test_reasons_are_short(bad):
    error = failure(bad.thumbnail(b"r", 64))
    assert error.reason == "ValueError"
    assert len(str(error)) <= 400


def test_too_many_at_once_are_told_to_come_back(bad):
    async def crowd():
        tasks = [asyncio.create_task(bad.thumbnail(b"good", 64)) for _ in range(12)]
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(crowd())
    busy = [result for result in results if isinstance(result, BusyError)]
    assert busy
    assert len([result for result in results if isinstance(result, bytes)]) + len(busy) == 12

    async def leave():
        tasks = [asyncio.create_task(bad.thumbnail(b"good", 64)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    for _ in range(5):
        asyncio.run(leave())
    time.sleep(0.2)
    assert asyncio.run(bad.thumbnail(b"good", 64)), "those who left gave their places back"


def test_nothing_is_taken_after_the_end():
    made = Decoders(workers=1, seconds=1.0, memory=2**31, limits=LIMITS, queue_length=1)
    made.close()
    with pytest.raises(UnavailableError):
        asyncio.run(made.thumbnail(b"x", 64))
