"""LaSCo: its layouts, both shapes of a corpus, a large file in seconds, and each fault told by file and record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from composir.datasets import load_dataset
from composir.errors import DataError
from composir.types import Query


def path(number: int, split: str = "val") -> str:
    return f"{split}2014/COCO_{split}2014_{number:012d}.jpg"


def made(qid: object = 28714000, **changes: object) -> dict[str, object]:
    record = {
        "qid": qid,
        "query-image": [28714, path(28714)],
        "query-text": "The person is riding the bike",
        "target-image": [277005, path(277005)],
    }
    return {key: value for key, value in {**record, **changes}.items() if value is not None}


LISTED = [{"id": n, "path": f"val/{path(n)}"} for n in (42, 28714, 277005)]


def write(root: Path, records: object, corpus: object = LISTED, folder: str = ".", split: str = "val") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / f"lasco_{split}.json").write_text(json.dumps(records), encoding="utf-8")
    (root / folder / f"lasco_{split}_corpus.json").write_text(json.dumps(corpus), encoding="utf-8")
    return root


def test_the_published_example(tmp_path):
    (task,) = load_dataset("lasco", root=write(tmp_path, [made()])).tasks("val")
    reference, target = "COCO_val2014_000000028714", "COCO_val2014_000000277005"
    assert task.queries == (Query("28714000", reference, ("The person is riding the bike",), (target,)),)
    assert task.gallery == ("COCO_val2014_000000000042", reference, target)
    assert task.metrics == ("R@1", "R@5", "R@10", "R@50", "R@500", "R@1000")
    assert (task.name, task.drop_reference, task.hidden) == ("lasco", False, False)


LAYOUTS = {
    "pictures as COCO has them": (".", "val2014"),
    "annotations as the repository has them": ("downloads", "val2014"),
    "MAPNet": ("annotations", "images"),
    "MAPNet, pictures by split": ("annotations", "images/val2014"),
    "pictures where the corpus says": (".", "val/val2014"),
    "pictures elsewhere": (".", "coco/2014"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_every_layout_is_found(tmp_path, layout, ending):
    folder, pictures = LAYOUTS[layout]
    write(tmp_path, [made()], folder=folder)
    (tmp_path / pictures).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(tmp_path / pictures / f"COCO_val2014_000000000042.{ending}")
    data = load_dataset("lasco", root=tmp_path)
    assert data.image("COCO_val2014_000000000042").size == (8, 8)
    assert data.missing(data.tasks("val")[0].gallery) == ["COCO_val2014_000000028714", "COCO_val2014_000000277005"]
    assert [file.parent for file in data.files_of("val")] == [tmp_path / folder] * 2


@pytest.mark.parametrize(
    "corpus",
    [
        [{"id": 42, "path": f"val/{path(42)}"}, {"id": 7, "path": path(7)}],
        {"42": path(42), "7": f"val/{path(7)}"},
        {"42": f"some\\where\\{path(42)}", "7": "COCO_val2014_000000000007"},
    ],
)
def test_every_shape_of_corpus_is_taken(tmp_path, corpus):
    (task,) = load_dataset("lasco", root=write(tmp_path, [made()], corpus)).tasks("val")
    assert task.gallery == ("COCO_val2014_000000000042", "COCO_val2014_000000000007")
    assert task.gallery_name == "val corpus"


def test_triplets_and_pairs(tmp_path):
    write(tmp_path, [made(1), made(2)])
    data = load_dataset("lasco", root=write(tmp_path, [made(5)], split="train"), drop_reference=True)
    assert [query.id for query in data.triplets("val")] == ["1", "2"]
    assert [query.id for query in data.triplets("train")] == ["5"]
    assert data.pairs("train") == ()
    assert data.tasks("train")[0].gallery_name == "train corpus"
    assert all(data.tasks(split)[0].drop_reference for split in data.splits)


def test_texts_of_any_script_and_blank_ones_are_taken(tmp_path):
    records = [made(1, **{"query-text": " "}), made(2, **{"query-text": "骑自行车的人"})]
    queries = load_dataset("lasco", root=write(tmp_path, records)).triplets("val")
    assert [query.captions for query in queries] == [(" ",), ("骑自行车的人",)]


def test_names_are_held_but_once(tmp_path):
    first, second = load_dataset("lasco", root=write(tmp_path, [made(1), made(2)])).triplets("val")
    assert first.reference is second.reference
    assert first.targets[0] is second.targets[0]


BAD_RECORDS = {
    "empty": ([], "holds an empty list"),
    "no object": ([made(), []], "record 1 (counted from 0): is a list; an object with keys is needed"),
    "same qid": ([made(1), made(2), made(1)], "record 2 (counted from 0): has the id '1', as record 0 (counted"),
    "text as qid": ([made("1")], "record 0 (counted from 0): key 'qid' holds the text \"1\"; a whole number is needed"),
    "no qid": ([made(None)], "lacks the key 'qid'"),
    "no text": ([made(**{"query-text": None})], "lacks the key 'query-text'; it has 'qid', 'query-image'"),
    "number as text": ([made(**{"query-text": 1})], "key 'query-text' holds the number 1; a text is needed"),
    "image without path": ([made(**{"query-image": [1]})], "key 'query-image' holds a list of 1; a list of just 2"),
    "image without number": ([made(**{"query-image": path(1)})], "key 'query-image' holds the text"),
    "half a character": (
        [made(**{"target-image": [1, "val2014/\ud800.jpg"]})],
        "key 'target-image' holds the number 1",
    ),
    "blank stem": ([made(**{"target-image": [1, "val2014/ .jpg"]})], "which is no path of a picture"),
    "path before number": ([made(**{"target-image": [path(1), 1]})], "key 'target-image' holds the text"),
    "number of two names": (
        [made(1), made(2, **{"target-image": [28714, path(5)]})],
        "record 1 (counted from 0): key 'target-image' gives image 28714 the name 'COCO_val2014_000000000005', which",
    ),
    "path of nothing": ([made(**{"target-image": [1, "val2014/"]})], "key 'target-image' holds"),
}


@pytest.mark.parametrize("fault", BAD_RECORDS)
def test_bad_records_are_told_by_file_and_number(tmp_path, fault):
    records, complaint = BAD_RECORDS[fault]
    root = write(tmp_path, records)
    with pytest.raises(DataError) as caught:
        load_dataset("lasco", root=root).triplets("val")
    assert str(caught.value).startswith(f"{root / 'lasco_val.json'}: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("corpus", "complaint"),
    [
        ([], "lists no image"),
        ({}, "lists no image"),
        ("x", 'holds the text "x"; a list of images, or an object from id to path, is needed'),
        ([{"id": 1, "path": path(1)}, 5], "record 1 (counted from 0): is the number 5"),
        ([{"id": "1", "path": path(1)}], "record 0 (counted from 0): key 'id' holds the text \"1\""),
        ([{"id": 1}], "record 0 (counted from 0): lacks the key 'path'"),
        ([{"id": 1, "path": path(1)}, {"id": 2, "path": path(1)}], "record 1 (counted from 0): 'COCO_val2014_0000000"),
        ([{"id": 1, "path": "val/"}], "record 0 (counted from 0): 'val/' is no path of a picture"),
        ({"1": path(1), "2": 5}, "key '2' holds the number 5; a text is needed"),
        ({"1": path(1), "2": f"val/{path(1)}"}, "stands in key '1' too"),
    ],
)
def test_bad_corpora_are_told(tmp_path, corpus, complaint):
    root = write(tmp_path, [made()], corpus)
    with pytest.raises(DataError) as caught:
        load_dataset("lasco", root=root).tasks("val")
    assert str(caught.value).startswith(f"{root / 'lasco_val_corpus.json'}: ")
    assert complaint in str(caught.value)


def test_there_is_no_test_split(tmp_path):
    with pytest.raises(DataError, match="lasco has no split 'test'; there is train, val"):
        load_dataset("lasco", root=write(tmp_path, [made()])).tasks("test")


def test_a_wrong_root_is_refused_with_every_place(tmp_path):
    with pytest.raises(DataError) as caught:
        load_dataset("lasco", root=tmp_path)
    for split in ("train", "val"):
        for folder in (".", "downloads", "annotations"):
            assert str(tmp_path / folder / f"lasco_{split}.json") in str(caught.value)


@pytest.mark.slow
def test_a_file_of_full_size_is_read_in_seconds_within_a_gigabyte(tmp_path):
    records = [
        made(
            1000 * n,
            **{
                "query-image": [n % 82783, path(n % 82783, "train")],
                "target-image": [n * 7 % 82783, path(n * 7 % 82783, "train")],
            },
        )
        for n in range(389_305)
    ]
    write(tmp_path, records, {str(n): path(n, "train") for n in range(82783)}, split="train")
    # A process of its own: here every annotation is checked at every call, which takes ten times as long.
    code = f"""
import time
from composir.datasets import load_dataset
start = time.process_time()
(task,) = load_dataset("lasco", root={str(tmp_path)!r}).tasks("train")
peak = [int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(len(task.queries), len(task.gallery), time.process_time() - start, *peak)
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert told[:2] == ["389305", "82783"]
    assert float(told[2]) < 30
    assert int(told[3]) < 1_000_000  # KiB
