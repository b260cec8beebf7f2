"""FashionIQ's start kit: its records have no ids, yet each finds its query."""

from __future__ import annotations

import json
import random

import pytest

from composir.errors import DataError, UnknownNameError
from composir.submission.formats import Answered, StartKit, as_json, read
from composir.submission.start_kit import match, task_of

CATEGORIES = ("dress", "shirt", "toptee")


@pytest.fixture(scope="module")
def val(truth):
    return truth("fashioniq", "val")


@pytest.fixture(scope="module")
def captions(shared_data):
    """captions("dress") gives the records of the captions file of val."""
    return lambda c, s="val": json.loads((shared_data / f"fashioniq/captions/cap.{c}.{s}.json").read_text("utf-8"))


def named(value) -> list[dict]:
    """Records whose ranking says which record of the captions file they are."""
    return [{**record, "ranking": [f"answer to {n}"]} for n, record in enumerate(value)]


@pytest.mark.parametrize("category", CATEGORIES)
def test_every_record_of_the_real_files_finds_its_query(val, captions, put, category):
    task = next(task for task in val.tasks if task.name == category)
    file = read(put(named(captions(category)), f"{category}.val.pred.json"), "fashioniq")
    assert task_of(file, val.tasks) is task
    lists = match(file, task).lists
    assert lists == {query.id: (f"answer to {n}",) for n, query in enumerate(task.queries)}


def test_records_with_a_target_may_come_in_any_order(val, captions, put):
    records = named(captions("dress"))
    random.Random(0).shuffle(records)
    lists = match(read(put(records), "fashioniq"), val.tasks[0]).lists
    assert lists == {query.id: (f"answer to {n}",) for n, query in enumerate(val.tasks[0].queries)}


def test_alike_records_without_a_target_are_taken_in_their_order(val, captions, put):
    records = [{k: v for k, v in record.items() if k != "target"} for record in named(captions("dress"))]
    alike = [n for n, r in enumerate(records) if r["candidate"] == "B007ZDYK2E" and " shorter skirt" in r["captions"]]
    assert len(alike) == 4  # one reference, the same two captions, four targets
    lists = match(read(put(records), "fashioniq"), val.tasks[0]).lists
    assert lists == {query.id: (f"answer to {n}",) for n, query in enumerate(val.tasks[0].queries)}


def test_the_file_of_the_start_kit_comes_back(val, captions, put):
    records = named(captions("shirt"))
    file = read(put(records), "fashioniq")
    assert json.loads(as_json(file)) == records
    assert as_json(file).startswith('[\n    {\n        "target": ')


def test_the_hidden_split_has_no_target(truth, captions, put):
    test = truth("fashioniq", "test")
    file = read(put(named(captions("toptee", "test")), "toptee.test.pred.json"), "fashioniq")
    assert len(match(file, task_of(file, test.tasks)).lists) == 2056


# ---- which category ----


def test_a_file_of_another_name_is_known_by_its_records(val, captions, put):
    file = read(put(named(captions("toptee")), "mine.json"), "fashioniq")
    assert task_of(file, val.tasks).name == "toptee"


def test_a_category_that_is_given_wins(val, captions, put):
    file = read(put(named(captions("toptee")), "dress.json"), "fashioniq")
    assert task_of(file, val.tasks, "toptee").name == "toptee"
    with pytest.raises(UnknownNameError, match=r"'top'.*did you mean 'toptee'"):
        task_of(file, val.tasks, "top")


def test_records_of_no_category_are_refused(val):
    with pytest.raises(DataError, match="none of dress, shirt, toptee"):
        task_of(StartKit((Answered("B0", ("a", "b"), ("B1",)),)), val.tasks)
    with pytest.raises(DataError, match="none of dress, shirt, toptee"):
        task_of(StartKit(()), val.tasks)


# ---- what does not match ----


def refusal(val, file, others=dict) -> str:
    with pytest.raises(DataError) as refused:
        match(file, val.tasks[0], others)
    return str(refused.value)


def test_a_file_of_another_category_or_split_is_told(val, captions, put):
    known = val.alike(val.tasks[0])
    assert len(known) == 8  # three categories in three splits, without the one meant
    path = put(named(captions("shirt")), "dress.val.pred.json")
    message = refusal(val, read(path, "fashioniq"), lambda: known)
    assert message.startswith(f"{path}: record 0 (counted from 0), reference ")
    assert message.endswith("is no query of dress; these look like the records of shirt (--category shirt)")
    message = refusal(val, read(put(named(captions("dress", "test"))), "fashioniq"), lambda: known)
    assert message.endswith("is no query of dress; these look like the records of dress of test (--split test)")


def test_a_record_that_is_there_twice_is_told(val, captions, put):
    records = named(captions("dress"))
    message = refusal(val, read(put([*records[:8], records[3]]), "fashioniq"))
    assert "record 8 (counted from 0), reference" in message
    assert "is there more often than in the captions file of dress; every record" in message


def test_a_record_with_another_target_is_told(val, captions, put):
    records = named(captions("dress"))
    records[5]["target"], right = "B000000000", records[5]["target"]
    message = refusal(val, read(put(records), "fashioniq"))
    assert f"record 5 (counted from 0), reference {records[5]['candidate']!r}" in message
    assert f"has the target 'B000000000' instead of {right!r}" in message
