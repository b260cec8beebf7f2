"""The kept shelf: opening by it gives what the tables give, and whatever is wrong with it is noticed."""

from __future__ import annotations

import json
import logging
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch
from typer.testing import CliRunner

from composir.cli.main import app
from composir.gallery import kept, part
from composir.gallery.scan import FileRow, Stamp
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery, Manifest
from composir.similarity.quantized import Codes

STAMP = Stamp(1, 2, 3)
IDS = [f"{i:032x}" for i in range(0, 400, 2)]


def put(gallery: Gallery, ids: list[str], known=frozenset()) -> None:
    vectors = np.random.default_rng(len(ids)).normal(size=(len(ids), 1, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    gallery.add(ids, vectors.astype(np.float16), [FileRow(f"a/{own}.png", own, STAMP) for own in ids], known)


@pytest.fixture
def gallery(tmp_path, monkeypatch) -> Gallery:
    """Two hundred pictures, which count as many, with metadata."""
    monkeypatch.setattr(part, "MANY", 50)
    made = Gallery.create(tmp_path / "g", Manifest("k", "slerp", "b", "b", "r", 1, 16, "/photos"))
    put(made, IDS)
    made.replace_metadata(pa.table({"path": [f"a/{own}.png" for own in IDS[:9]], "price": range(9)}), "x")
    return made


def folder(gallery: Gallery):
    (own,) = gallery.place.path.glob("shelf-*")
    return own


def same(one: Shelf, other: Shelf) -> None:
    assert list(one.ids) == list(other.ids)
    assert list(one.paths) == list(other.paths)
    assert torch.equal(one.vectors(range(len(one))), other.vectors(range(len(other))))
    assert one.columns.types == other.columns.types
    assert (one.columns.rows("price > 3") == other.columns.rows("price > 3")).all()
    assert one.columns.of_row(4) == other.columns.of_row(4)
    query = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(0))
    assert one.search(query, 50) == other.search(query, 50)
    assert one.version == other.version


def test_it_opens_as_the_tables_do_without_reading_them(gallery, monkeypatch):
    with gallery.writing():
        assert Shelf.keep(gallery)
    true = Shelf.read(gallery)
    for name in ("vectors", "places"):
        monkeypatch.setattr(Gallery, name, lambda self: pytest.fail("the tables were read"))
    monkeypatch.setattr(Codes, "__init__", lambda *_: pytest.fail("the codes were made again"))
    opened = Shelf.load(Gallery.open(gallery.place))
    assert isinstance(opened.base.nearest.scorer, Codes)
    monkeypatch.undo()
    same(opened, true)


def test_what_was_added_is_there_and_nothing_is_written_again(gallery):
    with gallery.writing():
        Shelf.keep(gallery)
        put(gallery, [f"{3:032x}"])
        assert not Shelf.keep(gallery)
    opened = Shelf.load(gallery)
    assert len(opened) == 201
    assert opened.added is not None
    assert Shelf.sound(gallery)


def test_what_was_removed_has_it_written_again(gallery):
    with gallery.writing():
        Shelf.keep(gallery)
        before = folder(gallery)
        gallery.forget_files([f"a/{IDS[0]}.png"])
        gallery.drop_images([IDS[0]])
        assert len(Shelf.load(gallery)) == 199
        assert Shelf.keep(gallery)
    assert folder(gallery) != before
    assert not before.exists()
    same(Shelf.load(gallery), Shelf.read(gallery))


def test_small_galleries_keep_none(gallery, monkeypatch):
    with gallery.writing():
        Shelf.keep(gallery)
        monkeypatch.setattr(part, "MANY", 500)
        monkeypatch.setattr(Gallery, "vectors", lambda self: pytest.fail("all was read for nothing"))
        assert not Shelf.keep(gallery)
    assert not list(gallery.place.path.glob("*shelf-*"))


DAMAGE = {
    "a file is cut": lambda f: (f / "vectors.npy").write_bytes((f / "vectors.npy").read_bytes()[:-1]),
    "a file is missing": lambda f: (f / "lower.npy").unlink(),
    "a file is foreign": lambda f: (f / "more.npy").write_bytes(b"x"),
    "no description": lambda f: (f / "about.json").write_text("{", encoding="utf-8"),
    "a later format": lambda f: (f / "about.json").write_text('{"format": 2, "files": {}}', encoding="utf-8"),
    "no magic": lambda f: (f / "ids.npy").write_bytes(b"\0" * (f / "ids.npy").stat().st_size),
    "no table": lambda f: (f / "paths.arrow").write_bytes(b"\0" * (f / "paths.arrow").stat().st_size),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_one_that_does_not_fit_its_description_is_not_used_and_told(gallery, what, caplog):
    with gallery.writing():
        Shelf.keep(gallery)
    DAMAGE[what](folder(gallery))
    with caplog.at_level(logging.WARNING, "composir.gallery.kept"):
        same(Shelf.load(gallery), Shelf.read(gallery))
    assert "is not used, the gallery's tables are read instead" in caplog.text
    with gallery.writing():
        assert Shelf.keep(gallery)
    assert Shelf.load(gallery).base.codes is not None


@pytest.mark.parametrize("name", ["vectors.npy", "upper.npy", "lower.npy", "ids.npy", "paths.arrow"])
def test_a_flipped_bit_is_found_by_verify_and_mended(gallery, name):
    with gallery.writing():
        Shelf.keep(gallery)
    assert Shelf.sound(gallery)
    result = CliRunner().invoke(app, ["gallery", "verify", str(gallery.place), "--json"])
    assert json.loads(result.stdout)["kept shelf"] == "sound"
    file = folder(gallery) / name
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert not Shelf.sound(gallery)
    result = CliRunner().invoke(app, ["gallery", "verify", str(gallery.place)])
    assert result.exit_code == 1
    assert "not what the tables hold" in result.output


def test_one_of_other_tables_is_not_used(gallery, tmp_path, caplog):
    """As where a backup was copied over a gallery: its versions count up from an older one, past the same numbers."""
    shutil.copytree(gallery.place.path, tmp_path / "backup")
    put(gallery, [f"{1:032x}"])
    with gallery.writing():
        Shelf.keep(gallery)
    made = folder(gallery)
    for name in ("images.lance", "files.lance"):
        shutil.rmtree(gallery.place.path / name)
        shutil.copytree(tmp_path / "backup" / name, gallery.place.path / name)
    older = Gallery.at(gallery.place)
    assert len(Shelf.load(older)) == 200
    put(older, [f"{5:032x}"])
    put(older, [f"{7:032x}"])
    assert made.exists()
    with caplog.at_level(logging.WARNING, "composir.gallery.kept"):
        assert f"{1:032x}" not in Shelf.load(older).rows
    assert "are not those that it was made of" in caplog.text


def test_a_full_disk_leaves_none_and_tells(gallery, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(kept, "_save_table", full)
    with gallery.writing(), caplog.at_level(logging.WARNING, "composir.gallery.kept"):
        assert not Shelf.keep(gallery)
    assert "No space left" in caplog.text
    assert not list(gallery.place.path.glob("*shelf-*"))
    assert len(Shelf.load(gallery)) == 200


def test_what_a_killed_writer_left_is_removed(gallery):
    (gallery.place.path / ".shelf-abc").mkdir()
    with gallery.writing():
        Shelf.keep(gallery)
    assert [own.name for own in gallery.place.path.glob("*shelf-*")] == [folder(gallery).name]


def test_a_reader_keeps_what_it_has_mapped(gallery):
    with gallery.writing():
        Shelf.keep(gallery)
    opened, query = Shelf.load(gallery), torch.ones(1, 1, 16)
    before = opened.search(query, 9)
    with gallery.writing():
        gallery.compact(at_once=True)
        kept.drop(gallery)
    assert opened.search(query, 9) == before
