"""The columns of a leaderboard: values, intervals, and whether a method can be told apart from the column's best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from composir import metrics
from composir.evaluation.averages import made_of, shares
from composir.reporting.runs import Entry, Section

LEVELS = ((0.001, "***"), (0.01, "**"), (0.05, "*"))
AVERAGES = "averages"
DRAWS = 10_000  # of each test


@dataclass(frozen=True)
class Column:
    """One number of every method.

    Attributes:
        group: The task, or `AVERAGES`.
        name: The metric, or the average's name.
        parts: (task, metric) that it is the mean of, every task weighing the same; empty where that is not known.
    """

    group: str
    name: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Test:
    """A method against the best of its column.

    Attributes:
        paired: Difference to the best and its chance, over the queries.
        holm: p of the randomization test, corrected for all comparisons of the column.
    """

    paired: metrics.PairedTest
    holm: float

    @property
    def mark(self) -> str:
        """Stars as `LEVELS` gives them; none where the two are not told apart."""
        return next((mark for level, mark in LEVELS if self.holm < level), "")


@dataclass(frozen=True)
class Cell:
    """One method's number in one column, in per cent.

    Attributes:
        value: None where it was not measured.
        interval: 95 %, or None where it is not known.
        best: Whether no comparable method is higher.
        test: Against the best; None for the best itself and where the two do not compare.
        compared: False where the best answered other queries or other pictures.
    """

    value: float | None
    interval: tuple[float, float] | None = None
    best: bool = False
    test: Test | None = None
    compared: bool = True


def columns(section: Section) -> list[Column]:
    """Every metric of every task but those of aspects, then the averages."""
    found: dict[tuple[str, str], Column] = {}
    for task in section.tasks:
        for entry in section.entries:
            for name in entry.tasks[task].metrics if task in entry.tasks else ():
                if "/" not in name:
                    found.setdefault((task, name), Column(task, name, ((task, name),)))
    averages = made_of(section.data["name"])
    for name in dict.fromkeys(name for entry in section.entries for name in entry.average):
        parts = tuple((task, metric) for task in section.tasks for metric in averages.get(name, ()))
        found[AVERAGES, name] = Column(AVERAGES, name, parts)
    return list(found.values())


def cells(column: Column, entries: Sequence[Entry]) -> list[Cell]:
    """The column's number for each method, tested against the best by Holm's correction."""
    values = [_value(column, entry) for entry in entries]
    ranked = [i for i, value in enumerate(values) if value is not None]
    if not ranked:
        return [Cell(None)] * len(entries)
    # A partial number is no measure for a complete one: its gallery was smaller.
    first = min(ranked, key=lambda i: (entries[i].partial, i))
    level = [i for i in ranked if _comparable(column, entries[first], entries[i])]
    best = max(level, key=lambda i: (values[i] or 0.0, -i))
    tests = _tests(column, entries, best, [i for i in level if i != best])
    return [
        Cell(
            value,
            _interval(column, entries[i]),
            best=i in level and value == values[best],
            test=tests.get(i),
            compared=value is None or i in level,
        )
        for i, value in enumerate(values)
    ]


def _tests(column: Column, entries: Sequence[Entry], best: int, others: Sequence[int]) -> dict[int, Test]:
    top = _per_task(column, entries[best])
    pairs = {i: _per_task(column, entries[i]) for i in others}
    found = {
        i: metrics.paired_mean_of_means(mine, top, draws=DRAWS)
        for i, mine in pairs.items()
        if mine is not None and top is not None
    }
    corrected = holm([test.p_randomization for test in found.values()])
    return {i: Test(test, p) for (i, test), p in zip(found.items(), corrected, strict=True)}


def holm(chances: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p of each comparison, so that the chance of any false mark stays what is said."""
    order = sorted(range(len(chances)), key=lambda i: chances[i])
    corrected, so_far = [0.0] * len(chances), 0.0
    for place, i in enumerate(order):
        so_far = max(so_far, min(1.0, chances[i] * (len(chances) - place)))
        corrected[i] = so_far
    return corrected


def _comparable(column: Column, one: Entry, other: Entry) -> bool:
    tasks = {task for task, _ in column.parts} or one.tasks.keys() | other.tasks.keys()
    return one.partial == other.partial and all(
        task in one.tasks and task in other.tasks and one.tasks[task].same(other.tasks[task]) for task in tasks
    )


def _value(column: Column, entry: Entry) -> float | None:
    if column.group == AVERAGES:
        return entry.average.get(column.name)
    return entry.tasks[column.group].metrics.get(column.name) if column.group in entry.tasks else None


def _interval(column: Column, entry: Entry) -> tuple[float, float] | None:
    if column.group == AVERAGES:
        return entry.average_intervals.get(column.name)
    return entry.tasks[column.group].intervals.get(column.name) if column.group in entry.tasks else None


def _per_task(column: Column, entry: Entry) -> list[NDArray[np.float64]] | None:
    """For each task (Q,) values whose means' mean is the column's number; None where that is not known."""
    tasks = list(dict.fromkeys(task for task, _ in column.parts))
    over = list(dict.fromkeys(metric for _, metric in column.parts))
    values = [entry.tasks[task].values for task in tasks if task in entry.tasks]
    if not tasks or len(values) < len(tasks) or any(metric not in own for own in values for metric in over):
        return None
    return shares(values, over)
