"""CIRCO: the real annotation files and golden numbers, its three galleries, and each fault told by file and record."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from composir.datasets import load_dataset
from composir.datasets.doctor import examine
from composir.errors import DataError
from composir.types import Query, Wording

HISTOGRAM = {1: 29, 2: 45, 3: 46, 4: 28, 5: 15, 6: 11, 7: 11, 8: 15, 9: 7, 10: 4, 11: 4, 12: 4, 14: 1}
ASPECTS = {
    "statement_with_conjunction": 164,
    "direct_addressing": 119,
    "spatial_relations_background": 100,
    "compare_change": 86,
    "addition": 80,
    "viewpoint": 54,
    "comparative_statement": 50,
    "cardinality": 37,
    "negation": 21,
}
GOLDEN = {"mAP": (0.4861, 0.5178, 0.5400, 0.6020), "Recall": (0.9091, 0.9091, 1.3636, 3.6364)}
GOLDEN_ASPECTS = {
    "cardinality": 0,
    "statement_with_conjunction": 0.6183,
    "comparative_statement": 1.0500,
    "spatial_relations_background": 0.1808,
    "compare_change": 0.0242,
    "addition": 0.0871,
    "direct_addressing": 0.9197,
    "viewpoint": 0.6173,
    "negation": 0,
}
INFO = "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"


@pytest.fixture(scope="module")
def real(shared_data):
    return load_dataset("circo", root=shared_data / "circo")


# ---- the real files ----


@pytest.mark.parametrize(("split", "count"), [("val", 220), ("test", 800)])
def test_published_counts(real, split, count):
    (task,) = real.tasks(split)
    assert [query.id for query in task.queries] == [str(n) for n in range(count)]
    assert task.hidden is (split == "test")
    assert not task.drop_reference
    assert task.metrics == (
        *("mAP@5", "mAP@10", "mAP@25", "mAP@50"),
        *("Recall@5", "Recall@10", "Recall@25", "Recall@50", "mAP@10/*"),
    )
    assert all(query.captions[0].strip() and query.shared_concept.strip() for query in task.queries)
    assert all(bool(query.targets) == (split == "val") for query in task.queries)


def test_ground_truths_of_val(real, shared_data):
    queries = real.triplets("val")
    assert Counter(len(query.targets) for query in queries) == HISTOGRAM
    assert sum(len(query.targets) for query in queries) == 916
    assert all(query.reference not in query.targets for query in queries)
    assert all(len(set(query.targets)) == len(query.targets) for query in queries)
    raw = json.loads((shared_data / "circo/annotations/val.json").read_text())
    assert [q.targets[0] for q in queries] == [str(record["target_img_id"]) for record in raw]
    assert Counter(aspect for query in queries for aspect in query.aspects) == ASPECTS
    assert real.triplets("test") == ()


def test_the_first_query(real):
    first = real.tasks("val")[0].queries[0]
    assert first == Query(
        id="0",
        reference="271520",
        captions=("shows two people and has a more colorful background",),
        targets=("355099", "528417", "534704"),
        shared_concept="a girl with a traditional Chinese umbrella",
        aspects=(
            *("cardinality", "statement_with_conjunction", "comparative_statement"),
            "spatial_relations_background",
        ),
    )


def test_golden_numbers_of_the_sample_submission(real, shared_data):
    submission = json.loads((shared_data / "circo/submission_examples/submission_val.json").read_text())
    precision, recall, ten = {k: [] for k in (5, 10, 25, 50)}, {k: [] for k in (5, 10, 25, 50)}, {}
    for query in real.triplets("val"):
        ranked = [str(image) for image in submission[query.id]]
        for k in (5, 10, 25, 50):
            hits = [i + 1 for i, image in enumerate(ranked[:k]) if image in query.targets]
            summed = sum((n + 1) / place for n, place in enumerate(hits))
            precision[k].append(summed / min(len(query.targets), k))
            recall[k].append(query.targets[0] in ranked[:k])
        for aspect in query.aspects:
            ten.setdefault(aspect, []).append(precision[10][-1])
    for name, found in (("mAP", precision), ("Recall", recall)):
        assert [100 * sum(v) / len(v) for v in found.values()] == pytest.approx(GOLDEN[name], abs=5e-5)
    assert {a: 100 * sum(v) / len(v) for a, v in ten.items()} == pytest.approx(GOLDEN_ASPECTS, abs=5e-5)


def test_with_annotations_alone_the_gallery_is_what_they_name(real, shared_data):
    (val,), (test,) = real.tasks("val"), real.tasks("test")
    assert val.gallery == test.gallery
    assert val.gallery_name == "known in part: image_info_unlabeled2017.json is missing"
    named = {i for task in (val, test) for q in task.queries for i in (q.reference, *q.targets)}
    assert set(val.gallery) == named
    assert list(val.gallery) == sorted(named, key=int)


def test_the_shared_concept_may_be_read_too(real, shared_data):
    query = real.tasks("val")[0].queries[0]
    assert real.tasks("val")[0].wording == Wording()
    told = load_dataset("circo", root=shared_data / "circo", use_shared_concept=True).tasks("val")[0].wording
    assert told.texts(query) == (
        "find a girl with a traditional Chinese umbrella but shows two people and has a more colorful background",
    )


# ---- made by hand ----


def made(number: object = 0, **changes: object) -> dict[str, object]:
    """One record of val, or of test where both truths are None."""
    record = {
        "reference_img_id": 1,
        "target_img_id": 2,
        "relative_caption": "is red",
        "shared_concept": "a car",
        "gt_img_ids": [2, 3],
        "id": number,
        "semantic_aspects": ["negation"],
        **changes,
    }
    return {key: value for key, value in record.items() if value is not None}


def write(root: Path, records: object, folder: str = "annotations") -> Path:
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / folder / "val.json").write_text(json.dumps(records), encoding="utf-8")
    return root


def write_info(root: Path, ids: list[object], path: str = INFO) -> Path:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    images = [{"id": number, "file_name": f"{number}.jpg", "height": 4, "width": 4} for number in ids]
    (root / path).write_text(json.dumps({"info": {}, "images": images, "licenses": []}))
    return root / path


@pytest.mark.parametrize("annotations", ["annotations", "."])
@pytest.mark.parametrize("info", [INFO, f"annotations/{Path(INFO).name}", Path(INFO).name])
@pytest.mark.parametrize("pictures", ["COCO2017_unlabeled/unlabeled2017", "unlabeled2017", "images", "some/where"])
def test_every_layout_is_found(tmp_path, annotations, info, pictures):
    write(tmp_path, [made()], annotations)
    listed = write_info(tmp_path, [7, 1, 3, 2], info)
    (tmp_path / pictures).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(tmp_path / pictures / "000000000003.jpg")
    data = load_dataset("circo", root=tmp_path)
    (task,) = data.tasks("val")
    assert task.gallery == ("7", "1", "3", "2")
    assert task.gallery_name == "COCO 2017 unlabeled"
    assert data.image("3").size == (8, 8)
    assert data.missing(task.gallery) == ["7", "1", "2"]
    assert data.files_of("val") == (tmp_path / annotations / "val.json", listed)


def test_without_a_list_the_gallery_is_known_in_part(tmp_path):
    folder = write(tmp_path, [made()]) / "unlabeled2017"
    folder.mkdir()
    for name in ("000000000010.jpg", "000000000009.png", "9.jpg", "cover.jpg"):
        (folder / name).touch()
    data = load_dataset("circo", root=tmp_path)
    (task,) = data.tasks("val")
    named = {task.queries[0].reference, *task.queries[0].targets}
    assert task.gallery == tuple(sorted({"9", "10", *named}, key=int))
    assert task.gallery_name == "known in part: image_info_unlabeled2017.json is missing"
    assert data.unlisted("val").startswith("image_info_unlabeled2017.json, which lists the 123,403 pictures")
    assert sorted(data.missing(task.gallery)) == sorted(named - {"9", "10"})
    (fault,) = examine(data, ["val"], workers=0).faults
    assert fault.why == data.unlisted("val")


@pytest.mark.parametrize("stranger", ["no such image", "", "-3", "3.0", "٣", "03", "12345678901234567890"])
def test_a_stranger_has_no_picture(tmp_path, stranger):
    data = load_dataset("circo", root=write(tmp_path, [made()]))
    assert data.missing([stranger]) == [stranger]
    with pytest.raises(DataError, match=r"circo has no picture"):
        data.image(stranger)


def test_the_single_target_comes_first_wherever_it_stands(tmp_path):
    data = load_dataset("circo", root=write(tmp_path, [made(target_img_id=3, gt_img_ids=[2, 3, 4])]))
    assert data.triplets("val")[0].targets == ("3", "2", "4")


def test_aspects_may_be_missing_and_texts_of_any_script(tmp_path):
    record = made(semantic_aspects=None, relative_caption="有两只狗", shared_concept="")
    query = load_dataset("circo", root=write(tmp_path, [record])).triplets("val")[0]
    assert (query.aspects, query.captions, query.shared_concept) == ((), ("有两只狗",), "")


def test_the_reference_may_be_dropped(tmp_path):
    data = load_dataset("circo", root=write(tmp_path, [made()]), drop_reference=True)
    assert data.tasks("val")[0].drop_reference


BAD_RECORDS = {
    "empty": ([], "holds an empty list"),
    "no list": ("x", 'holds the text "x"; a list of objects is needed'),
    "no object": ([made(), None], "record 1 (counted from 0): is null; an object with keys is needed"),
    "same id": (
        [made(0), made(1), made(1)],
        "record 2 (counted from 0): has the id '1', as record 1 (counted from 0) has",
    ),
    "text as id": ([made("0")], "record 0 (counted from 0): key 'id' holds the text \"0\"; a whole number is needed"),
    "text as reference": ([made(reference_img_id="1")], "key 'reference_img_id' holds the text \"1\""),
    "no reference": ([made(reference_img_id=None)], "lacks the key 'reference_img_id'; it has 'target_img_id'"),
    "no truth": ([made(gt_img_ids=None)], "lacks the key 'gt_img_ids'"),
    "texts as truths": ([made(gt_img_ids=["2"])], "key 'gt_img_ids' holds the text \"2\"; only whole numbers are"),
    "truth twice": ([made(gt_img_ids=[2, 2])], "key 'gt_img_ids' holds the number 2 more than once"),
    "target that is no truth": ([made(target_img_id=9)], "target_img_id 9 is not among gt_img_ids"),
    "blank caption": (
        [made(relative_caption="")],
        "key 'relative_caption' holds the text \"\"; a text that is not blank",
    ),
    "number as caption": ([made(relative_caption=1)], "key 'relative_caption' holds the number 1; a text is needed"),
    "aspects that are no list": ([made(semantic_aspects="x")], "key 'semantic_aspects' holds the text \"x\"; a list"),
}


@pytest.mark.parametrize("fault", BAD_RECORDS)
def test_bad_records_are_told_by_file_and_number(tmp_path, fault):
    records, complaint = BAD_RECORDS[fault]
    root = write(tmp_path, records)
    with pytest.raises(DataError) as caught:
        load_dataset("circo", root=root).tasks("val")
    assert str(caught.value).startswith(f"{root / 'annotations/val.json'}: ")
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[]", "is a list; an object with keys is needed"),
        ("{}", "lacks the key 'images'"),
        ('{"images": []}', "lists no image"),
        ('{"images": [{"id": 1}, {"id": "2"}]}', "item 1: key 'id' holds the text"),
        ('{"images": [{"id": 1}, {"id": 1}]}', "item 1: has the id '1', as the whole file, key 'images', item 0 has"),
    ],
)
def test_bad_lists_of_the_gallery_are_told(tmp_path, content, complaint):
    path = write_info(write(tmp_path, [made()]), [])
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        load_dataset("circo", root=tmp_path).tasks("val")
    assert str(caught.value).startswith(f"{path}: ")
    assert complaint in str(caught.value)


def test_there_is_no_train_split(real):
    with pytest.raises(DataError, match=r"circo has no split 'train'; there is val, test .*without any training data"):
        real.triplets("train")


def test_a_wrong_root_is_refused_with_every_place(tmp_path):
    with pytest.raises(DataError) as caught:
        load_dataset("circo", root=tmp_path)
    for place in ("annotations/val.json", "val.json", "annotations/test.json", "test.json"):
        assert str(tmp_path / place) in str(caught.value)
