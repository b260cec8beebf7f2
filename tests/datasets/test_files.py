"""Pictures found by stem whatever their ending and folder, and data sets that are files."""

from __future__ import annotations

import os
import pickle
import unicodedata
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from composir.datasets import files
from composir.datasets.files import FileDataset, ImageFiles, NotFoundError, is_hidden, stem_of
from composir.datasets.records import Record
from composir.errors import DataError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def picture(path: Path, colour: tuple[int, int, int] = (200, 30, 30)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 7), colour).save(path)


# ---- finding ----


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPG", "a.jpeg", "a.webp", "deep/er/a.png", "a.tiff"])
def test_any_ending_flat_or_nested(tmp_path, name):
    assert ImageFiles([touch(tmp_path, name)]).path("a") == tmp_path / name


def test_what_is_no_picture_is_passed_by(tmp_path):
    touch(tmp_path, "a.txt", "b.json", ".c.png", ".hidden/d.png", "e", "f.png.part")
    found = ImageFiles([tmp_path])
    assert [found.path(stem) for stem in "abcdef"] == [None] * 6
    assert list(found.all()) == []


def test_a_stem_may_hold_dots_and_folders(tmp_path):
    touch(tmp_path, "v1.2/photo.front.png", "v1.2/x.png", "other/x.png")
    found = ImageFiles([tmp_path])
    assert found.path("photo.front") == found.path("v1.2/photo.front") == tmp_path / "v1.2/photo.front.png"
    assert found.path("other/x") == tmp_path / "other/x.png"
    assert found.path("v1.2/x") == tmp_path / "v1.2/x.png"
    assert found.path("photo") is None


def test_a_folder_that_is_named_is_not_exchanged_for_another(tmp_path):
    found = ImageFiles([touch(tmp_path, "a/x.png")])
    assert found.path("b/x") is None
    assert found.path("x") == tmp_path / "a/x.png"


def test_of_several_the_exact_one_then_the_first(tmp_path):
    touch(tmp_path, "z/x.png", "b/x.jpg", "x.png", "b/y.png", "a/y.png", "n.png", "n.jpg")
    found = ImageFiles([tmp_path])
    assert found.path("x") == tmp_path / "x.png"
    assert found.path("y") == tmp_path / "a/y.png"
    assert found.path("n") == tmp_path / "n.jpg"
    assert found.copies() == {
        "n": [tmp_path / "n.jpg", tmp_path / "n.png"],
        "x": [tmp_path / "b/x.jpg", tmp_path / "x.png", tmp_path / "z/x.png"],
        "y": [tmp_path / "a/y.png", tmp_path / "b/y.png"],
    }


def test_all_lists_every_file_once_even_under_two_roots_and_links(tmp_path):
    touch(tmp_path, "images/b.png", "images/sub/a.png", "c.jpg")
    (tmp_path / "again").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "loop").symlink_to(tmp_path)
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    found = ImageFiles([tmp_path / "images", tmp_path, tmp_path / "nowhere"])
    assert [stem for stem, _ in found.all()] == ["a", "b", "c", "self"]
    assert found.path("b") == tmp_path / "images/b.png"
    assert found.path("sub/a") == found.path("images/sub/a") == tmp_path / "images/sub/a.png"
    assert found.copies() == {}


@pytest.mark.parametrize("name", ["café", "连衣裙", "платье", "한국어", "ﬁ"])
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
@pytest.mark.parametrize("asked", ["NFC", "NFD"])
def test_names_of_any_script_in_either_spelling(tmp_path, name, on_disk, asked):
    stored, wanted = unicodedata.normalize(on_disk, name), unicodedata.normalize(asked, name)
    touch(tmp_path, f"{stored}/{stored}.png")
    found = ImageFiles([tmp_path])
    assert found.path(wanted) == found.path(f"{wanted}/{wanted}") == tmp_path / f"{stored}/{stored}.png"


def test_a_name_that_is_not_unicode_disturbs_nobody(tmp_path):
    touch(tmp_path, "a.png", os.fsdecode(b"\xff.png"))
    assert ImageFiles([tmp_path]).path("a") == tmp_path / "a.png"


PARTS = st.sampled_from(["a", "b", "c.d"])


def test_nothing_is_found_in_an_empty_folder(tmp_path):
    assert list(ImageFiles([tmp_path]).all()) == []
    assert ImageFiles([]).path("a") is None


@given(
    paths=st.sets(
        st.tuples(st.lists(PARTS, max_size=2), PARTS, st.sampled_from([".png", ".JPG"])).map(
            lambda t: "/".join([*(f"d{p}" for p in t[0]), t[1] + t[2]])
        ),
        max_size=8,
    )
)
def test_finding_equals_a_slow_search(tmp_path_factory, paths):
    root = touch(tmp_path_factory.mktemp("tree"), *paths)
    found = ImageFiles([root])
    assert {path for _, path in found.all()} == {root / path for path in paths}
    by_stem: dict[str, list[Path]] = {}
    for path in (root / p for p in paths):
        by_stem.setdefault(path.stem, []).append(path)
    assert found.copies() == {stem: sorted(copies, key=str) for stem, copies in by_stem.items() if len(copies) > 1}
    for path in paths:
        exact = path.rpartition(".")[0]
        fitting = sorted((root / p for p in paths if p.rpartition(".")[0] == exact), key=str)
        assert found.path(exact) == fitting[0]


