"""Ranking and reporting against slow loops over a data set small enough to look through."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from composir.errors import ComposirError
from composir.evaluation import encode, per_query, rank, report
from composir.methods import load_method
from composir.types import Query, Task


@pytest.fixture(scope="module")
def method(tiny):
    return load_method("slerp", tiny)


def slow_order(method, task, data, query) -> list[str]:
    """The gallery sorted for one query, one picture at a time."""
    transform = method.transform("gallery")
    reference = method.encode_reference(transform(data.image(query.reference))[None])
    vector = method.compose(reference, [query.text])[0, 0]
    scored = []
    for place, image_id in enumerate(task.gallery):
        if task.drop_reference and image_id == query.reference:
            continue
        score = float(vector @ method.encode_gallery(transform(data.image(image_id))[None])[0, 0])
        scored.append((-round(score, 5), place, image_id))
    return [image_id for _, _, image_id in sorted(scored)]


@torch.inference_mode()
def test_rank_equals_a_slow_loop(method, data):
    task = data.tasks("test")[0]
    task = Task(task.name, task.gallery, task.queries[:6], task.metrics, task.drop_reference)
    run = rank(method, task, data, k=60)
    for i, query in enumerate(task.queries):
        order = slow_order(method, task, data, query)
        # Scores closer than rounding may swap between the batched and the single pass: allow neighbours.
        assert abs(order.index(query.targets[0]) + 1 - run.ranks[i]) <= 1
        subset = [m for m in order if m in query.subset]
        assert query.reference not in subset
        assert abs(subset.index(query.targets[0]) + 1 - run.subset_ranks[i]) <= 1
        assert task.gallery.index(query.reference) not in run.top[i]
        assert run.top.shape == (6, 59)


def test_map_equals_a_slow_loop(method, data):
    task = data.tasks("test")[1]
    run = rank(method, task, data)
    values = per_query(run, task)
    for i, query in enumerate(task.queries):
        answers = [task.gallery[row] for row in run.top[i]]
        hits, total = 0, 0.0
        for place, answer in enumerate(answers[:10], start=1):
            if answer in query.targets:
                hits += 1
                total += hits / place
        assert values["mAP@10"][i] == pytest.approx(total / min(len(query.targets), 10))


def test_given_embeddings_change_nothing(method, data):
    task = data.tasks("test")[0]
    gallery = encode(method, data, task.gallery, "gallery")
    references = encode(method, data, [q.reference for q in task.queries], "reference")
    fresh, given = rank(method, task, data), rank(method, task, data, gallery=gallery, references=references)
    assert np.array_equal(fresh.ranks, given.ranks)
    assert np.array_equal(fresh.top, given.top)


def test_report_gives_per_cent_within_its_interval(method, data):
    task = data.tasks("test")[0]
    scores = report(rank(method, task, data), task)
    assert list(scores) == list(task.metrics)
    assert all(0 <= s.low <= s.value <= s.high <= 100 for s in scores.values())
    assert scores["R@50"].value >= scores["R@1"].value


def test_alpha_ends_equal_the_baselines(method, data):
    task = data.tasks("test")[0]
    backbone = method.backbone
    for alpha, name in ((0.0, "image-only"), (1.0, "text-only")):
        ours, theirs = rank(method, task, data, alpha=alpha), rank(load_method(name, backbone), task, data)
        assert np.array_equal(ours.ranks, theirs.ranks)


def test_bad_tasks_are_refused(method, data):
    gallery = data.ids("test")[:6]
    query = Query("q", gallery[0], ("is red",), ("test-00009-5",))
    with pytest.raises(ComposirError, match="test-00009-5, which is not in its gallery"):
        rank(method, Task("t", gallery, (query,), ("R@1",), drop_reference=True), data)
    with pytest.raises(ComposirError, match="not public"):
        rank(method, Task("t", gallery, (query,), ("R@1",), drop_reference=True, hidden=True), data)
    good = Query("q", gallery[0], ("is red",), (gallery[1],))
    for metric, told in (("Rs@1", "no subset .*asks for Rs@K"), *((m, m) for m in ("nDCG@5", "R@", "R@0", "mAP@x"))):
        task = Task("t", gallery, (good,), (metric,), drop_reference=True)
        with pytest.raises(ComposirError, match=told):
            report(rank(method, task, data), task)


def test_a_small_k_does_not_cut_an_average_precision_short(method, data):
    task = data.tasks("test")[1]
    short, long = rank(method, task, data, k=5), rank(method, task, data, k=60)
    assert report(short, task) == report(long, task)


def test_a_target_outside_its_subset_is_refused(method, data):
    ids = data.ids("test")
    query = Query("q7", ids[0], ("is red",), (ids[1],), subset=(ids[0], ids[2]))
    with pytest.raises(ComposirError, match=r"q7.*not in its own subset"):
        rank(method, Task("t", ids, (query,), ("Rs@1",), drop_reference=True), data)
    with pytest.raises(ComposirError, match="no queries"):
        rank(method, Task("t", ids, (), ("R@1",), drop_reference=True), data)


def test_a_reference_that_is_its_own_target_cannot_be_dropped(method, data):
    ids = data.ids("test")
    query = Query("q7", ids[0], ("is red",), (ids[1], ids[0]))
    with pytest.raises(ComposirError, match=r"query q7 of 't' has its own reference as a target.*drop_reference"):
        rank(method, Task("t", ids, (query,), ("R@1",), drop_reference=True), data)
    kept = rank(method, Task("t", ids, (query,), ("R@1",), drop_reference=False), data)
    assert kept.target_ranks.shape == (1, 2)


def test_a_single_target_has_one_column_and_its_recall_is_its_hit_rate(method, data):
    task = data.tasks("test")[0]
    task = replace(task, metrics=("R@5", "Recall@5", "mAP@1", "R@1"))
    values = per_query(rank(method, task, data), task)
    assert np.array_equal(values["R@5"], values["Recall@5"])
    assert np.array_equal(values["R@1"], values["mAP@1"])


def test_aspects_split_a_metric(method, data):
    task = data.tasks("test")[1]
    queries = tuple(replace(q, aspects=("all", "odd") if i % 2 else ("all",)) for i, q in enumerate(task.queries))
    task = replace(task, queries=queries, metrics=("mAP@10", "mAP@10/*", "R@5/odd"))
    values = per_query(rank(method, task, data), task)
    assert list(values) == ["mAP@10", "mAP@10/all", "mAP@10/odd", "R@5/odd"]
    assert np.array_equal(values["mAP@10"], values["mAP@10/all"])
    assert np.array_equal(np.isnan(values["mAP@10/odd"]), np.arange(len(queries)) % 2 == 0)
    assert np.array_equal(values["mAP@10/odd"][1::2], values["mAP@10"][1::2])


def test_the_memory_bound_changes_no_rank(method, data):
    task = data.tasks("test")[0]
    wide, narrow = rank(method, task, data), rank(method, task, data, memory=2**10)
    assert np.abs(wide.target_ranks - narrow.target_ranks).max() <= 1  # the last bit of a score may change
