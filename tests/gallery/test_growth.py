"""What was added to a gallery is found without reading the rest again; whatever else happened is noticed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from composir.gallery import added
from composir.gallery.growth import growth, marks
from composir.gallery.scan import FileRow, Stamp
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery, Manifest

STAMP = Stamp(1, 2, 3)
WIDTH = 6
MANIFEST = Manifest("k", "slerp", "b", "b", "r", 1, WIDTH, "/photos")
FIRST = [f"{2 * i:02x}" for i in range(20)]


def vector_of(own: str) -> np.ndarray:
    """(1, D): the same for ids that end alike, so that scores tie."""
    rng = np.random.default_rng(int(own[-1], 16) % 5)
    made = rng.normal(size=(1, WIDTH))
    return (made / np.linalg.norm(made)).astype(np.float16)


def put(gallery: Gallery, ids: list[str], known=frozenset(), files: bool = True) -> None:
    rows = [FileRow(f"{own}.png", own, STAMP) for own in ids] if files else []
    gallery.add(ids, np.stack([vector_of(own) for own in ids]), rows, known)


def tell(gallery: Gallery, *rows: FileRow, known=frozenset()) -> None:
    """Files of pictures that are stored."""
    gallery.add([], np.empty((0, 1, WIDTH), np.float16), rows, known)


@pytest.fixture
def gallery(tmp_path) -> Gallery:
    """Twenty pictures with every other id free."""
    made = Gallery.create(tmp_path / "g", MANIFEST)
    put(made, FIRST)
    return made


def same(one: Shelf, other: Shelf) -> None:
    """Two shelves answer alike, whatever is asked."""
    assert sorted(one.ids) == list(other.ids)
    assert {own: one.paths[row] for own, row in one.rows.items()} == {
        own: other.paths[row] for own, row in other.rows.items()
    }
    assert [one.ids[row] for row in np.argsort(one.order)] == list(other.ids)
    query = torch.from_numpy(np.random.default_rng(1).normal(size=(1, 1, WIDTH)).astype(np.float32))
    for k in (1, 7, len(other)):
        assert one.search(query, k, drop="06") == other.search(query, k, drop="06")
    for row, own in enumerate(one.ids):
        assert (one.vectors([row])[0].numpy() == vector_of(own)).all()
        assert one.find(f"{own}.png") == own
    pieces = torch.cat(list(one.pieces(3)))
    assert (pieces.numpy() == np.stack([vector_of(own) for own in one.ids])).all()


def test_additions_are_found_where_they_belong(gallery):
    shelf = Shelf.load(gallery)
    put(gallery, ["05", "27", "ff"])
    grown = shelf.grown(gallery)
    assert grown.base is shelf.base  # not read again
    assert len(grown) == 23
    same(grown, Shelf.load(gallery))
    put(gallery, ["03"])
    again = grown.grown(gallery)
    assert again.version not in (grown.version, shelf.version)
    same(again, Shelf.load(gallery))
    assert (len(shelf), len(grown)) == (20, 23)  # those that are in use stay as they are


@settings(max_examples=15)
@given(st.lists(st.integers(0, 60).map(lambda i: f"{2 * i + 1:02x}"), unique=True, max_size=20), st.integers(1, 7))
def test_any_additions(tmp_path_factory, ids, step):
    made = Gallery.create(tmp_path_factory.mktemp("g") / "g", MANIFEST)
    put(made, FIRST)
    shelf = Shelf.load(made)
    for start in range(0, len(ids), step):
        put(made, ids[start : start + step])
        shelf = shelf.grown(made)
    same(shelf, Shelf.load(made))


def test_nothing_new_and_pictures_whose_file_comes_later(gallery):
    shelf = Shelf.load(gallery)
    assert len(shelf.grown(gallery)) == 20
    put(gallery, ["05"], files=False)
    grown = shelf.grown(gallery)
    assert len(grown) == 20
    tell(gallery, FileRow("05.png", "05", STAMP))
    same(grown.grown(gallery), Shelf.load(gallery))


def test_a_file_that_was_skipped_is_no_picture(gallery):
    shelf = Shelf.load(gallery)
    tell(gallery, FileRow("x.png", "aa", STAMP, "broken", "why"))
    assert len(shelf.grown(gallery)) == 20


OTHER = FileRow("04.png", "05", STAMP)
CHANGES = {
    "a picture is removed": lambda g: (g.forget_files(["04.png"]), g.drop_images(["04"])),
    "a file is removed": lambda g: g.forget_files(["04.png"]),
    "all of a commit is removed": lambda g: g.forget_files(f"{own}.png" for own in FIRST),
    "a file holds another picture now": lambda g: put(g, ["05"]) or tell(g, OTHER, known=["04.png"]),
    "a known picture has a second file": lambda g: tell(g, FileRow("copy.png", "04", STAMP)),
    "one goes, one comes": lambda g: (g.forget_files(["04.png"]), g.drop_images(["04"]), put(g, ["05"])),
    "one comes, one goes": lambda g: (put(g, ["05"]), g.forget_files(["04.png"])),
    "it is compacted": lambda g: (put(g, ["05"]), put(g, ["07"]), g.compact(at_once=True)),
    "it has metadata": lambda g: g.replace_metadata(pa.table({"path": ["04.png"], "price": [3]}), "x"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_else_happens_has_all_read_again(gallery, what):
    shelf = Shelf.load(gallery)
    CHANGES[what](gallery)
    assert shelf.grown(gallery) is None
    assert Shelf.load(gallery).version != shelf.version


def test_a_write_while_it_is_read_has_all_read_again(gallery, monkeypatch):
    before = marks(gallery)
    put(gallery, ["05"])
    assert growth(gallery, before).ids == ["05"]
    own = Gallery.tables
    looks = []

    def tables(self):
        looks.append(1)
        if len(looks) == 3:  # after the rows were read, before it looks whether anybody wrote
            put(Gallery.at(gallery.place), ["07"])
        return own(self)

    monkeypatch.setattr(Gallery, "tables", tables)
    assert growth(gallery, before) is None
    assert len(looks) == 3


def test_older_tables_in_its_place_have_all_read_again(gallery):
    now = marks(gallery)
    assert growth(gallery, {**now, "images": now["images"] + 1}) is None


def test_pieces_compacted_away_under_our_hands_have_all_read_again(gallery, monkeypatch):
    before = marks(gallery)
    put(gallery, ["05"])
    monkeypatch.setattr("composir.gallery.growth._read", raises)
    assert growth(gallery, before) is None


def raises(*_):
    raise RuntimeError("lance error: LanceError(IO): not found")


def test_too_much_has_all_read_again(gallery, monkeypatch):
    monkeypatch.setattr(added, "FEW", 3)
    shelf = Shelf.load(gallery)
    put(gallery, ["01", "03", "05"])
    grown = shelf.grown(gallery)
    assert len(grown) == 23
    put(gallery, ["07"])
    assert grown.grown(gallery) is None


def test_what_is_known_of_additions_is_known(gallery):
    told = pa.table({"path": ["04.png", "05.png"], "price": [3, 4]})
    gallery.replace_metadata(told, "x")
    shelf = Shelf.load(gallery)
    put(gallery, ["05", "07"])
    grown, anew = shelf.grown(gallery), Shelf.load(gallery)
    assert grown.columns.types == anew.columns.types == {"price": "integer"}
    for where in ("price > 3", "price = 3", "price IS NULL", ""):
        one, other = grown.columns.rows(where), anew.columns.rows(where)
        assert (one is None) == (other is None) == (not where)
        if one is not None:
            assert sorted(grown.ids[row] for row in one) == [anew.ids[row] for row in other]
    row = grown.rows["05"]
    assert grown.columns.of_row(row) == {"price": 4}
    assert grown.columns.of_row(grown.rows["07"]) == {"price": None}
