"""The store: created whole or not at all, read back exactly, damage noticed, one writer, few files."""

import json
import shutil
import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composir.errors import GalleryError
from composir.gallery.scan import FileRow, Stamp
from composir.gallery.store import FORMAT, Gallery, Manifest, checksum

MANIFEST = Manifest("k1", "slerp", "clip-tiny", "clip-tiny", "seed-0", 2, 3, "/photos")
STAMP = Stamp(1, 2, 3)


@pytest.fixture
def gallery(tmp_path):
    return Gallery.create(tmp_path / "g", MANIFEST)


def some_vectors(count, seed=0):
    return np.random.default_rng(seed).standard_normal((count, 2, 3)).astype(np.float16)


def test_what_is_added_is_read_back(gallery):
    ids, vectors = ["b" * 32, "a" * 32], some_vectors(2)
    rows = [FileRow("x/1.png", ids[0], STAMP), FileRow("2.png", ids[1], STAMP), FileRow("3", None, STAMP, "why", "so")]
    gallery.add(ids, vectors, rows)
    again = Gallery.open(gallery.place)
    assert again.manifest == MANIFEST
    assert again.ids() == set(ids)
    assert again.files() == {row.path: row for row in rows}
    stored, values, sums = again.vectors()
    assert stored == sorted(ids)
    assert np.array_equal(values, vectors[::-1])
    assert sums.tolist() == [checksum(i, v) for i, v in zip(stored, values, strict=True)]
    assert again.damaged() == []


def test_the_checksum_is_crc32_over_id_and_vector():
    vector = some_vectors(1)[0]
    assert checksum("ab", vector) == zlib.crc32(b"ab" + vector.tobytes())


def test_a_file_row_is_replaced_by_its_successor(gallery):
    gallery.add([], some_vectors(0), [FileRow("a", "i1", STAMP), FileRow("b", "i2", STAMP)])
    gallery.add([], some_vectors(0), [FileRow("b", "i3", STAMP, "broken")])
    assert {path: row.id for path, row in gallery.files().items()} == {"a": "i1", "b": "i3"}


NAMES = [
    "it's.png",
    "a''b",
    'q"uote',
    "new\nline",
    "tab\t",
    "日本 語.png",
    "👗.jpg",
    "e\u0301.png",
    "é.png",
    "%41#?&.png",
    "\\",
    "a\\'b",
]


def test_odd_names_round_trip_and_are_forgotten_one_by_one(gallery):
    gallery.add([], some_vectors(0), [FileRow(name, None, STAMP, "x") for name in NAMES])
    left = list(NAMES)
    for name in NAMES:
        assert set(gallery.files()) == set(left)
        gallery.forget_files([name])
        left.remove(name)
    assert gallery.files() == {}


@settings(max_examples=15, deadline=None)
@given(
    st.sets(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1), min_size=1, max_size=20
    )
)
def test_any_name_can_be_stored_and_forgotten(tmp_path_factory, names):
    gallery = Gallery.create(tmp_path_factory.mktemp("any") / "g", MANIFEST)
    gallery.add([], some_vectors(0), [FileRow(name, None, STAMP, "x") for name in names])
    assert set(gallery.files()) == names
    gone = set(sorted(names)[::2])
    gallery.forget_files(gone)
    assert set(gallery.files()) == names - gone


def test_many_rows_are_dropped(gallery):
    ids = [f"{i:032x}" for i in range(1200)]
    gallery.add(ids, some_vectors(1200), [])
    gallery.drop_images(ids[:1100])
    assert gallery.ids() == set(ids[1100:])


def test_damage_is_noticed(gallery):
    gallery.add(["a" * 32, "b" * 32], some_vectors(2), [])
    gallery._images.update(where=f"id = '{'a' * 32}'", values={"checksum": 1})
    assert gallery.damaged() == ["a" * 32]


def test_exchanged_vectors_are_noticed(gallery):
    first, second = some_vectors(2)
    assert checksum("a", first) != checksum("b", first)
    assert checksum("a", first) != checksum("a", second)


def test_an_open_handle_sees_what_others_commit(gallery):
    other = Gallery.open(gallery.place)
    gallery.add(["a" * 32], some_vectors(1), [FileRow("a", "a" * 32, STAMP)])
    assert other.ids() == {"a" * 32}
    assert list(other.files()) == ["a"]


