"""The plain format: what each file says, what is assumed where none does, and every mistake named by line."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
from PIL import Image

from composir.datasets import load_dataset
from composir.datasets.jsonl import Jsonl
from composir.errors import DataError
from composir.testing import check_dataset
from composir.types import Pair, Query

ROW = {"reference": "a", "caption": "in red", "target": "b"}


def lines(path: Path, *rows: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows), encoding="utf-8")


def pictures(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        path = root / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (number * 20, 50, 90)).save(path)


@pytest.fixture
def root(tmp_path) -> Path:
    """Six pictures, two of one name in two folders; one file of triplets."""
    pictures(tmp_path, "a.png", "b.jpg", "sub/a.png", "sub/c.png", "d.v2.png", "é.png")
    lines(
        tmp_path / "triplets.jsonl",
        {"reference": "a.png", "captions": ["in red", "longer"], "targets": ["b.jpg", "sub/a"], "weight": 2,
         "subset": ["a", "b", "d.v2.png"], "aspects": ["colour"], "shared_concept": "a dress"},
        {"id": 7, "reference": "sub/a.png", "caption": "older", "target": "sub/c"},
        "",
        {"id": "x", "split": "train", "reference": "e\u0301", "caption": "smaller", "target": "d.v2"},
    )  # fmt: skip
    return tmp_path


# ---- what is read ----


def test_one_file_of_all_splits(root):
    data = load_dataset("jsonl", root=root)
    assert data.splits == ("train", "test")
    [task] = data.tasks("test")
    assert task.name == root.name
    assert task.queries == (
        Query("0", "a", ("in red", "longer"), ("b", "sub/a"), ("a", "b", "d.v2"), 2.0, "a dress", ("colour",)),
        Query("7", "sub/a", ("older",), ("sub/c",)),
    )
    assert task.gallery == ("a", "b", "d.v2", "sub/a", "sub/c", "é")
    assert task.drop_reference
    assert task.metrics == ("R@1", "R@5", "R@10", "R@50", "mAP@5", "mAP@10", "mAP@25", "mAP@50", "R@10/*")
    assert data.triplets("train") == [Query("x", "é", ("smaller",), ("d.v2",))]
    assert data.image("sub/a").getpixel((0, 0)) == (40, 50, 90)
    assert data.missing(["c", "sub/c", "a", "sub/b"]) == ["c", "sub/b"]
    assert data.path("b").name == "b.jpg"
    check_dataset(data, images=None)


def test_files_that_differ_in_their_ending_alone_are_told_apart(tmp_path):
    """The stem is the first of them; the name with its ending is that very file."""
    pictures(tmp_path, "a.jpg", "a.png", "a.png.webp", "b.JPG", "b.png", "c.png")
    lines(tmp_path / "triplets.jsonl", {"reference": "c.png", "caption": "x", "targets": ["a.jpg", "a.png"],
                                        "subset": ["a.jpg", "c", "a.png", "a.png.webp", "b.JPG", "b.png"]})  # fmt: skip
    data = Jsonl(tmp_path)
    (query,) = data.tasks("test")[0].queries
    files = {name: str(data.path(name).relative_to(tmp_path / "images")) for name in (*query.targets, *query.subset)}
    assert (query.reference, query.targets) == ("c", ("a", "a.png"))
    assert files == {"a": "a.jpg", "c": "c.png", "a.png": "a.png", "a.png.webp": "a.png.webp", "b": "b.JPG",
                     "b.png": "b.png"}  # fmt: skip
    lines(tmp_path / "gallery.txt", "a.jpg", "a.png", "b.png", "c.png")
    assert Jsonl(tmp_path).tasks("test")[0].gallery == ("a", "a.png", "b.png", "c")
    lines(tmp_path / "gallery.txt", "a", "a.jpg")
    with pytest.raises(DataError, match="'a' twice"):
        Jsonl(tmp_path).tasks("test")


def test_rows_without_a_split_are_never_trained_on(tmp_path):
    pictures(tmp_path, "a.png", "b.png")
    lines(tmp_path / "triplets.jsonl", ROW)
    lines(tmp_path / "captions.jsonl", {"image": "a", "caption": "x"})
    assert Jsonl(tmp_path).splits == ("test",)


def test_a_file_a_split(tmp_path):
    pictures(tmp_path, *(f"{name}.png" for name in "abcdef"))
    lines(tmp_path / "triplets.train.jsonl", ROW)
    lines(
        tmp_path / "triplets.val.jsonl", {**ROW, "subset": ["a", "b"]}, {**ROW, "reference": "d", "subset": ["d", "b"]}
    )
    lines(tmp_path / "pairs.train.jsonl", {"image": "c.png", "captions": ["x", "y"]}, {"image": "c", "caption": "z"})
    lines(tmp_path / "pairs.test.jsonl", {"id": "p", "image": "e", "caption": "x"})
    (tmp_path / "gallery.val.txt").write_text("d.png\n\nb\na.png\n")
    data = Jsonl(tmp_path)
    assert data.splits == ("train", "val", "test")
    assert data.tasks("train")[0].gallery == ("a", "b")
    [task] = data.tasks("val")
    assert task.gallery == ("d", "b", "a")
    assert task.metrics == ("R@1", "R@5", "R@10", "R@50", "Rs@1", "Rs@2", "Rs@3")
    assert data.tasks("test") == [] == data.triplets("test")
    assert data.pairs("train") == [Pair("0", "c", ("x", "y")), Pair("1", "c", ("z",))]
    assert data.pairs("test") == [Pair("p", "e", ("x",))]
    assert [path.name for path in data.files_of("val")] == ["triplets.val.jsonl", "gallery.val.txt"]
    check_dataset(data, images=None)


def test_set_json_has_the_last_word(root):
    lines(root / "set.json", {"name": "shop", "drop_reference": False, "metrics": ["R@3", "mAP@2/*"]})
    [task] = Jsonl(root).tasks("test")
    assert (task.name, task.drop_reference, task.metrics) == ("shop", False, ("R@3", "mAP@2/*"))


def test_subsets_in_some_rows_only_are_noted(root):
    data = Jsonl(root)
    assert data.notes("test") == (
        f"{root / 'triplets.jsonl'}: 1 of 2 queries of test have a subset (line 1 the first); line 2 is the first "
        "without, so Rs@K is not evaluated: give all of them one, or name the metrics in set.json",
    )
    assert data.notes("train") == ()  # none has one
    lines(root / "set.json", {"metrics": ["R@1"]})
    assert Jsonl(root).notes("test") == ()


def test_subsets_in_all_rows_need_no_note(tmp_path):
    lines(tmp_path / "triplets.jsonl", {**ROW, "subset": ["a", "b"]}, {**ROW, "subset": ["a", "b", "c"]})
    assert Jsonl(tmp_path).notes("test") == ()
    assert "Rs@1" in Jsonl(tmp_path).tasks("test")[0].metrics


def test_annotations_alone_are_enough(root):
    for path in (root / "images").rglob("*.*"):
        path.unlink()
    [task] = Jsonl(root).tasks("test")
    assert task.gallery == ("a", "b", "d.v2", "sub/a", "sub/c")


def test_a_named_picture_that_is_missing_stays_in_the_gallery(root):
    (root / "images/b.jpg").unlink()
    data = Jsonl(root)
    assert "b" in data.tasks("test")[0].gallery
    assert data.missing(data.tasks("test")[0].gallery) == ["b"]


def test_hidden_truth(tmp_path):
    lines(tmp_path / "triplets.test.jsonl", {"reference": "a", "caption": "x", "subset": ["a", "c"]})
    data = Jsonl(tmp_path)
    [task] = data.tasks("test")
    assert task.hidden
    assert task.gallery == ("a", "c")
    assert data.triplets("test") == []


def test_a_copy_holds_no_annotations(root):
    data = Jsonl(root)
    full = len(pickle.dumps(data))
    lines(root / "triplets.jsonl", *({**ROW, "caption": "x" * 99} for _ in range(1000)))
    data = Jsonl(root)
    assert len(data.triplets("test")) == 1000
    assert len(pickle.dumps(data)) <= full


# ---- what is refused ----


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROW, "refrence": "a"}, "line 2: unknown key 'refrence'; did you mean 'reference'"),
        ({**ROW, "tagret": "a"}, "line 2: unknown key 'tagret'; did you mean 'target'"),
        ({"caption": "x", "target": "b"}, "line 2: lacks the key 'reference'"),
        ({**ROW, "reference": 3}, "line 2: key 'reference' holds the number 3"),
        ({**ROW, "targets": ["b"]}, "has both keys 'target' and 'targets'"),
        ({**ROW, "captions": ["x"]}, "needs one of the keys 'caption' and 'captions'"),
        ({"reference": "a", "target": "b"}, "needs one of the keys 'caption' and 'captions'"),
        ({"reference": "a", "captions": [], "target": "b"}, "has an empty caption, or none"),
        ({"reference": "a", "captions": ["x", " "], "target": "b"}, "has an empty caption, or none"),
        ({"reference": "a", "captions": "x", "target": "b"}, "key 'captions' holds the text"),
        ({"reference": "a", "caption": "x", "targets": ["b", "b.png"]}, "names picture 'b' twice"),
        ({"reference": "a", "caption": "x", "targets": ["a.png", "b"]}, "has its reference 'a' among its targets"),
        ({**ROW, "subset": ["a", "c"]}, "lacks the reference or the first target"),
        ({**ROW, "subset": ["b", "c"]}, "lacks the reference or the first target"),
        ({**ROW, "subset": []}, "line 2: key 'subset' holds an empty list; name its pictures, or leave the key out"),
        ({**ROW, "weight": -1}, "key 'weight' holds the number -1"),
        ({**ROW, "weight": "1"}, "a finite number is needed"),
        ({**ROW, "target": "../b"}, "picture '../b' is no plain path"),
        ({**ROW, "target": "/b"}, "picture '/b' is no plain path"),
        ({**ROW, "target": "c\\b"}, "no plain path"),
        ({**ROW, "id": True}, "key 'id' holds true"),
        ({**ROW, "id": "0"}, "line 2: has the id '0', as line 1 has"),
        ({**ROW, "split": "dev"}, "key 'split' holds the text \"dev\"; train, val, test"),
        ({"reference": "a", "caption": "x"}, "give targets to all queries of test or to none"),
        ("{", r"triplets\.jsonl: line 2: column 2: is not JSON"),
        ("[]", "line 2: is a list"),
        ('{"id": 1, "id": 2}', "line 2: .*twice"),
    ],
)
def test_mistakes_are_named_by_line(tmp_path, row, message):
    lines(tmp_path / "triplets.jsonl", ROW, row)
    with pytest.raises(DataError, match=message):
        Jsonl(tmp_path).tasks("test")


def test_a_file_of_one_split_has_no_key_split_and_is_read_when_needed(tmp_path):
    lines(tmp_path / "triplets.val.jsonl", {**ROW, "split": "val"})
    data = Jsonl(tmp_path)
    with pytest.raises(DataError, match=r"triplets\.val\.jsonl: line 1: unknown key 'split'"):
        data.tasks("val")


def test_targets_in_some_rows_only_are_told_with_both_lines(tmp_path):
    hidden = {"id": "h", "reference": "a", "caption": "x"}
    lines(
        tmp_path / "triplets.jsonl", {**hidden, "id": "t", "split": "train"}, "", ROW, {**ROW, "caption": "y"}, hidden
    )
    with pytest.raises(DataError) as caught:
        Jsonl(tmp_path).tasks("test")
    assert str(caught.value) == (
        f"{tmp_path / 'triplets.jsonl'}: line 5: query 'h' has 0 targets, but line 3, query '1', has 1; "
        "give targets to all queries of test or to none"
    )
    assert Jsonl(tmp_path).tasks("train")[0].hidden


@pytest.mark.parametrize(
    ("rows", "splits"),
    [
        ([{**ROW, "split": "train"}, {**ROW, "tagret": "a"}], ("train", "test")),  # a known split, another fault
        ([{**ROW, "split": "train"}, "{"], ("train", "val", "test")),  # the row may be of any
        ([ROW, {**ROW, "split": "dev"}], ("train", "val", "test")),
    ],
)
def test_a_set_with_a_malformed_line_opens_and_each_split_tells_of_it(tmp_path, rows, splits):
    lines(tmp_path / "triplets.jsonl", *rows)
    data = Jsonl(tmp_path)
    assert data.splits == splits
    for split in splits:
        with pytest.raises(DataError, match=r"triplets\.jsonl: line 2: "):
            data.tasks(split)


def test_a_malformed_set_json_is_told_by_tasks_also_of_captions_alone(tmp_path):
    lines(tmp_path / "captions.jsonl", {"image": "a", "caption": "x"})
    lines(tmp_path / "set.json", "{")
    data = Jsonl(tmp_path)
    assert len(data.pairs("test")) == 1
    with pytest.raises(DataError, match=r"set\.json: line 2, column 1: is not JSON"):
        data.tasks("test")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"metrcs": []}, "unknown key 'metrcs'; did you mean 'metrics'"),
        ({"metrics": ["R@10", "R10"]}, "key 'metrics' holds the text \"R10\"; R@K"),
        ({"metrics": []}, "key 'metrics' holds an empty list"),
        ({"metrics": ["Rs@1"]}, "metrics ask for Rs@K, but query '7' has no subset"),
        ({"drop_reference": "no"}, "true or false is needed"),
        ("[]", "is a list"),
    ],
)
def test_wrong_settings(root, settings, message):
    lines(root / "set.json", settings)
    with pytest.raises(DataError, match=message):
        Jsonl(root).tasks("test")


def test_wrong_galleries(root):
    (root / "gallery.txt").write_text("a\nb\na.png\n")
    with pytest.raises(DataError, match=r"gallery\.txt: .*names picture 'a' twice"):
        Jsonl(root).tasks("test")
    (root / "gallery.txt").write_text("\n")
    with pytest.raises(DataError, match=r"gallery\.txt: is empty"):
        Jsonl(root).tasks("test")


def test_what_cannot_be_opened(root, tmp_path):
    with pytest.raises(DataError, match="there is no such folder; for jsonl give"):
        Jsonl(root / "nowhere")
    (root / "empty").mkdir()
    with pytest.raises(DataError, match="holds neither triplets nor captions"):
        Jsonl(root / "empty")
    lines(root / "triplets.val.jsonl", ROW)
    with pytest.raises(DataError, match=r"holds triplets\.jsonl beside triplets\.val\.jsonl"):
        Jsonl(root)
    (root / "triplets.val.jsonl").unlink()
    lines(root / "triplets.jsonl")
    with pytest.raises(DataError, match=r"triplets\.jsonl: holds no line"):
        Jsonl(root)
    lines(root / "triplets.jsonl", ROW)
    with pytest.raises(DataError, match="no split 'val'; there is test"):
        Jsonl(root).tasks("val")
