"""Verdicts on disk: whatever texts and names hold, over restarts, and without writing what has not changed."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from composir.datasets import load_dataset
from composir.errors import ComposirError, DataError
from composir.gallery.scan import file_id
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder
from composir.opening import find_method, load_wanted
from composir.server.answering.verdicts import Verdicts
from composir.server.service import Verdict

# Told apart by their endings, and hard to write on a line.
NAMES = ("a.jpg", "a.png", "b.png", "new\nline.png", " blank.png", "back\\slash.png", "line\u2028end.png",
         "caf\u00e9.png", "cafe\u0301.png", "sub/a.png")  # fmt: skip


@pytest.fixture(scope="module")
def slerp():
    return load_wanted(find_method("slerp"), device="cpu").eval()


@pytest.fixture(scope="module")
def root(tmp_path_factory, make_jpeg) -> Path:
    folder = tmp_path_factory.mktemp("odd") / "pictures"
    for number, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_jpeg(number))
    return folder


@pytest.fixture(scope="module")
def shelf(root, slerp, tmp_path_factory) -> Shelf:
    gallery = create_gallery(tmp_path_factory.mktemp("gallery") / "g", slerp, root)
    index_folder(gallery, slerp, root, workers=0)
    return Shelf.load(Gallery.open(gallery.place))


@pytest.fixture
def ids(root) -> dict[str, str]:
    return {name: file_id(root / name) for name in NAMES}


def said(text: str, reference: str, right: tuple[str, ...] = (), wrong: tuple[str, ...] = ()) -> Verdict:
    return Verdict(reference, text, right, wrong)


@pytest.mark.parametrize("text", ["a\u2028b", "a\u2029b", "a\u0085b", "a\x1cb", "a\nb", "a\r\nb", "\x0b a"])
def test_a_text_with_any_end_of_a_line_outlives_a_restart(root, shelf, ids, tmp_path, text):
    own, other, third = ids["a.jpg"], ids["b.png"], ids["a.png"]
    assert Verdicts(tmp_path / "j", root).add(said(text, own, (other,)), None, shelf) == 1
    again = Verdicts(tmp_path / "j", root)
    assert again.add(said("red", own, (other,)), None, shelf) == 2
    assert again.add(said(text, own, (third,)), None, shelf) == 2
    assert Verdicts(tmp_path / "j", root).add(said("blue", own, (other,)), None, shelf) == 3
    captions = [query.captions for query in load_dataset("jsonl", root=tmp_path / "j").tasks("test")[0].queries]
    assert captions == [(text,), ("red",), ("blue",)]


def test_every_name_leads_to_the_very_picture(root, shelf, ids, tmp_path):
    verdicts = Verdicts(tmp_path / "j", root)
    for name in NAMES[1:]:
        verdicts.add(said(name, ids["a.jpg"], (ids[name],)), None, shelf)
    data = load_dataset("jsonl", root=tmp_path / "j")
    (task,) = data.tasks("test")
    assert [file_id(data.path(query.targets[0])) for query in task.queries] == [ids[name] for name in NAMES[1:]]
    assert {file_id(data.path(query.reference)) for query in task.queries} == {ids["a.jpg"]}
    assert sorted(file_id(data.path(name)) for name in task.gallery) == sorted(ids.values())


def test_one_picture_right_and_its_namesake_wrong(root, shelf, ids, tmp_path):
    verdict = said("red", ids["b.png"], (ids["a.jpg"],), (ids["a.png"],))
    Verdicts(tmp_path / "j", root).add(verdict, None, shelf)
    data = load_dataset("jsonl", root=tmp_path / "j")
    (query,) = data.tasks("test")[0].queries
    assert len(set(query.subset)) == 3
    assert [file_id(data.path(name)) for name in query.subset] == [ids[n] for n in ("b.png", "a.jpg", "a.png")]


def test_the_names_of_the_gallery_are_written_when_it_changes_alone(root, shelf, ids, slerp, tmp_path, make_jpeg):
    verdicts, ranked, log = Verdicts(tmp_path / "j", root), tmp_path / "j/gallery.txt", tmp_path / "j/verdicts.jsonl"
    state = lambda path: (path.stat().st_ino, path.stat().st_mtime_ns)  # noqa: E731
    verdicts.add(said("red", ids["a.jpg"], (ids["b.png"],)), None, shelf)
    before, first, file = state(ranked), log.read_bytes(), log.stat().st_ino
    verdicts.add(said("blue", ids["a.jpg"], (ids["b.png"],)), None, shelf)
    verdicts.add(said("red", ids["a.jpg"], (ids["a.png"],)), None, shelf)
    assert state(ranked) == before
    assert (log.read_bytes()[: len(first)], log.stat().st_ino) == (first, file)  # added to, not written anew
    assert len(log.read_bytes().splitlines()) == 3
    verdicts.add(said("x", "ab" * 16, (ids["a.png"],)), make_jpeg(50), shelf)
    assert ranked.read_text().splitlines()[-1] == f"uploads/{'ab' * 16}.jpg"
    after = state(ranked)
    verdicts.add(said("y", "ab" * 16, (ids["a.png"],)), make_jpeg(50), shelf)
    assert state(ranked) == after
    other = tmp_path / "others"
    other.mkdir()
    (other / "n.jpg").write_bytes(make_jpeg(70))
    grown = create_gallery(tmp_path / "g", slerp, other)
    index_folder(grown, slerp, other, workers=0)
    verdicts.add(said("z", file_id(other / "n.jpg"), (), (file_id(other / "n.jpg"),)), None, Shelf.load(grown))
    assert ranked.read_text().splitlines() == ["gallery/n.jpg", f"uploads/{'ab' * 16}.jpg"]


def test_a_line_that_was_cut_off_is_removed_and_told(root, shelf, ids, tmp_path, caplog):
    log = tmp_path / "j/verdicts.jsonl"
    Verdicts(tmp_path / "j", root).add(said("red", ids["a.jpg"], (ids["b.png"],)), None, shelf)
    whole = log.read_bytes()
    line = whole.replace(b"red", b"blue")
    for cut in (1, 20, len(line) - 2):
        log.write_bytes(whole + line[:cut])
        with caplog.at_level(logging.WARNING):
            assert Verdicts(tmp_path / "j", root).add(said("red", ids["a.jpg"], (ids["a.png"],)), None, shelf) == 1
        assert f"its {cut} bytes are removed" in caplog.text
        assert all(json.loads(one) for one in log.read_bytes().split(b"\n")[:-1])
    log.write_bytes(whole + line[:-1])  # whole, but for its end
    assert Verdicts(tmp_path / "j", root).add(said("green", ids["a.jpg"], (ids["a.png"],)), None, shelf) == 3


def test_a_line_that_is_no_verdict_is_told_by_its_number(root, shelf, ids, tmp_path):
    verdicts = Verdicts(tmp_path / "j", root)
    verdicts.add(said("red", ids["a.jpg"], (ids["b.png"],)), None, shelf)
    with (tmp_path / "j/verdicts.jsonl").open("a") as file:
        file.write("[]\n")
    for _ in range(2):
        with pytest.raises(DataError, match="line 2 is not one"):
            verdicts.add(said("blue", ids["a.jpg"], (ids["b.png"],)), None, shelf)


def test_two_servers_over_one_folder_see_each_other(root, shelf, ids, tmp_path):
    one, two = Verdicts(tmp_path / "j", root), Verdicts(tmp_path / "j", root)
    assert one.add(said("red", ids["a.jpg"], (ids["b.png"],)), None, shelf) == 1
    assert two.add(said("blue", ids["a.jpg"], (ids["b.png"],)), None, shelf) == 2
    assert one.add(said("red", ids["a.jpg"]), None, shelf) == 1  # taken back
    assert [query.captions for query in load_dataset("jsonl", root=tmp_path / "j").tasks("test")[0].queries] == [
        ("blue",)
    ]


def test_a_file_of_much_that_no_longer_counts_is_written_anew(root, shelf, ids, tmp_path, monkeypatch):
    monkeypatch.setattr("composir.server.answering.log.SPARE", 3)
    verdicts = Verdicts(tmp_path / "j", root)
    for number in range(20):
        assert verdicts.add(said("red", ids["a.jpg"], (ids[NAMES[1 + number % 3]],)), None, shelf) == 1
    assert len((tmp_path / "j/verdicts.jsonl").read_bytes().splitlines()) <= 5


def test_the_reference_is_no_right_answer(root, shelf, ids, tmp_path):
    with pytest.raises(ComposirError, match="leave it out of 'right'"):
        Verdicts(tmp_path / "j", root).add(said("red", ids["a.jpg"], (ids["a.jpg"],)), None, shelf)
