"""Incomplete data: refused, and with `partial` measured over what is left, with a stamp."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from composir.datasets import load_dataset
from composir.datasets.wardrobe.writers import write
from composir.errors import DataError
from composir.evaluation import evaluate
from composir.evaluation.gaps import all_of, without
from composir.evaluation.tables import table
from composir.types import Query, Task


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Drawn pictures in FashionIQ's layout; the tests below break copies of it."""
    root = tmp_path_factory.mktemp("drawn") / "fashioniq"
    write(root, "fashioniq", size=300, image_size=64, workers=1)
    return root


@pytest.fixture
def broken(root, tmp_path):
    """A copy whose pictures may be taken away; the pictures themselves are links."""
    copy = tmp_path / "fashioniq"
    for path in root.rglob("*"):
        if path.is_file() and ".writing" not in path.name:
            (copy / path.relative_to(root)).parent.mkdir(parents=True, exist_ok=True)
            (copy / path.relative_to(root)).symlink_to(path)
    return copy


def victims(root) -> tuple[Task, str, str]:
    """A task with a picture that is a target, and another that is a reference, of different queries."""
    task = max(load_dataset("fashioniq", root=root).tasks("val"), key=lambda task: len(task.queries))
    target = task.queries[0].targets[0]
    reference = next(q.reference for q in task.queries if target not in (q.reference, *q.targets))
    return task, target, reference


def test_complete_data_is_not_stamped_even_if_partial_is_allowed(signs, root):
    whole, allowed = (
        evaluate(signs, load_dataset("fashioniq", root=root), workers=0, partial=p) for p in (False, True)
    )
    assert allowed.content["protocol"]["partial"] is False
    assert {**whole.content, "created": ""} == {**allowed.content, "created": ""}
    assert "partial" not in table(whole).lower()


def test_missing_pictures_are_refused_before_anything_is_read(signs, broken):
    _, target, reference = victims(broken)
    for name in (target, reference):
        (broken / "images" / f"{name}.png").unlink()
    dataset = load_dataset("fashioniq", root=broken)
    dataset.image = None  # it would fail if it were called
    with pytest.raises(DataError, match=r"2 of .* pictures that fashioniq val needs cannot be had") as refused:
        evaluate(signs, dataset, workers=0)
    for told in (f"{target} (no file)", f"{reference} (no file)", "composir data check fashioniq", "--partial"):
        assert told in str(refused.value)


def test_unreadable_pictures_are_all_collected_and_refused(signs, broken):
    _, target, reference = victims(broken)
    for name in (target, reference):
        (broken / "images" / f"{name}.png").unlink()
        (broken / "images" / f"{name}.png").write_text("no picture")
    with pytest.raises(DataError, match=r"2 of .* cannot be had") as refused:
        evaluate(signs, load_dataset("fashioniq", root=broken), workers=0, batch_size=5)
    assert target in str(refused.value)
    assert reference in str(refused.value)


def test_partial_equals_the_tasks_without_what_is_gone(signs, root, broken, subset_class):
    task, target, reference = victims(root)
    (broken / "images" / f"{target}.png").unlink()
    (broken / "images" / f"{reference}.png").unlink()
    (broken / "images" / f"{reference}.png").write_text("no picture")
    result = evaluate(signs, load_dataset("fashioniq", root=broken), workers=0, partial=True)
    protocol, gone = result.content["protocol"], {target, reference}
    assert protocol["partial"] is True
    assert protocol["missing"]["images"] == 2
    assert set(protocol["missing"]["image_ids"]) == gone
    left = [q for q in task.queries if not gone & {q.reference, *q.targets}]
    out = [q.id for q in task.queries if gone & {q.reference, *q.targets}]
    assert protocol["missing"]["query_ids"][task.name] == out
    assert protocol["missing"]["queries"] == sum(map(len, protocol["missing"]["query_ids"].values())) >= 2
    shrunk = replace(task, gallery=tuple(i for i in task.gallery if i not in gone), queries=tuple(left))
    alone = evaluate(signs, subset_class(load_dataset("fashioniq", root=root), shrunk), "val", workers=0)
    [told] = [t for t in result.content["tasks"] if t["name"] == task.name]
    assert told == {**alone.content["tasks"][0], "partial": True}
    [asked] = [t for t in protocol["tasks"] if t["name"] == task.name]
    assert asked == alone.content["protocol"]["tasks"][0]


