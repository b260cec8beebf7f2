"""Which queries a report shows: where a method fails worst, and where it finds what neither half of a query finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from composir.reporting.runs import Entry

HALVES = ("image-only", "text-only")
WORST_RULE = "The target's rank is largest; equal ranks in the order of the data set."
BEST_RULE = (
    "The target is first; shown are those that the picture alone and the words alone rank lowest (the better of the "
    "two ranks counts), then those with the widest margin of score over the best wrong answer."
)
MARGIN_RULE = "The target is first; shown are those with the widest margin of score over the best wrong answer."


@dataclass(frozen=True)
class Pick:
    """One query with its answers.

    Attributes:
        task: Where it is asked.
        place: Its row there.
        rank: Of the best placed target.
        among: Pictures that it was ranked among, the reference counted; None where every query has its own.
        row: As in queries.parquet.
    """

    task: str
    place: int
    rank: int
    among: int | None
    row: Mapping[str, Any]

    @property
    def target(self) -> str:
        """The best placed target; the annotated one where none is among the answers that were kept."""
        targets = self.row["targets"]
        return next((answer for answer in self.row["top"] if answer in targets), targets[0])


def worst(entry: Entry, count: int) -> list[Pick]:
    """Queries by `WORST_RULE`, over all tasks; none whose target is first."""
    found = [
        (-int(rank), order, task, place)
        for order, (task, scores) in enumerate(entry.tasks.items())
        for place, rank in enumerate(scores.ranks)
        if rank > 1
    ]
    return _picked(entry, [(task, place) for _, _, task, place in sorted(found)[:count]])


def best(entry: Entry, count: int) -> tuple[list[Pick], str]:
    """Queries over all tasks, and the rule: `BEST_RULE`, or `MARGIN_RULE` where the run has no halves beside it."""
    halves = [name for name in HALVES if name in entry.run.result.methods and name != entry.method]
    found = []
    for order, (task, scores) in enumerate(entry.tasks.items()):
        firsts = np.flatnonzero(scores.ranks == 1)
        others = [
            ranks for ranks in (entry.run.ranks(name, task) for name in halves) if len(ranks) == len(scores.ranks)
        ]
        lowest = np.min(others, axis=0) if others else np.zeros(len(scores.ranks))
        rows = entry.run.rows(entry.method, task).select(["targets", "top", "scores"]).take(firsts).to_pylist()
        found += [
            (-int(lowest[place]), -_margin(row), order, int(place), task)
            for place, row in zip(firsts, rows, strict=True)
        ]
    picked = _picked(entry, [(task, place) for *_, place, task in sorted(found)[:count]])
    return picked, BEST_RULE if halves else MARGIN_RULE


def _margin(row: Mapping[str, Any]) -> float:
    """How far the first answer is ahead of the best wrong one; of the last, where all that were kept are right."""
    wrong = [score for answer, score in zip(row["top"], row["scores"], strict=True) if answer not in row["targets"]]
    return row["scores"][0] - (wrong[0] if wrong else row["scores"][-1])


def _picked(entry: Entry, places: list[tuple[str, int]]) -> list[Pick]:
    tables = {task: entry.run.rows(entry.method, task) for task in dict.fromkeys(task for task, _ in places)}
    return [
        Pick(task, place, int(scores.ranks[place]), scores.shared_gallery, tables[task].slice(place, 1).to_pylist()[0])
        for task, place in places
        for scores in (entry.tasks[task],)
    ]
