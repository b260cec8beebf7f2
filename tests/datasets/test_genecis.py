"""GeneCIS's object tasks: the real files, candidates whose order tells nothing, and each fault told by record."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from composir.datasets import load_dataset
from composir.errors import DataError
from composir.types import Query, Task

NAMES = ("change_object", "focus_object")


@pytest.fixture(scope="module")
def tasks(shared_data) -> dict[str, Task]:
    return {task.name: task for task in load_dataset("genecis", root=shared_data / "genecis").tasks("test")}


# ---- the real files ----


@pytest.mark.parametrize(("name", "gallery", "of_fourteen"), [("change_object", 2734, 1), ("focus_object", 2192, 0)])
def test_published_counts(tasks, name, gallery, of_fourteen):
    task = tasks[name]
    assert [query.id for query in task.queries] == [str(n) for n in range(1960)]
    assert len(task.gallery) == gallery
    assert task.metrics == ("R@1", "R@2", "R@3")
    assert task.own_candidates
    assert not task.drop_reference
    assert not task.hidden
    # One record of change_object has its target among the other candidates too.
    assert Counter(len(query.subset) for query in task.queries) == Counter({15: 1960 - of_fourteen, 14: of_fourteen})


@pytest.mark.parametrize("name", NAMES)
def test_candidates_are_those_of_the_file_in_an_order_that_tells_nothing(tasks, name, shared_data):
    raw = json.loads((shared_data / f"genecis/{name}.json").read_text())
    for query, record in zip(tasks[name].queries, raw, strict=True):
        mine = {record["target"]["val_image_id"], *(image["val_image_id"] for image in record["gallery"])}
        assert list(query.subset) == [str(number) for number in sorted(mine)]
        assert query.targets == (str(record["target"]["val_image_id"]),)
        assert query.reference == str(record["reference"]["val_image_id"])
        assert query.captions == (record["condition"],)
        assert query.reference not in query.subset
    assert set(tasks[name].gallery) == {image for query in tasks[name].queries for image in query.subset}
    first = sum(query.subset[0] == query.targets[0] for query in tasks[name].queries) / 1960
    assert abs(first - 1 / 15) < 0.03  # the first candidate is the target about as often as by chance


def test_the_first_query(tasks):
    query = tasks["change_object"].queries[0]
    assert (query.reference, query.captions, query.targets) == ("189213", ("wall",), ("153527",))


def test_triplets_of_both_tasks(shared_data):
    data = load_dataset("genecis", root=shared_data / "genecis")
    triplets = data.triplets("test")
    assert len({query.id for query in triplets}) == len(triplets) == 3920
    assert (triplets[0].id, triplets[-1].id) == ("change_object/0", "focus_object/1959")
    assert data.pairs("test") == ()
    assert data.averages == {"mean R@1": ("R@1",)}


@pytest.mark.parametrize("split", ["train", "val"])
def test_there_is_but_a_test_split(shared_data, split):
    data = load_dataset("genecis", root=shared_data / "genecis")
    with pytest.raises(DataError, match=f"genecis has no split '{split}'; there is test .it is made for evaluation"):
        data.tasks(split)


# ---- made by hand ----


def image(number: object) -> dict[str, object]:
    return {"val_image_id": number}


def made(**changes: object) -> dict[str, object]:
    record = {"condition": "wall", "reference": image(1), "target": image(5), "gallery": [image(7), image(3)]}
    return {key: value for key, value in {**record, **changes}.items() if value is not None}


def write(root: Path, change: object, folder: str = ".") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    for name, value in (("change_object", change), ("focus_object", [made()])):
        (root / folder / f"{name}.json").write_text(json.dumps(value), encoding="utf-8")
    return root


@pytest.mark.parametrize("folder", [".", "genecis", "annotations"])
@pytest.mark.parametrize("pictures", ["val2017", "coco/val2017", "images", "some/where"])
@pytest.mark.parametrize("name", ["000000000005.jpg", "COCO_val2014_000000000005.jpg", "5.png"])
def test_every_layout_is_found(tmp_path, folder, pictures, name):
    write(tmp_path, [made()], folder)
    (tmp_path / pictures).mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / pictures / name)
    data = load_dataset("genecis", root=tmp_path)
    assert data.tasks("test")[0].queries == (Query("0", "1", ("wall",), ("5",), ("3", "5", "7")),)
    assert data.tasks("test")[0].gallery == ("3", "5", "7")
    assert data.image("5").size == (8, 8)
    assert data.missing(["3", "5", "no such image"]) == ["3", "no such image"]
    assert data.files_of("test") == tuple(tmp_path / folder / f"{task}.json" for task in NAMES)


def test_a_target_among_the_others_counts_once(tmp_path):
    root = write(tmp_path, [made(gallery=[image(7), image(5), image(10)])])
    assert load_dataset("genecis", root=root).tasks("test")[0].queries[0].subset == ("5", "7", "10")


BAD_RECORDS = {
    "empty": ([], "holds an empty list"),
    "no object": ([made(), "x"], 'record 1 (counted from 0): is the text "x"'),
    "no condition": ([made(), made(condition=None)], "record 1 (counted from 0): lacks the key 'condition'"),
    "number as condition": ([made(condition=1)], "key 'condition' holds the number 1; a text is needed"),
    "blank condition": (
        [made(condition=" ")],
        "record 0 (counted from 0): key 'condition' holds the text \" \"; a text that",
    ),
    "no reference": ([made(reference=None)], "lacks the key 'reference'; it has 'condition', 'target', 'gallery'"),
    "bare number": ([made(reference=5)], "key 'reference': is the number 5; an object with keys is needed"),
    "text as number": ([made(target=image("5"))], "key 'target': key 'val_image_id' holds the text \"5\"; a whole"),
    "another kind of image": ([made(target={"image_id": 5})], "key 'target': lacks the key 'val_image_id'; it has 'i"),
    "gallery that is no list": ([made(gallery=image(5))], "key 'gallery' holds an object; a list of objects is needed"),
    "bare candidates": ([made(gallery=[image(1), 2])], "key 'gallery', item 1: is the number 2"),
    "candidate twice": ([made(gallery=[image(2), image(2)])], "key 'gallery' holds image 2 more than once"),
    "no candidates": ([made(gallery=[])], "key 'gallery' is empty"),
}


@pytest.mark.parametrize("fault", BAD_RECORDS)
def test_bad_records_are_told_by_file_and_number(tmp_path, fault):
    records, complaint = BAD_RECORDS[fault]
    root = write(tmp_path, records)
    with pytest.raises(DataError) as caught:
        load_dataset("genecis", root=root).tasks("test")
    assert str(caught.value).startswith(f"{root / 'change_object.json'}: ")
    assert complaint in str(caught.value)


def test_a_wrong_root_is_refused_with_every_place(tmp_path):
    with pytest.raises(DataError) as caught:
        load_dataset("genecis", root=tmp_path)
    for folder in ("genecis", ".", "annotations"):
        assert str(tmp_path / folder / "change_object.json") in str(caught.value)


def test_one_task_alone_is_not_enough(tmp_path):
    write(tmp_path, [made()])
    (tmp_path / "focus_object.json").unlink()
    with pytest.raises(DataError, match=r"focus_object\.json"):
        load_dataset("genecis", root=tmp_path)
