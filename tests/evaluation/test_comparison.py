"""Comparing results whose difference is known, and refusing those that do not compare."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pytest

from composir.datasets.base import Dataset
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
        "average": {},
        "baselines": {name: {} for name in others},
        "data": {"name": "cirr"},
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
    assert d.told("c", "a") == "cirr R@10: c is 0.50 points above a, no more than chance explains (randomization p = 1)"
    [d] = compare(synthetic({"a": hits["a"]}), synthetic({"a": hits["a"]})).differences
    assert d.told("x", "y") == "cirr R@10: x and y agree on every query"


def test_equal_means_are_no_lead(hits):
    [d] = compare(synthetic({"a": hits["a"]}), synthetic({"b": np.roll(hits["a"], 40)})).differences
    assert (d.test.difference, d.test.wins, d.test.losses) == (0, 40, 40)
    assert d.told("x", "y") == "cirr R@10: x and y are equal on average, not on every query"


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


class Paper(Dataset):
    """A data set with a paper's average, by whose class the comparison knows what it is made of."""

    averages: ClassVar[dict[str, tuple[str, ...]]] = {"R@1": ("R@1",), "Avg": ("R@1", "Rs@1")}


PAPER = f"{__name__}:Paper"
SIZES = {"dress": 60, "shirt": 11}


def two_tasks(seed: int, average: dict[str, float] | None = None, data: str = PAPER) -> tuple[Result, dict]:
    """A result of two tasks of unlike size and two metrics, and its values; Rs@1 does not apply to every query."""
    rng = np.random.default_rng(seed)
    tables, values = [], {}
    for task, size in SIZES.items():
        own = {name: (rng.random(size) < 0.5).astype(float) for name in ("R@1", "Rs@1")}
        own["Rs@1"][::5] = np.nan
        values[task] = own
        columns = {name: [_value(name, "m", f"{task}{i}") for i in range(size)] for name in COLUMNS}
        columns["task"] = [task] * size
        columns |= {name: [None if np.isnan(v) else v for v in of] for name, of in own.items()}
        tables.append(pa.table(columns, schema=pa.schema([*COLUMNS.items(), *((n, pa.float64()) for n in own)])))
    asked = [{**PROTOCOL["tasks"][0], "name": task, "queries": size} for task, size in SIZES.items()]
    content = {
        "method": "m",
        "protocol": {**PROTOCOL, "tasks": asked},
        "tasks": [
            {"name": task, "metrics": {"R@1": 0.0, "Rs@1": 0.0}, "queries": size} for task, size in SIZES.items()
        ],
        "average": {"R@1": 0.0, "Avg": 0.0} if average is None else average,
        "baselines": {},
        "data": {"name": data},
    }
    return Result(content, pa.concat_tables(tables)), values


def slow_average(values: dict, over: tuple[str, ...]) -> float:
    """Mean over tasks of the means over metrics of the means over queries that have a value, in per cent."""
    total = 0.0
    for own in values.values():
        for name in over:
            known = [v for v in own[name] if not np.isnan(v)]
            total += sum(known) / len(known) / len(over) / len(values)
    return 100 * total


def slow_swaps(a: dict, b: dict, over: tuple[str, ...], draws: int) -> float:
    """How often the averages of two sides lie at least so far apart if each query's sides are swapped by a coin."""
    rng, observed, beyond = np.random.default_rng(9), slow_average(a, over) - slow_average(b, over), 0
    for _ in range(draws):
        one = {task: {name: own[name].copy() for name in over} for task, own in a.items()}
        other = {task: {name: own[name].copy() for name in over} for task, own in b.items()}
        for task in one:
            for query in range(SIZES[task]):
                if rng.random() < 0.5:
                    for name in over:
                        mine, its = one[task][name][query], other[task][name][query]
                        one[task][name][query], other[task][name][query] = its, mine
        beyond += abs(slow_average(one, over) - slow_average(other, over)) >= abs(observed) - 1e-9
    return beyond / draws


@pytest.mark.parametrize("name", ["R@1", "Avg"])
def test_the_papers_average_is_tested_over_all_tasks(name):
    (one, a), (other, b) = two_tasks(1), two_tasks(2)
    found = compare(one, other, metrics=[name]).differences
    d = next(d for d in found if d.task == "all tasks")
    assert (d.metric, d.queries) == (name, sum(SIZES.values()))
    over = Paper.averages[name]
    assert d.a == pytest.approx(slow_average(a, over))
    assert d.b == pytest.approx(slow_average(b, over))
    assert d.test.difference == pytest.approx(d.a - d.b)
    assert d.test.low < d.test.difference < d.test.high
    # 400 swaps against 10,000: four deviations of the coarser share.
    assert d.test.p_randomization == pytest.approx(slow_swaps(a, b, over, 400), abs=4 * np.sqrt(0.25 / 400))
    assert d.told("x", "y").startswith(f"all tasks {name}: ")
    # A metric that bears an average's name is tested in each task too.
    assert [d.task for d in found] == ([*SIZES, "all tasks"] if name == "R@1" else ["all tasks"])


def test_an_average_that_is_not_known_or_not_there_is_not_tested():
    (one, _), (other, _) = two_tasks(1), two_tasks(2)
    assert [d.task for d in compare(one, other).differences[-2:]] == ["all tasks"] * 2
    (one, _), (other, _) = two_tasks(1, {}), two_tasks(2, {})
    assert "all tasks" not in {d.task for d in compare(one, other).differences}
    (one, _), (other, _) = two_tasks(1, data="gone:Away"), two_tasks(2, data="gone:Away")
    found = compare(one, other)
    assert "all tasks" not in {d.task for d in found.differences}
    assert "'Avg' is not tested: it is not known what it is made of" in found.notes
    with pytest.raises(UnknownNameError, match="unknown metric of these results: 'Avg'"):
        compare(one, other, metrics=["Avg"])


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
