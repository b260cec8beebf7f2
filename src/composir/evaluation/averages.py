"""The papers' averages: what they are made of, and what each query adds to them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from composir.datasets.base import Dataset
from composir.errors import ComposirError
from composir.plugins import classes_in, load_object


def made_of(data: str) -> Mapping[str, tuple[str, ...]]:
    """The averages of a data set by name, each with its metrics; none where its class cannot be had any more.

    Args:
        data: A plug-in name, or "package.module:Class".
    """
    try:
        kind = load_object(data if ":" in data else classes_in("composir.datasets").get(data, ":"), "data set")
    except ComposirError:
        return {}
    return kind.averages if isinstance(kind, type) and issubclass(kind, Dataset) else {}


def shares(tasks: Sequence[Mapping[str, NDArray[np.float64]]], over: Sequence[str]) -> list[NDArray[np.float64]] | None:
    """What each query adds to an average: for each task (Q,) values whose mean is the mean of its metrics' means.

    All metrics of a query stay together, for they are not independent; the average is the mean of the tasks' means.

    Args:
        tasks: For each, metric -> (Q,) values, NaN where it does not apply to a query.
        over: The metrics that are averaged; each task must have them.

    Returns:
        NaN for a query to which none applies; None where a metric applies to no query of a task.
    """
    found = []
    for values in tasks:
        own = np.stack([values[name] for name in over])
        applies = ~np.isnan(own)
        counts, some = applies.sum(axis=1, keepdims=True), applies.any(axis=0)
        if not counts.all():
            return None
        # The share of a query to which a metric does not apply is handed on to those to which it does.
        mean = np.mean(np.where(applies, own, 0.0) * (some.sum() / counts), axis=0)
        found.append(np.where(some, mean, np.nan))
    return found