def test_the_tree_is_walked_once_and_never_for_opening(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "sub/b.png")
    walks = []
    scandir = os.scandir
    monkeypatch.setattr(files.os, "scandir", lambda folder: walks.append(folder) or scandir(folder))
    found = ImageFiles([tmp_path])
    assert walks == []
    assert all(found.path(stem) for stem in ("a", "b", "a"))
    assert len(walks) == 2


def test_a_pickled_copy_carries_no_index(tmp_path):
    found = ImageFiles([touch(tmp_path, *(f"{n:05}.png" for n in range(300)))])
    assert found.path("00007") is not None
    travelling = pickle.dumps(found)
    assert len(travelling) < 1000
    assert pickle.loads(travelling).path("00007") == found.path("00007")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_closed_folder_is_told(tmp_path):
    touch(tmp_path, "closed/a.png")
    (tmp_path / "closed").chmod(0)
    try:
        with pytest.raises(DataError, match=r"closed: cannot be listed .*make it readable"):
            ImageFiles([tmp_path]).path("a")
    finally:
        (tmp_path / "closed").chmod(0o700)


def test_a_folder_that_cannot_be_listed_is_told(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(files.os, "scandir", refuse)
    with pytest.raises(DataError, match=r"cannot be listed \(Permission denied\)"):
        ImageFiles([tmp_path]).path("a")


@pytest.mark.parametrize(
    ("name", "stem"), [("a.jpg", "a"), ("a.JPEG", "a"), ("a", "a"), ("b/a.v2", "b/a.v2"), ("a.v2.png", "a.v2")]
)
def test_only_endings_of_pictures_are_taken_off(name, stem):
    assert stem_of(name) == stem


# ---- data sets ----


class Album(FileDataset):
    """Two splits whose annotations are a list of names each."""

    name: ClassVar[str] = "album"
    splits = ("train", "val")
    layouts = "a folder with {train,val}.txt"

    def __init__(self, root, images=()):
        super().__init__(root, images)

    def files_of(self, split):
        self.check_split(split)
        return (self.place(f"names of {split}", [f"{split}.txt", f"names/{split}.txt"]),)

    def tasks(self, split):
        return []

    def triplets(self, split):
        return ()


def test_pictures_are_opened_by_id(tmp_path):
    touch(tmp_path, "val.txt")
    picture(tmp_path / "images/a.png")
    album = Album(tmp_path, ("images", "nowhere"))
    assert album.image("a").mode == "RGB"
    assert album.image("a").size == (9, 7)
    assert album.missing(iter(["b", "a", "c"])) == ["b", "c"]
    assert list(album.pairs("val")) == []


def test_where_no_place_of_pictures_exists_all_of_the_folder_is_searched(tmp_path):
    touch(tmp_path, "val.txt")
    picture(tmp_path / "odd/a.png")
    assert Album(tmp_path, ("images",)).path("a") == tmp_path / "odd/a.png"


def test_places_of_pictures_may_be_patterns(tmp_path):
    touch(tmp_path, "val.txt", "womens_a/0/x.jpg", "womens_b/1/y.jpg", "bags/z.jpg")
    album = Album(tmp_path, ("womens_*",))
    assert album.missing(["x", "y", "z"]) == ["z"]


def test_a_missing_picture_is_told_with_the_remedy(tmp_path):
    touch(tmp_path, "val.txt", "images/b.png")
    album = Album(tmp_path, ("images",))
    with pytest.raises(DataError) as caught:
        album.image("a")
    message = str(caught.value)
    assert "album has no picture 'a'" in message
    assert str(tmp_path / "images") in message
    assert "composir data check album" in message


def test_a_broken_picture_is_told_by_its_path(tmp_path):
    touch(tmp_path, "val.txt")
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nnot a picture")
    with pytest.raises(DataError, match=r"picture 'a' of album cannot be read: .*a\.png"):
        Album(tmp_path).image("a")


def test_a_root_that_is_no_folder_is_told(tmp_path):
    touch(tmp_path, "file")
    for root in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(DataError, match="there is no such folder; for album give a folder with"):
            Album(root)


def test_a_root_without_annotations_is_refused_at_once_with_every_place(tmp_path):
    with pytest.raises(NotFoundError) as caught:
        Album(tmp_path)
    tried = [tmp_path / folder / f"{split}.txt" for split in ("train", "val") for folder in (".", "names")]
    assert list(caught.value.tried) == tried
    assert all(str(path) in str(caught.value) for path in tried)


def test_one_split_is_enough_to_open(tmp_path):
    album = Album(touch(tmp_path, "names/val.txt"))
    assert album.files_of("val") == (tmp_path / "names/val.txt",)
    with pytest.raises(DataError, match="album: no names of train at"):
        album.files_of("train")


def test_a_split_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="album has no split 'test'; there is train, val"):
        Album(touch(tmp_path, "val.txt")).files_of("test")


def test_a_data_set_travels_light(tmp_path):
    touch(tmp_path, "val.txt", *(f"{n:05}.png" for n in range(300)))
    album = Album(tmp_path)
    assert album.missing(["00001", "x"]) == ["x"]
    travelling = pickle.dumps(album)
    assert len(travelling) < 1000
    assert pickle.loads(travelling).missing(["00001", "x"]) == ["x"]


def test_only_a_test_split_may_hide_its_truth():
    path = Path("a.json")
    with_truth, without = Record({"target": "a"}, path, 0), Record({}, path, 1)
    assert is_hidden("test", [without], "target")
    assert not is_hidden("test", [without, with_truth], "target")
    assert not is_hidden("val", [without], "target")
