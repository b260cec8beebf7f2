"""Two results, query by query: how far apart, and whether by more than chance. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from composir.errors import DataError
from composir.evaluation.results import Result
from composir.metrics import PairedTest, paired_test
from composir.plugins import nearest

LEVEL = 0.05
NAMED = 5
# Of a task: where these differ, a metric of one name measures two things.
BINDING = ("gallery", "drop_reference", "own_candidates", "queries")
# Choices of a method that do not keep its numbers from being compared, but should be known.
CHOICES = ("caption_join", "prompt", "shared_concept")


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one task: two means in per cent over the same queries, and how they differ.

    Attributes:
        task: Its name.
        metric: Its name.
        queries: To which it applies.
        a: The first side's mean.
        b: The second's.
        test: The first less the second, in points of per cent, with its interval, p-values, wins, losses and ties.
    """

    task: str
    metric: str
    queries: int
    a: float
    b: float
    test: PairedTest

    def told(self, a: str, b: str) -> str:
        """The outcome in a sentence, for sides of these names."""
        test, p = self.test, f"p = {self.test.p_randomization:.2g}"
        if not test.wins and not test.losses:
            return f"{self.task} {self.metric}: {a} and {b} agree on every query"
        better, worse = (a, b) if test.difference >= 0 else (b, a)
        gap = f"{better} is {abs(test.difference):.2f} points above {worse}"
        if p_counts(test):
            return f"{self.task} {self.metric}: {gap}, more than chance explains ({p})"
        return f"{self.task} {self.metric}: {gap}, no more than chance explains ({p})"


@dataclass(frozen=True, slots=True)
class Comparison:
    """All differences of two sides, and what else differs between them."""

    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    partial: bool

    def as_json(self, a: str, b: str) -> dict[str, Any]:
        """For JSON; per cent, and points of per cent."""
        rows = [
            {
                **{key: value for key, value in asdict(d).items() if key != "test"},
                **asdict(d.test),
                "told": d.told(a, b),
            }
            for d in self.differences
        ]
        return {"partial": self.partial, "differences": rows, "notes": list(self.notes)}


def p_counts(test: PairedTest) -> bool:
    """Whether the randomization test calls the difference more than chance, at 5 %."""
    return test.p_randomization < LEVEL


def compare(
    a: Result, b: Result, *, method_a: str | None = None, method_b: str | None = None, metrics: Sequence[str] = ()
) -> Comparison:
    """Pair two methods by task and query, and test every metric.

    Args:
        a: One result.
        b: The other; it may be the same, for two of its methods.
        method_a: Which of its methods; the evaluated one if not given.
        method_b: Likewise.
        metrics: Which; all if none are named.

    Raises:
        UnknownNameError: A method or metric that a result does not have.
        DataError: The two do not measure the same thing: another data set, split, gallery, treatment of the reference,
            one of them partial, or queries that are not in both; the difference is named.
    """
    of_a, of_b = _rows(a, method_a), _rows(b, method_b)
    _refuse_unlike(a.content["protocol"], b.content["protocol"])
    names = list(dict.fromkeys(name for task in a.content["tasks"] for name in task["metrics"]))
    for name in metrics:
        if name not in names:
            raise nearest(name, names, "metric of these results:")
    found = []
    for task in a.content["tasks"]:
        rows = [side.filter(pc.field("task") == task["name"]) for side in (of_a, of_b)]
        mine, its = _paired(task["name"], *rows)
        found += [
            _difference(task["name"], name, _values(mine, name), _values(its, name))
            for name in task["metrics"]
            if not metrics or name in metrics
        ]
    notes = tuple(_notes(a.content["protocol"], b.content["protocol"], len(found)))
    return Comparison(tuple(found), notes, bool(a.content["protocol"]["partial"]))


def _rows(result: Result, method: str | None) -> pa.Table:
    method = method or result.method
    if method not in result.methods:
        raise nearest(method, result.methods, "method of this result:")
    return result.queries.filter(pc.field("method") == method)


def _refuse_unlike(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    for key in ("data", "split", "partial"):
        _refuse_unequal(key, a[key], b[key])
    tasks_a, tasks_b = ({task["name"]: task for task in side["tasks"]} for side in (a, b))
    _refuse_unequal("tasks", sorted(tasks_a), sorted(tasks_b))
    for name, task in tasks_a.items():
        for key in BINDING:
            _refuse_unequal(f"{key} of {name}", task[key], tasks_b[name][key])


def _refuse_unequal(what: str, a: object, b: object) -> None:
    if a != b:
        raise DataError(
            f"these numbers do not compare: {what} is {a} in the first and {b} in the second; evaluate alike"
        )


def _paired(task: str, a: pa.Table, b: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Both in the order of the first, known to ask the same."""
    place = {query: row for row, query in enumerate(b["query"].to_pylist())}
    ids = a["query"].to_pylist()
    alone = [query for query in ids if query not in place] + sorted(place.keys() - set(ids))
    if alone or len(place) != len(ids) or len(b) != len(ids):
        first = ", ".join(alone[:NAMED]) + (", ..." if len(alone) > NAMED else "")
        raise DataError(f"{task}: {len(alone):,} queries are not in both results ({first}); evaluate both alike")
    b = b.take([place[query] for query in ids])
    for column in ("reference", "targets"):
        both = zip(ids, a[column].to_pylist(), b[column].to_pylist(), strict=True)
        other = next((query for query, mine, its in both if mine != its), None)
        if other is not None:
            raise DataError(
                f"{task}: query {other} has another {column.removesuffix('s')} in the second result; the annotations "
                "differ, so the numbers do not compare"
            )
    return a, b


def _values(rows: pa.Table, name: str) -> NDArray[np.float64]:
    if name not in rows.column_names:
        raise DataError(f"one of the results does not hold {name} for each query; evaluate it again")
    return rows[name].to_numpy().astype(np.float64)


def _difference(task: str, name: str, a: NDArray[np.float64], b: NDArray[np.float64]) -> Difference:
    applies = ~np.isnan(a)
    return Difference(
        task,
        name,
        int(applies.sum()),
        float(np.nanmean(100 * a)),
        float(np.nanmean(100 * b)),
        paired_test(100 * a, 100 * b),
    )


def _notes(a: Mapping[str, Any], b: Mapping[str, Any], count: int) -> Iterator[str]:
    if a["partial"]:
        yield "both are partial: pictures were missing"
    for mine, its in zip(a["tasks"], b["tasks"], strict=True):
        for key in CHOICES:
            if mine[key] != its[key]:
                yield f"{mine['name']}: {key} is {mine[key]!r} in the first and {its[key]!r} in the second"
    if count > 1:
        yield f"{count} differences are tested: by chance alone about one in twenty has p < {LEVEL}"
