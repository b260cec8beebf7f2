"""From a run to numbers: every metric for every query, means with intervals, and the papers' averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from composir import metrics
from composir.errors import ComposirError
from composir.evaluation.averages import shares
from composir.evaluation.runs import Run
from composir.types import Task

Values = dict[str, NDArray[np.float64]]  # metric -> (Q,) in 0..1, NaN where it does not apply to a query


@dataclass(frozen=True, slots=True)
class Score:
    """A metric in per cent: the mean over queries and its 95 % bootstrap interval over queries."""

    value: float
    low: float
    high: float


def per_query(run: Run, task: Task) -> Values:
    """Every metric of the task, one value in 0..1 for each query; NaN where it does not apply to a query.

    "mAP@10/*" gives one metric for each aspect that any query has, "mAP@10/negation", over the queries that have it.

    Raises:
        ComposirError: A metric that is unknown or that the run cannot give.
    """
    values: Values = {}
    for name in task.metrics:
        values |= _metric(name, run, task)
    return values


def _metric(name: str, run: Run, task: Task) -> Values:
    kind, _, rest = name.partition("@")
    cutoff, _, aspect = rest.partition("/")
    known = {"R": run.ranks, "Recall": run.target_ranks[:, 0], "Rs": run.subset_ranks, "mAP": run.ranks}
    ranks = known.get(kind)
    if ranks is None or not cutoff.isdecimal() or cutoff == "0":
        raise ComposirError(
            f"task {task.name!r} asks for {name!r}; known: R@K, Recall@K, mAP@K, and Rs@K where it has subsets, K from "
            "1; with /* behind it one for each aspect"
        )
    k = int(cutoff)
    values = _average_precision(run, k) if kind == "mAP" else metrics.hit_rates(ranks, (k,))[f"R@{k}"]
    values = np.where(ranks > 0, values, np.nan)
    if not aspect:
        return {name: values}
    parts = metrics.per_aspect(values, [query.aspects for query in task.queries])
    return {f"{kind}@{k}/{a}": own for a, own in parts.items() if aspect in ("*", a)}


def _average_precision(run: Run, k: int) -> NDArray[np.float64]:
    ranks = run.target_ranks
    return metrics.average_precision_from_ranks(ranks, np.maximum((ranks > 0).sum(axis=1), 1), k)


def report(run: Run, task: Task) -> dict[str, Score]:
    """Every metric of the task in per cent, with its interval over queries; NaN where it applies to none."""
    return {name: score(values) for name, values in per_query(run, task).items()}


def score(values: NDArray[np.float64]) -> Score:
    """The mean of values in 0..1 and its interval, in per cent; those that are NaN do not count."""
    applying = values[~np.isnan(values)]
    if not len(applying):
        return Score(float("nan"), float("nan"), float("nan"))
    low, high = metrics.bootstrap_interval(applying)
    return Score(100 * float(applying.mean()), 100 * low, 100 * high)


def average(tasks: Sequence[Values], over: Sequence[str]) -> Score:
    """The mean over all tasks of the means over some metrics, in per cent: a paper's "Avg".

    Args:
        tasks: What `per_query` gave for each.
        over: The metrics; each task must have them.

    Returns:
        With the interval that comes from drawing each task's queries anew, all metrics of a query together.
    """
    for values in tasks:
        lacking = [name for name in over if name not in values]
        if lacking:
            raise ComposirError(f"an average over {', '.join(over)} needs {', '.join(lacking)}, which a task lacks")
    per_task = shares(tasks, over)
    if per_task is None:
        return Score(float("nan"), float("nan"), float("nan"))
    low, high = metrics.bootstrap_mean_of_means(per_task)
    return Score(100 * float(np.mean([np.nanmean(own) for own in per_task])), 100 * low, 100 * high)
