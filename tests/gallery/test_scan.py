"""Walking a folder: what counts as a file, what is left out, and when a stamp may be trusted."""

import hashlib
import os
import time

import pytest

from composir.gallery.scan import Stamp, content_id, file_id, looks_like_id, walk


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)


def test_regular_visible_files_in_a_fixed_order(tmp_path):
    touch(
        tmp_path, "b.png", "a.txt", "z/1.png", "z/deep/er/2.png", ".hidden.png", ".git/x.png", "m/.y.png", "Ä ö'\n.png"
    )
    os.mkfifo(tmp_path / "pipe.png")
    scan = walk(tmp_path)
    assert list(scan.files) == ["a.txt", "b.png", "Ä ö'\n.png", "z/1.png", "z/deep/er/2.png"]
    assert (scan.refused, scan.closed, scan.links) == ({}, {}, 0)
    assert (scan.hidden, scan.special) == (3, 1)  # .git is one, whatever it holds


def test_an_empty_folder(tmp_path):
    assert walk(tmp_path).files == {}


def test_symbolic_links_are_passed_by_and_counted(tmp_path):
    touch(tmp_path, "in/a.png", "out/b.png")
    (tmp_path / "in" / "folder").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "file.png").symlink_to(tmp_path / "out" / "b.png")
    (tmp_path / "in" / "nowhere.png").symlink_to(tmp_path / "gone")
    scan = walk(tmp_path / "in")
    assert list(scan.files) == ["a.png"]
    assert scan.links == 3


def test_followed_links_may_form_loops(tmp_path):
    touch(tmp_path, "in/a.png", "out/b.png")
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "out").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "out2").symlink_to(tmp_path / "out")
    (tmp_path / "in" / "file.png").symlink_to(tmp_path / "out" / "b.png")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in" / "loop")
    (tmp_path / "in" / "nowhere.png").symlink_to(tmp_path / "gone")
    scan = walk(tmp_path / "in", follow_symlinks=True)
    assert list(scan.files) == ["a.png", "file.png", "out/b.png"]
    assert set(scan.refused) == {"loop", "nowhere.png"}
    assert scan.links == 0


def test_galleries_are_no_pictures(tmp_path):
    touch(tmp_path, "a.png", "g/gallery.json", "g/images.lance/x", "g/skipped.jsonl", "own/gallery.json")
    assert list(walk(tmp_path).files) == ["a.png", "own/gallery.json"]


def test_a_name_that_is_no_unicode_is_refused_with_a_printable_path(tmp_path):
    touch(tmp_path, "a.png")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb"):
        pass
    scan = walk(tmp_path)
    assert list(scan.files) == ["a.png"]
    assert list(scan.refused) == ["caf\\xe9.png"]
    assert "Unicode" in scan.refused["caf\\xe9.png"]


def test_a_folder_that_cannot_be_listed_says_nothing_of_its_files(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "shut/b.png")
    real = os.scandir

    def scandir(path):
        if os.fspath(path).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    scan = walk(tmp_path)
    assert scan.closed == {"shut": "cannot be listed: Permission denied"}
    assert scan.hides("shut/b.png")
    assert scan.hides("shut/deep/c.png")
    assert not scan.hides("shutter.png")
    assert not scan.hides("a.png")


def test_a_stamp_is_trusted_once_the_clock_has_moved_on(tmp_path, monkeypatch):
    touch(tmp_path, "a.png")
    fresh = walk(tmp_path).files["a.png"]
    assert not fresh.same_as(fresh)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)
    later = walk(tmp_path).files["a.png"]
    assert later.same_as(later)
    assert not later.same_as(fresh)


@pytest.mark.parametrize("other", [(6, 1, 1), (5, 2, 1), (5, 1, 2), (5, 1, 1, False)])
def test_stamps_differ_in_any_part(other):
    assert not Stamp(5, 1, 1).same_as(Stamp(*other))
    assert Stamp(5, 1, 1).same_as(Stamp(5, 1, 1))


def test_an_id_is_the_beginning_of_sha256(tmp_path):
    data = bytes(range(256)) * 5000
    (tmp_path / "a").write_bytes(data)
    assert file_id(tmp_path / "a") == content_id(data) == hashlib.sha256(data).hexdigest()[:32]
    assert looks_like_id(content_id(data))
    assert not looks_like_id("a" * 31)
    assert not looks_like_id("g" * 32)
