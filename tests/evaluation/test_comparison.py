"""Comparing results whose difference is known, and refusing those that do not compare."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest

from composir.errors import DataError, UnknownNameError
from composir.evaluation import Result, compare
from composir.evaluation.results import COLUMNS

PROTOCOL = {
    "data": "cirr",
    "split": "val",
    "partial": False,
    "tasks": [
        {
            "name": "cirr",
            "gallery": {"name": "all", "size": 40, "ids": "a" * 16},
            "queries": 200,
            "drop_reference": True,
            "own_candidates": False,
            "caption_join": "and",
            "prompt": "{text}",
            "shared_concept": False,
        }
    ],
}
IDS = [f"q{i}" for i in range(200)]


def synthetic(hits: dict[str, np.ndarray], protocol: dict | None = None, order: list[int] | None = None) -> Result:
    """A result of one task and one metric from 0/1 values for each method, rows in `order`."""
    places = order or list(range(len(IDS)))
    tables = []
    for method, own in hits.items():
        columns = {name: [_value(name, method, IDS[i]) for i in places] for name in COLUMNS}
        columns["R@10"] = [None if np.isnan(own[i]) else float(own[i]) for i in places]
        schema = pa.schema([*COLUMNS.items(), ("R@10", pa.float64())])
        tables.append(pa.table(columns, schema=schema))
    tasks = [{"name": "cirr", "metrics": {"R@10": 0.0}, "queries": len(places)}]
    first, *others = hits
    content = {
        "method": first,
        "protocol": protocol or PROTOCOL,
        "tasks": tasks,
        "baselines": {name: {} for name in others},
    }
    return Result(content, pa.concat_tables(tables))


def _value(column: str, method: str, query: str):
    known = {"method": method, "task": "cirr", "query": query, "reference": f"r{query}", "targets": [f"t{query}"]}
    return known.get(column, [] if pa.types.is_list(COLUMNS[column]) else "" if COLUMNS[column] == pa.string() else 0)


@pytest.fixture(scope="module")
def hits() -> dict[str, np.ndarray]:
    """60 % against 45 %, 50 wins and 20 losses; a third that differs from the first by chance alone."""
    a = np.zeros(200)
    a[:120] = 1
    b = a.copy()
    b[:50] = 0
    b[150:170] = 1
    c = a.copy()
    c[:4] = 0
    c[150:155] = 1
    return {"a": a, "b": b, "c": c}


def test_a_known_difference(hits):
    [d] = compare(synthetic({"a": hits["a"]}), synthetic({"b": hits["b"]})).differences
    assert (d.task, d.metric, d.queries, d.a, d.b) == ("cirr", "R@10", 200, 60.0, 45.0)
    assert d.test.difference == pytest.approx(15.0)
    assert (d.test.wins, d.test.losses, d.test.ties) == (50, 20, 130)
    assert d.test.low < 15 < d.test.high
    # 50 heads of 70 tosses: the exact two-sided sign test gives 0.00044.
    assert d.test.p_randomization == pytest.approx(0.00044, abs=0.0006)
    assert d.test.p_bootstrap < 0.005
    assert d.told("ours", "theirs").startswith(
        "cirr R@10: ours is 15.00 points above theirs, more than chance explains"
    )


def test_chance_is_called_chance(hits):
    [d] = compare(synthetic({"c": hits["c"]}), synthetic({"a": hits["a"]})).differences
    assert d.test.difference == pytest.approx(0.5)
    assert d.test.p_randomization > 0.5
    assert d.told("c", "a") == "cirr R@10: c is 0.50 points above a, no more than chance explains (p = 1)"
    [d] = compare(synthetic({"a": hits["a"]}), synthetic({"a": hits["a"]})).differences
    assert d.told("x", "y") == "cirr R@10: x and y agree on every query"


def test_queries_are_paired_by_id_not_by_place(hits):
    straight = compare(synthetic(hits), synthetic({"b": hits["b"]})).differences[0]
    order = np.random.default_rng(0).permutation(200).tolist()
    turned = compare(synthetic(hits), synthetic({"b": hits["b"]}, order=order)).differences[0]
    assert straight == turned


def test_methods_within_one_result(hits):
    result = synthetic(hits)
    [d] = compare(result, result, method_a="a", method_b="b").differences
    assert (d.a, d.b) == (60.0, 45.0)
    with pytest.raises(UnknownNameError, match="unknown method of this result: 'bb'; did you mean 'b'"):
        compare(result, result, method_b="bb")


def test_metrics_are_chosen_by_name(hits):
    result = synthetic(hits)
    assert len(compare(result, result, method_b="b", metrics=["R@10"]).differences) == 1
    with pytest.raises(UnknownNameError, match=r"unknown metric of these results: 'R@11'; did you mean 'R@10'"):
        compare(result, result, metrics=["R@11"])


def test_values_that_apply_to_no_query_do_not_count(hits):
    a, b = hits["a"].copy(), hits["b"].copy()
    a[::2] = b[::2] = np.nan
    [d] = compare(synthetic({"a": a}), synthetic({"b": b})).differences
    assert d.queries == 100 == d.test.wins + d.test.losses + d.test.ties


def changed(change: Callable[[dict], None]) -> dict:
    protocol = copy.deepcopy(PROTOCOL)
    change(protocol)
    return protocol


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda p: p.update(data="circo"), "data is cirr in the first and circo in the second"),
        (lambda p: p.update(split="test"), "split is val"),
        (lambda p: p.update(partial=True), "partial is False in the first and True"),
        (lambda p: p["tasks"][0]["gallery"].update(size=39), r"gallery of cirr is .*'size': 40.*'size': 39"),
        (lambda p: p["tasks"][0]["gallery"].update(ids="b" * 16), "gallery of cirr"),
        (lambda p: p["tasks"][0].update(drop_reference=False), "drop_reference of cirr is True in the first and False"),
        (lambda p: p["tasks"][0].update(name="other"), "tasks is"),
    ],
)
def test_what_does_not_compare_is_refused_by_name(hits, change, named):
    with pytest.raises(DataError, match=f"do not compare: {named}"):
        compare(synthetic({"a": hits["a"]}), synthetic({"b": hits["b"]}, changed(change)))


def test_choices_of_a_method_are_noted(hits):
    protocol = changed(lambda p: p["tasks"][0].update(caption_join="reversed", prompt="a photo of {text}"))
    notes = compare(synthetic({"a": hits["a"]}), synthetic({"b": hits["b"]}, protocol)).notes
    assert notes[0] == "cirr: caption_join is 'and' in the first and 'reversed' in the second"
    assert "prompt is '{text}' in the first and 'a photo of {text}' in the second" in notes[1]


def test_unpaired_queries_are_an_error(hits):
    with pytest.raises(DataError, match=r"cirr: 2 queries are not in both results \(q198, q199\)"):
        compare(synthetic({"a": hits["a"]}), synthetic({"b": hits["b"]}, order=list(range(198))))
    with pytest.raises(DataError, match=r"queries are not in both results"):
        compare(synthetic({"a": hits["a"]}), synthetic({"b": hits["b"]}, order=[*range(200), 7]))


def test_other_annotations_are_an_error(hits):
    other = synthetic({"b": hits["b"]})
    references = pa.array(["elsewhere", *other.queries["reference"].to_pylist()[1:]])
    table = other.queries.set_column(other.queries.column_names.index("reference"), "reference", references)
    with pytest.raises(DataError, match="query q0 has another reference in the second result"):
        compare(synthetic({"a": hits["a"]}), Result(other.content, table))
