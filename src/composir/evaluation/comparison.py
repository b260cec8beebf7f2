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
from composir.evaluation.averages import made_of, shares
from composir.evaluation.results import Result
from composir.metrics import PairedTest, paired_mean_of_means
from composir.nouns import counted
from composir.plugins import nearest

LEVEL = 0.05
ALL = "all tasks"  # in place of a task's name, where a difference is one of the papers' averages
NAMED = 5
# Of a task: where these differ, a metric of one name measures two things.
BINDING = ("gallery", "drop_reference", "own_candidates", "queries")
# Choices of a method that do not keep its numbers from being compared, but should be known.
CHOICES = ("caption_join", "prompt", "shared_concept")


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of one task, or one average over all: two numbers in per cent over the same queries.

    Attributes:
        task: Its name, or `ALL`.
        metric: Its name, or that of the average.
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
        test, p = self.test, f"randomization p = {self.test.p_randomization:.2g}"
        if not test.wins and not test.losses:
            return f"{self.task} {self.metric}: {a} and {b} agree on every query"
        if not test.difference:
            return f"{self.task} {self.metric}: {a} and {b} are equal on average, not on every query"
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
    """Pair two methods by task and query, and test every metric and the papers' averages over all tasks.

    Args:
        a: One result.
        b: The other; it may be the same, for two of its methods.
        method_a: Which of its methods; the evaluated one if not given.
        method_b: Likewise.
        metrics: Which, averages among them; all if none are named.

    Raises:
        UnknownNameError: A method or metric that a result does not have.
        DataError: The two do not measure the same thing: another data set, split, gallery, treatment of the reference,
            one of them partial, or queries that are not in both; the difference is named.
    """
    of_a, of_b = _rows(a, method_a), _rows(b, method_b)
    _refuse_unlike(a.content["protocol"], b.content["protocol"])
    known = made_of(a.content["data"]["name"])
    averages = {name: known[name] for name in a.content["average"] if name in known}
    names = list(dict.fromkeys(name for task in a.content["tasks"] for name in task["metrics"]))
    for name in metrics:
        if name not in (*names, *averages):
            raise nearest(name, (*names, *averages), "metric of these results:")
    found: list[Difference] = []
    tasks = []
    for task in a.content["tasks"]:
        rows = [side.filter(pc.field("task") == task["name"]) for side in (of_a, of_b)]
        pair = _paired(task["name"], *rows)
        tasks.append(pair)
        found += [
            _difference(task["name"], name, *([_values(side, name)] for side in pair))
            for name in task["metrics"]
            if not metrics or name in metrics
        ]
    for name, over in averages.items():
        if not metrics or name in metrics:
            sides = [shares([{m: _values(pair[i], m) for m in over} for pair in tasks], over) for i in (0, 1)]
            if sides[0] is not None and sides[1] is not None:
                found.append(_difference(ALL, name, sides[0], sides[1]))
    notes = list(_notes(a.content["protocol"], b.content["protocol"], len(found)))
    notes += [
        f"{n!r} is not tested: it is not known what it is made of" for n in a.content["average"] if n not in known
    ]
    return Comparison(tuple(found), tuple(notes), bool(a.content["protocol"]["partial"]))


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
        lonely = counted(len(alone), "query is", "queries are")
        raise DataError(f"{task}: {lonely} not in both results ({first}); evaluate both alike")
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


def _difference(task: str, name: str, a: Sequence[NDArray[np.float64]], b: Sequence[NDArray[np.float64]]) -> Difference:
    """Of one task's values, or of all tasks' for an average."""
    test = paired_mean_of_means([100 * own for own in a], [100 * own for own in b])
    first, second = (float(np.mean([np.nanmean(100 * own) for own in side])) for side in (a, b))
    return Difference(task, name, sum(int((~np.isnan(own)).sum()) for own in a), first, second, test)


def _notes(a: Mapping[str, Any], b: Mapping[str, Any], count: int) -> Iterator[str]:
    if a["partial"]:
        yield "both are partial: pictures were missing"
    for mine, its in zip(a["tasks"], b["tasks"], strict=True):
        for key in CHOICES:
            if mine[key] != its[key]:
                yield f"{mine['name']}: {key} is {mine[key]!r} in the first and {its[key]!r} in the second"
    if count > 1:
        yield f"{count} differences are tested: by chance alone about one in twenty has p < {LEVEL}"
