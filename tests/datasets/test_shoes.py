"""Shoes: the real annotation files, splits by membership, every layout, and each fault told by file and record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from composir.datasets import load_dataset
from composir.errors import DataError
from composir.types import Pair, Query, Task


@pytest.fixture(scope="module")
def real(shared_data):
    return load_dataset("shoes", root=shared_data / "shoes")


@pytest.fixture(scope="module")
def tasks(real) -> dict[str, Task]:
    return {split: real.tasks(split)[0] for split in real.splits}


# ---- the real files ----


@pytest.mark.parametrize(("split", "queries", "gallery", "same"), [("train", 8990, 10000, 26), ("test", 1761, 4658, 1)])
def test_published_counts(tasks, split, queries, gallery, same):
    task = tasks[split]
    assert (task.name, len(task.queries), len(task.gallery)) == ("shoes", queries, gallery)
    assert task.metrics == ("R@1", "R@10", "R@50")
    assert not task.drop_reference
    assert not task.hidden
    names = set(task.gallery)
    assert len(names) == gallery
    assert len({query.id for query in task.queries}) == queries
    assert all({query.reference, *query.targets} <= names for query in task.queries)
    assert sum(query.reference in query.targets for query in task.queries) == same
    assert all(query.captions[0].strip() for query in task.queries)


def test_the_first_query(tasks):
    assert tasks["train"].queries[0] == Query(
        "0", "img_womens_clogs_512", ("is more of a textured material",), ("img_womens_clogs_851",)
    )


def test_splits_share_no_picture_and_lose_no_pair(real, tasks):
    train, test = tasks["train"], tasks["test"]
    assert {int(query.id) for query in (*train.queries, *test.queries)} == set(range(10751))
    assert not set(train.gallery) & set(test.gallery)
    assert real.triplets("test") == test.queries


def test_captions_of_single_pictures(real, tasks):
    train, test = real.pairs("train"), real.pairs("test")
    assert (len(train), len(test)) == (3000, 600)
    first = "img_womens_high_heels_848"
    assert Pair(first, first, ("black strappy high heels",)) in (*train, *test)
    assert {pair.image for pair in train} <= set(tasks["train"].gallery)
    assert {pair.image for pair in test} <= set(tasks["test"].gallery)


def test_there_is_no_val_split(real):
    with pytest.raises(
        DataError, match=r"shoes has no split 'val'; there is train, test \(its evaluation list is test"
    ):
        real.tasks("val")


# ---- made by hand ----


def made(target: object = "img_b.jpg", reference: object = "img_a.jpg", caption: object = "is red") -> dict:
    return {"ImageName": target, "ReferenceImageName": reference, "RelativeCaption": caption}


def write(root: Path, relative: object, folder: str = ".", plain: object = None, train: str = "img_a.jpg\nimg_b.jpg\n"):
    """Two training images and two for evaluation."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "relative_captions_shoes.json").write_text(json.dumps(relative), encoding="utf-8")
    (root / folder / "train_im_names.txt").write_text(train, encoding="utf-8")
    (root / folder / "eval_im_names.txt").write_text("img_x.jpg\nimg_y.jpg\n", encoding="utf-8")
    if plain is not None:
        (root / folder / "captions_shoes.json").write_text(json.dumps(plain), encoding="utf-8")
    return root


BOTH = [made(), made("img_y.jpg", "img_x.jpg")]


@pytest.mark.parametrize("folder", [".", "dataset", "annotations"])
@pytest.mark.parametrize("pictures", ["womens_clogs/0", "attributedata/womens_clogs/1", "images", "else/where"])
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_every_layout_is_found(tmp_path, folder, pictures, ending):
    write(tmp_path, BOTH, folder, [{"ImageName": "img_a.jpg", "Caption": "a clog"}])
    (tmp_path / pictures).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / pictures / f"img_b.{ending}")
    data = load_dataset("shoes", root=tmp_path)
    assert data.image("img_b").size == (8, 8)
    assert data.missing(data.tasks("train")[0].gallery) == ["img_a"]
    assert {file.parent for file in data.files_of("test")} == {tmp_path / folder}
    assert len(data.files_of("test")) == 4


def test_several_captions_of_one_picture_are_one_pair(tmp_path):
    plain = [
        {"ImageName": name, "Caption": text}
        for name, text in (("img_a.jpg", "a clog"), ("img_x.jpg", "a boot"), ("img_a.jpg", "鞋"))
    ]
    data = load_dataset("shoes", root=write(tmp_path, BOTH, plain=plain))
    assert data.pairs("train") == (Pair("img_a", "img_a", ("a clog", "鞋")),)
    assert data.pairs("test") == (Pair("img_x", "img_x", ("a boot",)),)


