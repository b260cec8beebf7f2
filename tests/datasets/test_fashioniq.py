"""FashionIQ: the real annotation files, both galleries, every layout, and each fault told by file and record."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from PIL import Image

from composir.datasets import load_dataset
from composir.errors import DataError, UnknownNameError
from composir.types import Query, Task, Wording

CATEGORIES = ("dress", "shirt", "toptee")
TRIPLETS = {"train": (5985, 5988, 6027), "val": (2017, 2038, 1961), "test": (2024, 2038, 2056)}
IMAGES = {"train": (11452, 19036, 16121), "val": (3817, 6346, 5373), "test": (3818, 6346, 5374)}
VAL_UNION = (2628, 3089, 2902)


@pytest.fixture(scope="module")
def tasks(shared_data) -> dict[str, list[Task]]:
    """All splits of the real set."""
    data = load_dataset("fashioniq", root=shared_data / "fashioniq")
    return {split: data.tasks(split) for split in data.splits}


# ---- the real files ----


@pytest.mark.parametrize("split", TRIPLETS)
def test_published_counts(tasks, split):
    assert tuple(task.name for task in tasks[split]) == CATEGORIES
    assert tuple(len(task.queries) for task in tasks[split]) == TRIPLETS[split]
    assert tuple(len(task.gallery) for task in tasks[split]) == IMAGES[split]
    for task in tasks[split]:
        assert task.metrics == ("R@1", "R@5", "R@10", "R@50")
        assert not task.drop_reference
        assert task.hidden is (split == "test")
        assert task.wording == Wording("and")
        assert task.gallery_name == "original split"


def test_what_the_annotations_promise(tasks):
    for task in itertools.chain.from_iterable(tasks.values()):
        gallery = set(task.gallery)
        assert len(gallery) == len(task.gallery)
        assert [query.id for query in task.queries] == [str(n) for n in range(len(task.queries))]
        for query in task.queries:
            assert len(query.captions) == 2
            assert {query.reference, *query.targets} <= gallery
            assert query.reference not in query.targets
            assert len(query.targets) == (not task.hidden)
        if not task.hidden:
            assert len({(query.reference, query.targets) for query in task.queries}) == len(task.queries)


def test_the_first_query(tasks):
    captions = ("is shiny and silver with shorter sleeves", "fit and flare")
    first = tasks["val"][0].queries[0]
    assert first == Query("0", "B005X4PL1G", captions, ("B0084Y8XIU",))
    assert tasks["val"][0].wording.texts(first) == ("Is shiny and silver with shorter sleeves and fit and flare",)


def test_an_empty_caption_is_asked_as_the_published_evaluations_ask_it(tasks):
    """CLIP4Cir joins by f"{c1.strip('.?, ').capitalize()} and {c2.strip('.?, ')}", whatever is in them."""
    query = tasks["val"][1].queries[1928]
    assert query.captions == ("", "is grey with a design on the back")
    assert tasks["val"][1].wording.texts(query) == (" and is grey with a design on the back",)


def test_the_val_gallery_is_the_union_of_references_and_targets(tasks, shared_data):
    val = load_dataset("fashioniq", root=shared_data / "fashioniq", gallery="val").tasks("val")
    assert tuple(len(task.gallery) for task in val) == VAL_UNION
    for task, original in zip(val, tasks["val"], strict=True):
        assert task.queries == original.queries
        assert set(task.gallery) == {i for q in task.queries for i in (q.reference, *q.targets)}
        assert len(set(task.gallery)) == len(task.gallery)
        assert set(task.gallery) < set(original.gallery)
        assert task.gallery_name == "VAL split (references and targets)"


def test_overlaps_of_the_val_galleries(tasks):
    dress, shirt, toptee = (set(task.gallery) for task in tasks["val"])
    assert len(shirt & toptee) == 121
    assert not dress & (shirt | toptee)
    assert len(dress | shirt | toptee) == 15415


def test_splits_share_pictures_across_categories_only(tasks, shared_data):
    galleries = {(split, t.name): set(t.gallery) for split in tasks for t in tasks[split]}
    shared = {}
    for one, other in itertools.combinations(galleries, 2):
        if galleries[one] & galleries[other]:
            shared[one, other] = len(galleries[one] & galleries[other])
    assert all(one[1] != other[1] for one, other in shared)
    assert shared[("train", "shirt"), ("train", "toptee")] == 1180
    assert shared[("train", "shirt"), ("val", "toptee")] == 392
    assert not load_dataset("fashioniq", root=shared_data / "fashioniq").disjoint


def test_triplets_of_all_categories(tasks, shared_data):
    data = load_dataset("fashioniq", root=shared_data / "fashioniq")
    train = data.triplets("train")
    assert len(train) == len({query.id for query in train}) == 18000
    assert (train[0].id, train[5985].id, train[-1].id) == ("dress/0", "shirt/0", "toptee/6026")
    assert train[5985].captions == tasks["train"][1].queries[0].captions
    assert len(data.triplets("val")) == 6016
    assert data.triplets("test") == ()
    assert data.pairs("train") == ()


def test_separate_captions_are_queries_of_their_own(tasks, shared_data):
    data = load_dataset("fashioniq", root=shared_data / "fashioniq", join="separate")
    task, joined = data.tasks("val")[0], tasks["val"][0]
    assert len(task.queries) == 2 * 2017
    for number, query in enumerate(task.queries):
        whole = joined.queries[number // 2]
        assert query.id == f"{number // 2}/{number % 2}"
        assert query.captions == (whole.captions[number % 2],)
        assert (query.reference, query.targets) == (whole.reference, whole.targets)
        assert task.wording.texts(query) == query.captions
    assert task.gallery == joined.gallery
    assert len(data.triplets("val")[0].captions) == 2


# ---- made by hand ----


def made(target: object = "T1", candidate: object = "R1", captions: object = ("is red", "is long")) -> dict:
    return {"target": target, "candidate": candidate, "captions": captions}


def write(root: Path, dress: object, *, captions: str = "captions", splits: str = "image_splits") -> Path:
    """Val, with the given records of dresses; "{}" in a folder is the category."""
    for category in CATEGORIES:
        values = dress if category == "dress" else [made()]
        for folder, file, value in ((captions, "cap", values), (splits, "split", ["R1", "T1", "X1"])):
            path = root / folder.format(category) / f"{file}.{category}.val.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(value), encoding="utf-8")
    return root


LAYOUTS = {
    "official": ("captions", "image_splits", "images"),
    "official, pictures by category": ("captions", "image_splits", "images/dress"),
    "MAPNet, official annotations": ("captions", "image_splits", "dress"),
    "MAPNet, annotations with the pictures": ("{}", "{}", "dress"),
    "annotations in one folder": ("annotations", "annotations", "dress"),
    "annotations in two": ("annotations/captions", "annotations/image_splits", "images"),
    "all in the root": (".", ".", "."),
    "pictures elsewhere": ("captions", "image_splits", "somewhere"),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_every_layout_is_found(tmp_path, layout, ending):
    captions, splits, pictures = LAYOUTS[layout]
    write(tmp_path, [made()], captions=captions, splits=splits)
    (tmp_path / pictures).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(tmp_path / pictures / f"T1.{ending}")
    data = load_dataset("fashioniq", root=tmp_path)
    assert [task.gallery for task in data.tasks("val")] == [("R1", "T1", "X1")] * 3
    assert data.image("T1").size == (8, 8)
    assert data.missing(["T1", "R1"]) == ["R1"]
    assert len(data.files_of("val")) == 6


@pytest.mark.parametrize("join", ["and", "both orders", "reversed", "comma and"])
def test_every_join_is_taken(tmp_path, join):
    (dress, *_) = load_dataset("fashioniq", root=write(tmp_path, [made()]), join=join).tasks("val")
    assert dress.wording == Wording(join)


def test_options_are_checked(tmp_path):
    root = write(tmp_path, [made()])
    with pytest.raises(UnknownNameError, match="unknown gallery of fashioniq 'vla'; did you mean 'val'"):
        load_dataset("fashioniq", root=root, gallery="vla")
    with pytest.raises(UnknownNameError, match="unknown join of fashioniq 'separated'; did you mean 'separate'"):
        load_dataset("fashioniq", root=root, join="separated")


def test_the_reference_may_be_dropped(tmp_path):
    data = load_dataset("fashioniq", root=write(tmp_path, [made()]), drop_reference=True)
    assert all(task.drop_reference for task in data.tasks("val"))


def test_the_val_gallery_needs_no_image_splits(tmp_path):
    root = write(tmp_path, [made(), made("T2", "R1"), made("R1", "T2")])
    for path in (root / "image_splits").iterdir():
        path.unlink()
    data = load_dataset("fashioniq", root=root, gallery="val")
    assert data.tasks("val")[0].gallery == ("R1", "T1", "T2")
    assert len(data.files_of("val")) == 3
    with pytest.raises(DataError, match=r"split\.dress\.val\.json"):
        load_dataset("fashioniq", root=root)


def test_the_val_gallery_of_a_hidden_split_is_refused(shared_data):
    data = load_dataset("fashioniq", root=shared_data / "fashioniq", gallery="val")
    with pytest.raises(DataError, match=r"cap\.dress\.test\.json: has no targets.*gallery='original'"):
        data.tasks("test")


def test_names_of_any_script_in_either_spelling(tmp_path):
    root = write(tmp_path, [made("连衣裙", "cafe\u0301")])
    names = ["caf\u00e9", "连衣裙"]
    (root / "image_splits/split.dress.val.json").write_text(json.dumps(names), encoding="utf-8")
    task = load_dataset("fashioniq", root=root).tasks("val")[0]
    assert {task.queries[0].reference, *task.queries[0].targets} == set(task.gallery)


BAD_RECORDS = {
    "one caption": ([made(), made(captions=["a"])], "record 1 (counted from 0): key 'captions' holds a list of 1"),
    "three captions": ([made(captions=["a"] * 3)], "a list of 3; a list of just 2 texts is needed"),
    "a caption that is no list": ([made(captions="ab")], """key 'captions' holds the text "ab"; a list of just 2"""),
    "a caption that is no text": ([made(captions=["a", None])], "key 'captions' holds null; only texts are allowed"),
    "a number as target": ([made(target=5)], "key 'target' holds the number 5; a name is needed"),
    "no candidate": ([{"target": "a", "captions": ["a", "b"]}], "lacks the key 'candidate'; it has 'target'"),
    "no target": ([{"candidate": "a", "captions": ["a", "b"]}], "lacks the key 'target'"),
    "no object": ([["T1", "R1"]], "record 0 (counted from 0): is a list; an object with keys is needed"),
    "blank captions": (
        [made(), made("T2", captions=["", " "])],
        "record 1 (counted from 0): key 'captions' holds blank",
    ),
    "a record twice": (
        [made(), made("T2"), made()],
        "record 2 (counted from 0): says the same as record 0 (counted from 0), and would count twice; remove one",
    ),
    "empty": ([], "holds an empty list"),
}


@pytest.mark.parametrize("fault", BAD_RECORDS)
@pytest.mark.parametrize("ask", ["tasks", "triplets"])
def test_bad_records_are_told_by_file_and_number(tmp_path, fault, ask):
    records, complaint = BAD_RECORDS[fault]
    root = write(tmp_path, records)
    with pytest.raises(DataError) as caught:
        getattr(load_dataset("fashioniq", root=root), ask)("val")
    assert str(caught.value).startswith(f"{root / 'captions/cap.dress.val.json'}: ")
    assert complaint in str(caught.value)


def test_records_of_test_may_stand_twice_as_the_published_ones_do(tmp_path):
    root = write(tmp_path, [made(), made()])
    for path in [*root.rglob("*.val.json")]:
        path.rename(path.with_name(path.name.replace("val", "test")))
    assert len(load_dataset("fashioniq", root=root).tasks("test")[0].queries) == 2


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "holds an empty list"),
        ('{"a": "b"}', "holds an object; a list of names is needed"),
        ('["a", 5]', "record 1 (counted from 0): is the number 5; a name is needed"),
        ('["a", "b", "a"]', "record 2 (counted from 0): 'a' stands in record 0 too"),
        ('["a",', "line 1, column 6: is not JSON"),
    ],
)
def test_bad_image_splits_are_told(tmp_path, content, complaint):
    path = write(tmp_path, [made()]) / "image_splits/split.dress.val.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        load_dataset("fashioniq", root=tmp_path).tasks("val")
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)


def test_a_wrong_root_is_refused_with_every_place(tmp_path):
    with pytest.raises(DataError) as caught:
        load_dataset("fashioniq", root=tmp_path)
    for split, folder in itertools.product(TRIPLETS, ("captions", "annotations", "dress", ".")):
        assert str(tmp_path / folder / f"cap.dress.{split}.json") in str(caught.value)
