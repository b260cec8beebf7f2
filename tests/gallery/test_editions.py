"""Editions of a gallery: built beside each other, exchanged at once, exchanged back."""

from __future__ import annotations

import json

import pytest

from composir.backbones import load_backbone
from composir.errors import GalleryError
from composir.gallery import editions
from composir.gallery.place import Folder
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder
from composir.methods import load_method


@pytest.fixture
def two(tmp_path, tiny_method, pictures):
    """A gallery with an edition of another key beside it: its path, and that key."""
    folder = pictures(3)
    index_folder(create_gallery(tmp_path / "g", tiny_method, folder), tiny_method, folder, workers=0)
    other = load_method("slerp", load_backbone("siglip-tiny"))
    key = other.gallery_key()
    index_folder(create_gallery(editions.edition(Folder(tmp_path / "g"), key), other, folder), other, folder, workers=0)
    return tmp_path / "g", key


def test_a_swap_and_back(two, tiny_method):
    path, key = two
    assert editions.names(Folder(path)) == [".", key]
    assert Gallery.open(path).manifest.key == tiny_method.gallery_key()
    editions.point(Folder(path), key)
    assert Gallery.open(path).manifest.key == key
    assert editions.go_back(Folder(path)) == editions.Pointer()
    assert Gallery.open(path).manifest.key == tiny_method.gallery_key()


def test_what_cannot_be_swapped_is_told(two):
    path, key = two
    with pytest.raises(GalleryError, match=f"no edition 'x'; it has ., {key}"):
        editions.point(Folder(path), "x")
    with pytest.raises(GalleryError, match="is read already"):
        editions.point(Folder(path), ".")
    with pytest.raises(GalleryError, match="never swapped"):
        editions.go_back(Folder(path))


@pytest.mark.parametrize("content", ["{", "[]", '{"current": "../x", "before": []}', '{"current": "a"}'])
def test_a_damaged_pointer_is_told(two, content):
    path, _ = two
    (path / "current.json").write_text(content)
    with pytest.raises(GalleryError, match="remove it to read the first edition"):
        Gallery.open(path)


def test_what_is_no_gallery_is_not_told_to_be_removed(tmp_path):
    (tmp_path / "README.md").write_text("# mine")
    (tmp_path / "current.json").write_text("mine")
    for path, what in ((tmp_path / "README.md", "README.md is a file and no gallery"), (tmp_path, "holds no gallery")):
        with pytest.raises(GalleryError, match=what) as caught:
            Gallery.open(path)
        assert "remove" not in str(caught.value)
    with pytest.raises(GalleryError, match="is a file and no gallery"):
        editions.go_back(Folder(tmp_path / "README.md"))


def test_a_pointer_that_cannot_be_read_is_not_told_to_be_removed(two):
    path, _ = two
    (path / "current.json").mkdir()
    with pytest.raises(GalleryError, match=r"current\.json cannot be read \(Is a directory\); mend") as caught:
        Gallery.open(path)
    assert "remove" not in str(caught.value)


def test_two_swaps_at_once_are_one_after_the_other(two):
    path, key = two
    with Folder(path).exclusive("", "current.json.lock"), pytest.raises(GalleryError, match="being swapped by another"):
        editions.point(Folder(path), key)
    with Gallery.open(path).writing():  # adding pictures is no hindrance
        editions.point(Folder(path), key)
    with Folder(path).exclusive("", "current.json.lock"), pytest.raises(GalleryError, match="being swapped by another"):
        editions.go_back(Folder(path))


def test_a_pointer_is_old_or_new(two, monkeypatch):
    """Killed before the exchange, nothing has changed."""
    path, key = two
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        editions.point(Folder(path), key)
    monkeypatch.undo()
    assert editions.current(Folder(path)) == Folder(path)
    assert json.loads((path / "current.json.new").read_text())["current"] == key
    editions.point(Folder(path), key)
    assert editions.current(Folder(path)) == Folder(path / "editions" / key)