def test_without_captions_there_is_no_pair(tmp_path):
    data = load_dataset("shoes", root=write(tmp_path, BOTH))
    assert data.pairs("train") == ()
    assert len(data.files_of("train")) == 3


def test_the_reference_may_be_dropped(tmp_path):
    assert load_dataset("shoes", root=write(tmp_path, BOTH), drop_reference=True).tasks("test")[0].drop_reference


def test_names_of_any_script_in_either_spelling(tmp_path):
    root = write(tmp_path, [made("鞋.jpg", "cafe\u0301.jpg")], train="caf\u00e9.jpg\n鞋.jpg\n")
    data = load_dataset("shoes", root=root)
    assert data.tasks("train")[0].gallery == ("caf\u00e9", "鞋")
    assert data.triplets("train")[0].reference == "caf\u00e9"


BAD_RECORDS = {
    "empty": ([], "holds an empty list"),
    "no object": ([*BOTH, 5], "record 2 (counted from 0): is the number 5"),
    "number as target": ([made(5)], "record 0 (counted from 0): key 'ImageName' holds the number 5; a name is needed"),
    "no reference": ([{"ImageName": "img_a.jpg"}], "lacks the key 'ReferenceImageName'; it has 'ImageName'"),
    "list as caption": ([made(caption=["a"])], "key 'RelativeCaption' holds a list; a text is needed"),
    "fault in the other split": ([*BOTH[:1], made("img_x.jpg", caption=None)], "record 1 (counted from 0): key 'Rel"),
    "blank caption": (
        [*BOTH, made(caption=" ")],
        """record 2 (counted from 0): key 'RelativeCaption' holds the text " ";""",
    ),
    "a record twice": (
        [*BOTH, made("img_b.png")],
        "record 2 (counted from 0): says the same as record 0 (counted from",
    ),
    "a record twice, of the other split": ([*BOTH, BOTH[1]], "record 2 (counted from 0): says the same as record 1"),
    "target of no split": ([*BOTH, made("img_z.jpg")], "record 2 (counted from 0): ImageName 'img_z' is in neither"),
    "no target of this split": (BOTH[1:], "no target is in train_im_names.txt"),
}


@pytest.mark.parametrize("fault", BAD_RECORDS)
def test_bad_records_are_told_by_file_and_number(tmp_path, fault):
    records, complaint = BAD_RECORDS[fault]
    root = write(tmp_path, records)
    with pytest.raises(DataError) as caught:
        load_dataset("shoes", root=root).triplets("train")
    assert str(caught.value).startswith(f"{root / 'relative_captions_shoes.json'}: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        ("", "is empty; a name a line is needed"),
        ("img_a.jpg\nimg_b.jpg\nimg_a.jpg\n", "line 3 (counted from 1): 'img_a.jpg' stands in line 1 too"),
        ("img_a.jpg\nimg_a.png\n", "names one picture twice, with two endings"),
        ("img_a.jpg\nimg_x.jpg\n", "names 'img_x', which is in"),
    ],
)
def test_bad_lists_of_names_are_told(tmp_path, names, complaint):
    root = write(tmp_path, BOTH, train=names)
    with pytest.raises(DataError) as caught:
        load_dataset("shoes", root=root).triplets("train")
    assert str(caught.value).startswith(f"{root / 'train_im_names.txt'}: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("second", "complaint"),
    [
        ({}, "lacks the key 'Caption'"),
        ({"Caption": ""}, "that is not blank"),
        ({"Caption": "a"}, "the same as record 0"),
    ],
)
def test_bad_captions_of_single_pictures_are_told(tmp_path, second, complaint):
    plain = [{"ImageName": "img_a.jpg", "Caption": "a"}, {"ImageName": "img_a.jpg", **second}]
    with pytest.raises(DataError, match=rf"captions_shoes\.json: record 1 .* {complaint}"):
        load_dataset("shoes", root=write(tmp_path, BOTH, plain=plain)).pairs("train")


def test_a_wrong_root_is_refused_with_every_place(tmp_path):
    with pytest.raises(DataError) as caught:
        load_dataset("shoes", root=tmp_path)
    for folder in (".", "dataset", "annotations"):
        assert str(tmp_path / folder / "relative_captions_shoes.json") in str(caught.value)
