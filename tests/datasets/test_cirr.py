"""CIRR: the real annotation files, every layout in which the set is met, and each fault told by file and record."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from composir.datasets import load_dataset
from composir.errors import DataError
from composir.types import Query, Task

BLANK = 27098


@pytest.fixture(scope="module")
def real(shared_data):
    return load_dataset("cirr", root=shared_data / "cirr")


@pytest.fixture(scope="module")
def tasks(real) -> dict[str, Task]:
    return {split: real.tasks(split)[0] for split in ("val", "test")}


# ---- the real files ----


@pytest.mark.parametrize(("split", "queries", "gallery"), [("val", 4181, 2297), ("test", 4148, 2315)])
def test_published_counts(tasks, split, queries, gallery):
    task = tasks[split]
    assert (task.name, len(task.queries), len(task.gallery)) == ("cirr", queries, gallery)
    assert task.metrics == ("R@1", "R@5", "R@10", "R@50", "Rs@1", "Rs@2", "Rs@3")
    assert task.drop_reference
    assert not task.own_candidates
    assert task.hidden is (split == "test")


@pytest.mark.parametrize("split", ["val", "test"])
def test_what_the_annotations_promise(tasks, split):
    task = tasks[split]
    gallery = set(task.gallery)
    assert len(gallery) == len(task.gallery)
    assert len({query.id for query in task.queries}) == len(task.queries)
    for query in task.queries:
        assert len(query.subset) == len(set(query.subset)) == 6
        assert set(query.subset) <= gallery
        assert {query.reference, *query.targets} <= set(query.subset)
        assert query.reference not in query.targets
        assert len(query.targets) == (0 if task.hidden else 1)
        assert len(query.captions) == 1


def test_the_first_query_of_val(tasks):
    assert tasks["val"].queries[0] == Query(
        id="12060",
        reference="dev-244-0-img0",
        captions=("show three bottles of soft drink",),
        targets=("dev-1028-1-img1",),
        subset=(
            "dev-430-3-img0",
            "dev-63-0-img1",
            "dev-1028-1-img1",
            "dev-1028-2-img1",
            "dev-244-0-img0",
            "dev-1028-2-img0",
        ),
    )


def test_the_one_blank_caption_is_taken_as_it_is(tasks):
    blank = [query.id for query in tasks["test"].queries if not query.captions[0].strip()]
    assert blank == [str(BLANK)]


def test_triplets_are_the_queries_where_their_truth_is_public(real, tasks):
    assert real.triplets("val") == tasks["val"].queries
    assert real.triplets("test") == ()
    assert real.pairs("val") == ()


def test_no_picture_of_one_split_is_in_another(shared_data):
    splits = [
        json.loads((shared_data / f"cirr/image_splits/split.rc2.{s}.json").read_text())
        for s in ("train", "val", "test1")
    ]
    assert [len(split) for split in splits] == [16939, 2297, 2315]
    assert len({name for split in splits for name in split}) == 16939 + 2297 + 2315


def test_the_real_image_split_of_train(tmp_path, shared_data):
    (tmp_path / "captions").mkdir()
    (tmp_path / "image_splits").symlink_to(shared_data / "cirr/image_splits")
    members = ["train-11041-2-img0", "train-11041-0-img1", *"abcd"]
    record = made(reference=members[0], target_hard=members[1], img_set={"members": members})
    (tmp_path / "captions/cap.rc2.train.json").write_text(json.dumps([record]))
    (task,) = load_dataset("cirr", root=tmp_path).tasks("train")
    assert len(task.gallery) == 16939
    assert task.gallery[0] == "train-11041-2-img0"


def test_the_real_train_captions_are_told_to_be_missing(real, shared_data):
    with pytest.raises(DataError) as caught:
        real.tasks("train")
    assert str(shared_data / "cirr/captions/cap.rc2.train.json") in str(caught.value)
    assert str(shared_data / "cirr/cirr/captions/cap.rc2.train.json") in str(caught.value)


# ---- made by hand ----


def made(pairid: object = 5, **changes: object) -> dict[str, object]:
    """One record of val, or of test1 where `target_hard=None`."""
    record = {
        "pairid": pairid,
        "reference": "dev-1-0-img0",
        "target_hard": "dev-1-0-img1",
        "target_soft": {"dev-1-0-img1": 1.0},
        "caption": "is red",
        "img_set": {"id": 1, "members": [f"dev-1-{n // 2}-img{n % 2}" for n in range(6)]},
        **changes,
    }
    return {key: value for key, value in record.items() if value is not None}


def write(root: Path, records: object, *, captions: str = "cirr/captions", splits: str = "cirr/image_splits") -> Path:
    """Val with the given records and an image split of six."""
    names = {f"dev-1-{n // 2}-img{n % 2}": f"./dev/dev-1-{n // 2}-img{n % 2}.png" for n in range(6)}
    for folder, file, value in ((captions, "cap", records), (splits, "split", names)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / f"{file}.rc2.val.json").write_text(json.dumps(value), encoding="utf-8")
    return root


def val(root: Path, **arguments: object) -> Task:
    return load_dataset("cirr", root=root, **arguments).tasks("val")[0]


LAYOUTS = {
    "official": ("cirr/captions", "cirr/image_splits", "dev"),
    "its own repository": ("captions", "image_splits", "img_raw/dev"),
    "repository within": ("cirr_dataset/captions", "cirr_dataset/image_splits", "cirr_dataset/img_raw/dev"),
    "MAPNet, annotations in one folder": ("annotations", "annotations", "val"),
    "MAPNet, annotations in two": ("annotations/captions", "annotations/image_splits", "val"),
    "MAPNet, official annotations": ("cirr/captions", "cirr/image_splits", "val"),
    "all in the root": (".", ".", "."),
    "pictures flat": ("captions", "image_splits", "images"),
    "pictures elsewhere": ("captions", "image_splits", "somewhere/else"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_every_layout_is_found(tmp_path, layout, ending):
    captions, splits, pictures = LAYOUTS[layout]
    write(tmp_path, [made()], captions=captions, splits=splits)
    (tmp_path / pictures).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(tmp_path / pictures / f"dev-1-0-img0.{ending}")
    data = load_dataset("cirr", root=str(tmp_path))
    assert data.tasks("val")[0].queries[0].targets == ("dev-1-0-img1",)
    assert data.image("dev-1-0-img0").size == (8, 8)
    assert data.missing(data.tasks("val")[0].gallery[:2]) == ["dev-1-0-img1"]
    assert data.files_of("val") == (
        tmp_path / captions / "cap.rc2.val.json",
        tmp_path / splits / "split.rc2.val.json",
    )


def test_the_reference_may_be_kept(tmp_path):
    write(tmp_path, [made()])
    assert val(tmp_path).drop_reference
    assert not val(tmp_path, drop_reference=False).drop_reference


def test_a_test_split_with_its_truth_is_not_hidden(tmp_path):
    root = write(tmp_path, [made()])
    for kind, file in (("captions", "cap"), ("image_splits", "split")):
        folder = root / "cirr" / kind
        (folder / f"{file}.rc2.val.json").rename(folder / f"{file}.rc2.test1.json")
    data = load_dataset("cirr", root=root)
    assert not data.tasks("test")[0].hidden
    assert len(data.triplets("test")) == 1


def test_names_of_any_script_in_either_spelling(tmp_path):
    members = ["café", "连衣裙", *"abcd"]
    root = write(tmp_path, [made(reference="cafe\u0301", target_hard="连衣裙", img_set={"members": members})])
    split = json.dumps(dict.fromkeys(members, "x"), ensure_ascii=False)
    (root / "cirr/image_splits/split.rc2.val.json").write_text(split, encoding="utf-8")
    Image.new("RGB", (8, 8)).save(root / "cafe\u0301.png")
    task = val(root)
    assert (task.queries[0].reference, task.queries[0].targets) == ("café", ("连衣裙",))
    assert set(task.queries[0].subset) == set(task.gallery)
    assert load_dataset("cirr", root=root).image("café").size == (8, 8)


BAD_RECORDS = {
    "no object": ([made(), "x"], 'record 1 (counted from 0): is the text "x"'),
    "empty": ([], "holds an empty list"),
    "no list": ({"a": 1}, "holds an object; a list of objects is needed"),
    "same pairid": ([made(5), made(6), made(5)], "record 2 (counted from 0): has the id '5', as record 0"),
    "text as pairid": ([made("5")], """record 0 (counted from 0): key 'pairid' holds the text "5"; a whole number"""),
    "no pairid": ([{"reference": "a"}], "record 0 (counted from 0): lacks the key 'pairid'; it has 'reference'"),
    "number as reference": ([made(), made(6, reference=4)], "record 1 (counted from 0): key 'reference' holds"),
    "blank reference": ([made(reference=" ")], """key 'reference' holds the text " "; a name is needed"""),
    "list of captions": ([made(caption=["a"])], "key 'caption' holds a list; a text is needed"),
    "no target": ([made(target_hard=None)], "lacks the key 'target_hard'"),
    "no set": ([made(img_set=None)], "lacks the key 'img_set'"),
    "set of the wrong type": ([made(img_set=[1])], "key 'img_set': is a list; an object with keys is needed"),
    "members of the wrong type": (
        [made(img_set={"members": [*"abcde", 1]})],
        "key 'members' holds the number 1",
    ),
    "member twice": ([made(img_set={"members": [*"abcdea"]})], "key 'members' holds the text \"a\" more than once"),
    "seven members": ([made(img_set={"members": [*"abcdefg"]})], "key 'members' holds a list of 7; a list of just 6"),
    "no members": ([made(img_set={"members": []})], "key 'members' holds a list of 0; a list of just 6"),
    "reference elsewhere": (
        [made(reference="x")],
        "key 'members' lacks the reference 'x'",
    ),
    "target elsewhere": (
        [made(), made(6, target_hard="x")],
        "record 1 (counted from 0), key 'img_set': key 'members' lacks",
    ),
}


@pytest.mark.parametrize("fault", BAD_RECORDS)
def test_bad_records_are_told_by_file_and_number(tmp_path, fault):
    records, complaint = BAD_RECORDS[fault]
    root = write(tmp_path, records)
    with pytest.raises(DataError) as caught:
        val(root)
    assert str(caught.value).startswith(f"{root / 'cirr/captions/cap.rc2.val.json'}: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "is a list; an object with keys is needed"),
        ("{}", "names no picture"),
        ('{"a": 1}', "key 'a' holds the number 1; a text is needed"),
        ('{"caf\u00e9": "a", "cafe\u0301": "b"}', "names one picture twice, in two Unicode spellings"),
        ('{"a": "b", "a": "c"}', 'the key the text "a" stands twice'),
        ("{", "line 1, column 2: is not JSON"),
    ],
)
def test_bad_image_splits_are_told(tmp_path, content, complaint):
    path = write(tmp_path, [made()]) / "cirr/image_splits/split.rc2.val.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        val(tmp_path)
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)


def test_a_wrong_root_is_refused_with_every_place(tmp_path):
    with pytest.raises(DataError) as caught:
        load_dataset("cirr", root=tmp_path)
    for split in ("train", "val", "test1"):
        for folder in ("cirr/captions", "captions", "cirr_dataset/captions", "annotations/captions", "annotations"):
            assert str(tmp_path / folder / f"cap.rc2.{split}.json") in str(caught.value)


def test_a_missing_image_split_is_told(tmp_path):
    root = write(tmp_path, [made()])
    (root / "cirr/image_splits/split.rc2.val.json").unlink()
    with pytest.raises(DataError, match=r"cirr/image_splits/split\.rc2\.val\.json"):
        load_dataset("cirr", root=root)


def test_an_unknown_split_is_told(tmp_path):
    with pytest.raises(DataError, match="cirr has no split 'test1'; there is train, val, test"):
        load_dataset("cirr", root=write(tmp_path, [made()])).tasks("test1")


def test_the_authors_name_of_a_split_is_an_alias_and_no_split(real):
    assert real.split_called("test1") == "test"
    assert real.split_called("test") == "test"
    assert real.split_called("val1") == "val1"
    with pytest.raises(DataError, match=r"no split 'test1'; there is train, val, test \(test is what its authors call"):
        real.tasks("test1")
