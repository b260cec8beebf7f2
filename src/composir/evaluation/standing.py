"""How one method stands in all tasks, and how that is told: the blocks of result.json, and what to beware of."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from composir.evaluation.gaps import caveat
from composir.evaluation.rows import rows_of
from composir.evaluation.runs import Run
from composir.evaluation.scoring import Score, Values, average, score
from composir.types import Task

ALIKE = 0.5  # share of tied queries from which on a method is said not to tell pictures apart


@dataclass
class Standing:
    """One method in every task.

    Attributes:
        name: Of the method.
        values: What each query scored, a task each.
        tied: Queries whose best target ties with a picture that is none, a task each.
        rows: What queries.parquet holds of it, a task each.
    """

    name: str
    values: list[Values] = field(default_factory=list)
    tied: list[int] = field(default_factory=list)
    rows: list[pa.Table] = field(default_factory=list)

    def add(self, task: Task, run: Run, values: Values) -> None:
        """Take in the next task."""
        self.values.append(values)
        self.tied.append(int((run.ties > 0).sum()))
        self.rows.append(rows_of(self.name, task, run, values))


def told(
    standing: Standing, tasks: Sequence[Task], averages: Mapping[str, Sequence[str]], partial: bool
) -> dict[str, Any]:
    """{"tasks", "average", "average_intervals"} in per cent; null where a metric applies to no query."""
    blocks = []
    for task, values, tied in zip(tasks, standing.values, standing.tied, strict=True):
        scores = {name: score(own) for name, own in values.items()}
        blocks.append(
            {
                "name": task.name,
                "metrics": {name: _value(of) for name, of in scores.items()},
                "intervals": {name: _interval(of) for name, of in scores.items()},
                "counts": {name: int((~np.isnan(own)).sum()) for name, own in values.items()},
                "queries": len(task.queries),
                "gallery": len(task.gallery),
                "tied": tied,
                "partial": partial,
            }
        )
    means = {name: average(standing.values, over) for name, over in averages.items()}
    return {
        "tasks": blocks,
        "average": {name: _value(of) for name, of in means.items()},
        "average_intervals": {name: _interval(of) for name, of in means.items()},
    }


def warnings(standings: Mapping[str, Standing], tasks: Sequence[Task], missing: Mapping[str, Any] | None) -> list[str]:
    """What a reader of the numbers has to know: that they are partial, and that targets tie."""
    found = []
    if missing is not None:
        found.append(caveat(missing))
    for place, task in enumerate(tasks):
        tied = {name: standing.tied[place] for name, standing in standings.items() if standing.tied[place]}
        count = len(task.queries)
        if tied:
            per_method = ", ".join(f"{name} {number:,}" for name, number in tied.items())
            found.append(
                f"{task.name}: of {count:,} queries so many have a target that ties with another picture, and then "
                f"the order of the gallery decides: {per_method}"
            )
        found += [
            f"{task.name}: {name} hardly tells pictures apart ({number:,} of {count:,} targets tie): its numbers are "
            "those of the gallery's order, not of the method"
            for name, number in tied.items()
            if number >= ALIKE * count
        ]
    return found


def _value(of: Score) -> float | None:
    return None if math.isnan(of.value) else of.value


def _interval(of: Score) -> list[float] | None:
    return None if math.isnan(of.value) else [of.low, of.high]
