"""What a report is about: runs, the methods they measured, and the sections that put them side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from composir.evaluation.comparison import BINDING
from composir.evaluation.results import Result


@dataclass(frozen=True, eq=False)
class Run:
    """One folder of `composir eval`, the name it has on the page, and its number among those of its section, from 1."""

    name: str
    place: int
    result: Result = field(repr=False)

    @property
    def protocol(self) -> Mapping[str, Any]:
        """Everything its numbers depend on."""
        return self.result.content["protocol"]

    @property
    def partial(self) -> bool:
        """Whether pictures were missing, so that its numbers compare with no complete ones."""
        return bool(self.protocol.get("partial"))

    def rows(self, method: str, task: str) -> pa.Table:
        """What one method answered in one task, query by query."""
        table = self.result.queries
        return table.filter((pc.field("method") == method) & (pc.field("task") == task))

    def ranks(self, method: str, task: str) -> NDArray[np.int64]:
        """(Q,) rank of each query's best placed target, from 1; 0 where the truth is hidden."""
        return self.rows(method, task)["rank"].to_numpy().astype(np.int64)


@dataclass(frozen=True, eq=False)
class Scores:
    """One method in one task.

    Attributes:
        metrics: In per cent by name; None where nothing could be measured.
        intervals: Their 95 % intervals.
        queries, gallery, tied: Counts; `tied` are queries whose target shares its score with a wrong picture.
        protocol: How the task was asked.
        asked: Fingerprint of the queries with their references and targets.
        ranks: (Q,) of the best placed target, from 1; 0 where the truth is hidden.
        values: Metric -> (Q,) in 0..1, NaN where it does not apply.
    """

    metrics: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]
    queries: int
    gallery: int
    tied: int
    protocol: Mapping[str, Any]
    asked: str
    ranks: NDArray[np.int64]
    values: Mapping[str, NDArray[np.float64]]

    def same(self, other: Scores) -> bool:
        """Whether two methods answered the same queries from the same pictures, by the rule of `compare`."""
        alike = all(self.protocol.get(key) == other.protocol.get(key) for key in BINDING)
        return alike and self.gallery == other.gallery and self.asked == other.asked

    @property
    def shared_gallery(self) -> int | None:
        """How many pictures every query was ranked among; None where each has candidates of its own."""
        return None if self.protocol.get("own_candidates") else self.gallery

    def hits(self, k: int) -> NDArray[np.float64]:
        """(Q,) R@k, whether or not it is a metric of the task."""
        return ((self.ranks > 0) & (self.ranks <= k)).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of a leaderboard.

    Attributes:
        run: Where it comes from.
        method: Its name there.
        label: Its name on the page, unlike every other's of the section.
        baseline: Whether it only stands beside the method that was evaluated.
        tasks: Its scores by task.
        average: The papers' summaries, in per cent.
        average_intervals: Their 95 % intervals.
    """

    run: Run
    method: str
    label: str
    baseline: bool
    tasks: Mapping[str, Scores]
    average: Mapping[str, float | None]
    average_intervals: Mapping[str, tuple[float, float]]

    @property
    def partial(self) -> bool:
        """Whether its pictures were incomplete."""
        return self.run.partial

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its arguments as they took effect, and what `compose` was given."""
        if self.baseline:
            return self.run.protocol.get("baselines", {}).get(self.method, {})
        made = self.run.protocol.get("method", {}).get("arguments", {})
        return {**made, **self.run.protocol.get("controls", {})}

    @property
    def name(self) -> str:
        """Its label where there is no room for another word beside it: a partial one says so itself."""
        return f"{self.label} (partial)" if self.partial else self.label

    def short(self, letters: int) -> str:
        """Its name in so many letters: the method's own is cut, not what tells it from others."""
        rest = self.name[len(self.method) :]
        room = max(1, letters - len(rest) - 1)
        return self.name if len(self.name) <= letters else f"{self.method[:room].rstrip()}…{rest}"

    def equals(self, other: Entry) -> bool:
        """Whether both are one method measured twice: the same ranks and values for the same queries."""
        return (
            self.method == other.method
            and self.partial == other.partial
            and self.tasks.keys() == other.tasks.keys()
            and all(_equal(mine, other.tasks[task]) for task, mine in self.tasks.items())
        )


@dataclass(frozen=True, eq=False)
class Section:
    """All runs that asked one data set and split by one protocol; `data` is how the first of them opened it."""

    data: Mapping[str, Any]
    runs: tuple[Run, ...]
    entries: tuple[Entry, ...]

    @property
    def title(self) -> str:
        """What the data set is called."""
        return self.runs[0].protocol["data"]

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What every run opened the data set with; an option that only some spell out is a default."""
        given = [run.result.content["data"].get("arguments") or {} for run in self.runs]
        return {key: value for key, value in given[0].items() if all(own.get(key) == value for own in given)}

    @property
    def tasks(self) -> list[str]:
        """Every task that any run has, in the order they come."""
        return list(dict.fromkeys(task for entry in self.entries for task in entry.tasks))


def _equal(one: Scores, other: Scores) -> bool:
    return (
        one.same(other)
        and bool(np.array_equal(one.ranks, other.ranks))
        and one.values.keys() == other.values.keys()
        and all(np.array_equal(values, other.values[name], equal_nan=True) for name, values in one.values.items())
    )