def test_every_number_is_stamped(signs, broken):
    _, target, _ = victims(broken)
    (broken / "images" / f"{target}.png").unlink()
    result = evaluate(signs, load_dataset("fashioniq", root=broken), workers=0, partial=True)
    assert result.content["warnings"][0].startswith("partial: 1 picture is missing and 1 query was left out")
    for scores in (result.content, *result.content["baselines"].values()):
        assert all(task["partial"] is True for task in scores["tasks"])
    text = table(result)
    lines = [line for line in text.splitlines() if line.startswith(("R@", "Avg"))]
    assert len(lines) == 3 * 4 + 3
    assert all(" (partial) " in line for line in lines)
    assert "PARTIAL: 1 picture is missing" in text


def test_several_targets_shrink(data, signs, subset_class):
    ids = data.ids("test")[:12]
    queries = (
        Query("both", ids[0], ("is red",), (ids[1], ids[2])),
        Query("first gone", ids[0], ("is red",), (ids[3], ids[2])),
        Query("all gone", ids[0], ("is red",), (ids[3],)),
        Query("reference gone", ids[3], ("is red",), (ids[1],)),
    )
    task = Task("t", ids, queries, ("R@1", "mAP@10", "Recall@5"), drop_reference=True)
    result = evaluate(signs, subset_class(data, task, gone=[ids[3]]), "test", workers=0, partial=True)
    assert result.content["protocol"]["missing"]["query_ids"] == {"t": ["all gone", "reference gone"]}
    rows = {row["query"]: row for row in result.queries.to_pylist() if row["method"] == "signs"}
    # The annotated target is gone, so a recall of it says nothing; the average precision is over the other.
    assert rows["first gone"]["Recall@5"] is None
    assert rows["first gone"]["mAP@10"] == pytest.approx(
        1 / rows["first gone"]["rank"] if rows["first gone"]["rank"] <= 10 else 0
    )
    assert rows["both"]["Recall@5"] is not None
    assert result.content["tasks"][0]["metrics"]["Recall@5"] == 100 * rows["both"]["Recall@5"]


@pytest.mark.parametrize("subset", [False, True])
def test_a_query_whose_target_is_its_reference_needs_partial(data, signs, subset_class, subset):
    """Where references are taken out, such a query asks for nothing; within a subset they always are."""
    ids = data.ids("test")[:12]
    members = ids[:3] if subset else ()
    good = Query("good", ids[0], ("is red",), (ids[1],), subset=members)
    same = Query("same", ids[2], ("is red",), (ids[2],), subset=members)
    more = Query("more", ids[1], ("is red",), (ids[1], ids[2]), subset=members)
    metrics = ("R@1", "Rs@1") if subset else ("R@1",)
    dataset = subset_class(data, Task("t", ids, (good, same, more), metrics, drop_reference=not subset))
    with pytest.raises(Exception, match=r"query same of 't' .*: its target .* is the reference too.*--partial"):
        evaluate(signs, dataset, "test", workers=0)
    content = evaluate(signs, dataset, "test", workers=0, partial=True).content
    assert content["protocol"]["missing"]["query_ids"] == {"t": ["same"]}
    assert content["tasks"][0]["queries"] == 2


def test_what_annotations_name_outside_the_gallery_needs_partial(data, signs, subset_class):
    ids = data.ids("test")[:12]
    queries = (Query("good", ids[0], ("is red",), (ids[1],)), Query("stray", ids[0], ("is red",), ("nowhere",)))
    dataset = subset_class(data, Task("t", ids, queries, ("R@1",), drop_reference=True))
    with pytest.raises(
        Exception, match=r"query stray of 't' .*: its target nowhere is not in the gallery; .*--partial"
    ):
        evaluate(signs, dataset, "test", workers=0)
    content = evaluate(signs, dataset, "test", workers=0, partial=True).content
    assert content["protocol"]["partial"] is True
    assert content["protocol"]["missing"]["query_ids"] == {"t": ["stray"]}


def test_nothing_left_is_refused(data, signs, subset_class):
    ids = data.ids("test")[:12]
    task = Task("t", ids, (Query("q", ids[0], ("is red",), (ids[1],)),), ("R@1",), drop_reference=True)
    with pytest.raises(DataError, match="t: of 1 query none is left without 1 missing picture;"):
        evaluate(signs, subset_class(data, task, gone=[ids[1]]), "test", workers=0, partial=True)


def test_a_whole_task_is_whole():
    task = Task("t", ("a", "b"), (Query("q", "a", ("x",), ("b",), subset=("a", "b")),), ("R@1",), drop_reference=True)
    assert without(task, ()) == all_of(task)
    assert without(task, {"c"}).whole
    assert not without(replace(task, hidden=True), {"b"}).whole


def test_hidden_splits_name_the_remedy(signs, root):
    with pytest.raises(DataError, match=r"targets of fashioniq test are not public.*`composir submit`"):
        evaluate(signs, load_dataset("fashioniq", root=root), "test", workers=0)