def test_many_commits_leave_few_files_and_an_open_handle_stays_valid(gallery):
    other = Gallery.open(gallery.place)
    for i in range(40):
        gallery.add([f"{i:032x}"], some_vectors(1, i), [FileRow(f"{i}", f"{i:032x}", STAMP)])
        assert len(other.ids()) == i + 1
    before = sum(1 for path in gallery.place.path.rglob("*") if path.is_file())
    gallery.compact()
    after = sum(1 for path in gallery.place.path.rglob("*") if path.is_file())
    assert before > 150
    assert after < 20
    assert len(other.ids()) == len(other.files()) == 40
    assert other.damaged() == []


def test_one_writer_at_a_time(gallery):
    other = Gallery.open(gallery.place)
    with gallery.writing(), pytest.raises(GalleryError, match="written by another process"), other.writing():
        pass
    with other.writing():
        pass


@pytest.mark.parametrize("name", ["gal #1 %20 ü?.lance", "a&b=c", "it's"])
def test_a_gallery_may_have_an_odd_name(tmp_path, name):
    Gallery.create(tmp_path / name, MANIFEST).add(["a" * 32], some_vectors(1), [])
    assert Gallery.open(tmp_path / name).ids() == {"a" * 32}
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_relative_gallery_survives_a_change_of_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    from pathlib import Path

    gallery = Gallery.create(Path("g"), MANIFEST)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    gallery.add(["a" * 32], some_vectors(1), [])
    assert gallery.ids() == {"a" * 32}


def test_an_empty_folder_may_become_a_gallery_but_a_full_one_not(tmp_path):
    (tmp_path / "empty").mkdir()
    assert Gallery.create(tmp_path / "empty", MANIFEST).ids() == set()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(GalleryError, match="exists and is no gallery"):
        Gallery.create(tmp_path / "full", MANIFEST)
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["thesis.txt"]


def test_a_missing_gallery_is_named_with_the_command_that_builds_it(tmp_path):
    with pytest.raises(GalleryError, match=r"nowhere does not exist; build one with: composir index FOLDER --gallery"):
        Gallery.open(tmp_path / "nowhere")
    with pytest.raises(GalleryError, match="holds no gallery"):
        Gallery.open(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": "x"}'])
def test_a_damaged_manifest_is_named(gallery, text):
    (gallery.place.path / "gallery.json").write_text(text)
    with pytest.raises(GalleryError, match="is damaged"):
        Gallery.open(gallery.place)


def test_a_missing_table_does_not_blame_the_manifest(gallery):
    shutil.rmtree(gallery.place.path / "files.lance")
    with pytest.raises(GalleryError, match=r"is damaged \(.*files.*\); remove it and index again") as told:
        Gallery.open(gallery.place)
    assert "gallery.json" not in str(told.value)


def test_a_newer_format_is_refused(gallery):
    content = json.loads((gallery.place.path / "gallery.json").read_text())
    (gallery.place.path / "gallery.json").write_text(json.dumps({**content, "format": FORMAT + 1}))
    with pytest.raises(GalleryError, match=f"format {FORMAT + 1}, this composir reads {FORMAT}"):
        Gallery.open(gallery.place)


def test_a_foreign_key_is_refused_naming_both_and_the_remedy(gallery):
    gallery.require("k1", "slerp", "clip-tiny")
    with pytest.raises(GalleryError) as caught:
        gallery.require("k2", "isa", "blip")
    message = str(caught.value)
    for part in ("k1", "k2", "seed-0", "composir index /photos --gallery NEW_PATH --method isa --backbone blip"):
        assert part in message


def test_a_foreign_key_of_a_checkpoint_is_told_with_the_command_that_takes_it(gallery):
    with pytest.raises(GalleryError) as caught:
        gallery.require("k2", "isa", "blip", "/runs/x/best.safetensors")
    message = str(caught.value)
    assert "with checkpoint /runs/x/best.safetensors has key k2" in message
    assert "composir index /photos --gallery NEW_PATH --method /runs/x/best.safetensors" in message
    assert "--backbone" not in message


def test_the_root_can_move(gallery, tmp_path):
    gallery.move_root(tmp_path)
    assert Gallery.open(gallery.place).manifest == replace(MANIFEST, root=str(tmp_path))
