"""Every reason for which a server would refuse a file is found, and told by query; the public sample files pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from composir.errors import DataError
from composir.submission.check import Problem, load, problems, require
from composir.submission.files import check
from composir.submission.truth import CIRCO_GALLERY, gallery_of


def said(found) -> list[str]:
    return [str(problem) for problem in found]


# ---- the public samples ----


def test_the_sample_of_cirr_passes(truth, shared_data):
    sample = shared_data / "cirr/demo_files/test1_pred_ranks_recall_subset.json"
    assert check(sample, truth("cirr", "test")) == []


@pytest.mark.parametrize("split", ["val", "test"])
def test_the_samples_of_circo_pass(truth, shared_data, split):
    assert check(shared_data / f"circo/submission_examples/submission_{split}.json", truth("circo", split)) == []


@pytest.mark.parametrize(("split", "other"), [("val", "test"), ("test", "val")])
def test_a_sample_for_another_split_is_told_by_its_name(truth, shared_data, split, other):
    found = check(shared_data / f"circo/submission_examples/submission_{other}.json", truth("circo", split))
    assert [p.query for p in found] == [""]
    assert f"look like the ids of {other} (--split {other}), not like those of {split}" in found[0].what


def test_a_sample_of_cirr_for_another_split_is_told_too(truth, shared_data):
    sample = shared_data / "cirr/demo_files/test1_pred_ranks_recall_subset.json"
    (found,) = check(sample, truth("cirr", "val"))
    assert "its 4,148 ids look like the ids of test" in str(found)


def test_a_file_for_another_set_has_one_problem_not_one_for_each_list(drawn, truth, shared_data, put):
    sample = shared_data / "cirr/demo_files/test1_pred_ranks_recall_subset.json"
    (found,) = check(sample, truth("cirr", "test", drawn["cirr"]))
    assert str(found).startswith(
        "0 of its 4,148 ids are queries of test; it is for another data set or split, or --root"
    )
    # The ids may agree by chance: then the images do not.
    task = truth("cirr", "val", drawn["cirr"]).tasks[0]
    lists = {query.id: [f"away-{i}-0-img0" for i in range(50)] for query in task.queries}
    (found,) = check(put({"version": "rc2", "metric": "recall", **lists}), truth("cirr", "val", drawn["cirr"]))
    assert str(found).startswith("0 of the 50 images it names are in the gallery of val; it is for another data set")


# ---- CIRR, a good file over a drawn val split with one thing wrong ----


@pytest.fixture
def val(drawn, truth):
    return truth("cirr", "val", drawn["cirr"])


@pytest.fixture
def broken(val, put):
    """broken(change, subset=False): the problems of a good file after `change(value, first query)`."""
    task = val.tasks[0]

    def make(change, subset: bool = False) -> list[str]:
        value = {"version": "rc2", "metric": "recall_subset" if subset else "recall"}
        for query in task.queries:
            among = query.subset if subset else task.gallery
            order = dict.fromkeys([*query.targets, *(name for name in among if name != query.reference)])
            value[query.id] = list(order)[: 3 if subset else 50]
        change(value, task.queries[0])
        return said(check(put(value), val))

    return make


@pytest.fixture
def first(val):
    return val.tasks[0].queries[0]


def replace_at(place, name):
    def change(value, query):
        value[query.id][place] = name if isinstance(name, str) else name(query)

    return change


def test_a_good_file_has_no_problem(broken):
    assert broken(lambda value, query: None) == []
    assert broken(lambda value, query: None, subset=True) == []


def test_a_duplicate(broken, first):
    (found,) = broken(replace_at(3, lambda q: q.targets[0]))
    assert found.startswith(f"query {first.id}: {first.targets[0]!r} is at places 1 and 4; an image is named once")


def test_a_missing_query(broken, first, val):
    count = len(val.tasks[0].queries)
    assert broken(lambda value, query: value.pop(query.id)) == [
        f"query {first.id}: is missing; all {count:,} queries must be answered"
    ]


def test_a_foreign_query(broken, val):
    found = broken(lambda value, query: value.update({"99999": value[query.id]}))
    assert found == [f"query 99999: is none of the {len(val.tasks[0].queries):,} queries of val; leave it out"]


@pytest.mark.parametrize(("length", "subset"), [(49, False), (0, False), (2, True), (0, True)])
def test_a_list_that_is_too_short(broken, first, length, subset):
    found = broken(lambda value, query: value.update({query.id: value[query.id][:length]}), subset)
    assert found == [f"query {first.id}: {length} answers instead of {3 if subset else 50}"]


def test_a_list_that_is_too_long(broken, first, val):
    def change(value, query):
        known = {*value[query.id], query.reference}
        value[query.id].append(next(name for name in val.tasks[0].gallery if name not in known))

    assert broken(change) == [f"query {first.id}: 51 answers instead of 50"]


def test_an_unknown_name(broken, first):
    (found,) = broken(replace_at(9, "dev-0-0-img9"))
    why = "'dev-0-0-img9' is not in the gallery of 60 images; rank this split's own images"
    assert found == f"query {first.id}: {why}"


@pytest.mark.parametrize("form", ["{}.png", "./dev/{}.png", "dev/{}"])
def test_a_name_that_is_a_path(broken, first, form):
    (found,) = broken(replace_at(0, lambda q: form.format(q.targets[0])))
    assert "not in the gallery" in found
    assert f"write {first.targets[0]!r}, without folder and ending" in found


@pytest.mark.parametrize("subset", [False, True])
def test_the_reference(broken, first, subset):
    (found,) = broken(replace_at(2, lambda q: q.reference), subset)
    why = f"{first.reference!r} is its own reference, which must not be in its list; take it out"
    assert found == f"query {first.id}: {why}"


def test_a_subset_name_outside_the_set(broken, first, val):
    stranger = next(name for name in val.tasks[0].gallery if name not in first.subset)
    (found,) = broken(replace_at(1, stranger), subset=True)
    assert found.startswith(f"query {first.id}: {stranger!r} is not in the query's own set (img_set)")
    (found,) = broken(replace_at(1, "dev-0-0-img9"), subset=True)
    assert "not in the gallery" in found


def test_several_problems_are_all_told_and_the_first_is_raised(val, broken):
    def change(value, query):
        value[query.id][1:3] = [query.reference, "nowhere"]
        del value[val.tasks[0].queries[-1].id]

    assert len(broken(change)) == 3
    found = [Problem("7", "is bad"), Problem("8", "is too"), Problem("", "as a whole")]
    with pytest.raises(DataError, match=r"^p.json: query 7: is bad \(and 2 more problems\)$"):
        require(found, Path("p.json"))
    require([], Path("p.json"))


def test_a_file_beyond_the_limit_of_the_server(cirr_lists, truth, put):
    value = cirr_lists("random")
    assert check(put(value), truth("cirr", "val")) == []
    (found,) = check(put(json.dumps(value, indent=8)), truth("cirr", "val"))
    assert "CIRR's server takes 5,000,000 at most: write it without indentation" in str(found)


# ---- CIRCO, drawn, so that its gallery is known ----


@pytest.fixture
def circo(drawn, truth):
    return truth("circo", "test", drawn["circo"])


@pytest.fixture
def circo_file(circo):
    """Each list begins with its own reference, which this server takes."""
    orders = {q.id: dict.fromkeys([q.reference, *circo.tasks[0].gallery]) for q in circo.tasks[0].queries}
    return {query: [int(image_id) for image_id in order][:50] for query, order in orders.items()}


def test_circo_keeps_references(circo, circo_file, put):
    assert circo.tasks[0].gallery_name == CIRCO_GALLERY
    assert check(put(circo_file), circo) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f["2"].__setitem__(0, f["2"][1]), "query 2: '1' is at places 1 and 2"),
        (lambda f: f.pop("2"), "query 2: is missing"),
        (lambda f: f.update({"77": f["2"]}), "query 77: is none of the"),
        (lambda f: f["2"].pop(), "query 2: 49 answers instead of 50"),
        (lambda f: f["2"].__setitem__(0, 581929), "query 2: '581929' is not in the gallery of 120 images"),
        (lambda f: f["2"].__setitem__(0, -2), "query 2: '-2' is not in the gallery"),
    ],
)
def test_circo_is_refused(circo, circo_file, put, change, message):
    change(circo_file)
    (found,) = said(check(put(circo_file), circo))
    assert found.startswith(message)


def test_circo_of_other_types_is_refused(circo, circo_file, put):
    for value in (True, "1", 1.0, None):
        circo_file["2"][0] = value
        with pytest.raises(DataError, match="key '2' holds"):
            check(put(circo_file), circo)


def test_without_the_list_of_the_gallery_ids_are_taken_as_they_are(truth, shared_data, put):
    val = truth("circo", "val")
    assert gallery_of(val.tasks[0]) is None
    value = json.loads((shared_data / "circo/submission_examples/submission_val.json").read_text("utf-8"))
    value["3"][4] = 0
    assert said(check(put(value), val)) == [
        "query 3: 0 is no image id; those of COCO are 1 or more and have at most 12 digits"
    ]


# ---- what is asked ----


def test_scoring_takes_any_length(cirr_lists, truth, put):
    val = truth("cirr", "val")
    task, prediction = load(put(cirr_lists("perfect", 7)), val)
    assert len(problems(prediction, task, val)) == 4181
    assert problems(prediction, task, val, exact=False) == []
    task, prediction = load(put({**cirr_lists("perfect", 7), "12060": []}), val)
    assert said(problems(prediction, task, val, exact=False)) == ["query 12060: no answers; there must be one or more"]


def test_a_gallery_drawn_small_takes_what_it_has(tmp_path, truth, put):
    from composir.datasets.wardrobe.writers import write

    test = truth("cirr", "test", write(tmp_path / "d", "cirr", size=66, image_size=64, workers=1).path)
    lists = {q.id: [n for n in test.tasks[0].gallery if n != q.reference] for q in test.tasks[0].queries}
    assert check(put({"version": "rc2", "metric": "recall", **lists}), test) == []
    for answers in lists.values():
        answers.pop()
    assert len(check(put({"version": "rc2", "metric": "recall", **lists}), test)) == len(lists)
