"""Score prediction files against the local truth, whoever made them: annotations alone, no pictures, no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from composir import metrics
from composir.errors import ComposirError, DataError
from composir.submission.check import load, problems, require
from composir.submission.doubts import doubts
from composir.submission.formats import Prediction, drops
from composir.submission.truth import Truth, gallery_of
from composir.types import Query, Task

FORMAT = 1
INTERVAL = "95 %, percentile bootstrap over queries, 2,000 draws, seed 0; Wilson's where all queries score 0, or all 1"
UNKNOWN = (
    "method", "controls", "baselines", "backbone", "preprocessing", "gallery_key", "weights", "checkpoint",
    "embeddings", "ties", "versions",
)  # fmt: skip

Lists = Mapping[str, tuple[str, ...]]
Values = dict[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Scored:
    """The files of one task.

    Attributes:
        task: What was asked.
        predictions: The files; two at most, CIRR's.
        values: Metric -> (Q,) one value in 0..1 for each query, NaN where it does not apply.
    """

    task: Task
    predictions: tuple[Prediction, ...]
    values: Values


def score(paths: Sequence[Path], truth: Truth, category: str | None = None) -> list[Scored]:
    """Score files in a benchmark's own submission format.

    Args:
        paths: CIRR's one or two files, CIRCO's one, or FashionIQ's, one a category.
        truth: What they are for.
        category: Of a lone FashionIQ file that tells it neither by its name nor by its records.

    Returns:
        One for each task that has a file, in the data set's order.

    Raises:
        DataError: The truth is hidden; a file cannot be read or does not fit the queries; two files for one thing.
    """
    if any(task.hidden for task in truth.tasks):
        raise DataError(
            f"the targets of {truth.dataset.name} {truth.split} are not public; score another split, or check the "
            "file with `composir submit --check` and send it to the benchmark's server"
        )
    if category is not None and len(paths) > 1:
        raise ComposirError(f"--category {category} names one file's category; give one file, not {len(paths)}")
    grouped: dict[str, dict[str, Prediction]] = {task.name: {} for task in truth.tasks}
    for path in paths:
        task, prediction = load(path, truth, category)
        other = grouped[task.name].setdefault(prediction.kind, prediction)
        if other is not prediction:
            raise DataError(f"{other.path} and {path} both answer {task.name} ({prediction.kind}); give one of them")
        require(problems(prediction, task, truth, exact=False), path)
    files = {name: tuple(kinds.values()) for name, kinds in grouped.items()}
    return [Scored(t, files[t.name], per_query(t, files[t.name])) for t in truth.tasks if files[t.name]]


def per_query(task: Task, predictions: Sequence[Prediction]) -> Values:
    """Every metric of the task that the files give, one value in 0..1 for each query, NaN where it does not apply."""
    ranks = {prediction.kind == "recall_subset": _ranks(task.queries, prediction.lists) for prediction in predictions}
    values: Values = {}
    for name in task.metrics:
        within = name.startswith("Rs@")
        if within in ranks:
            values |= _metric(name, ranks[within], task)
    return values


def result(scored: Sequence[Scored], truth: Truth, options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What `composir score --json` prints: a result as of `composir eval`, with files in place of a method.

    Args:
        scored: What `score` gave.
        truth: What was asked.
        options: What the data set was opened with beside its folder, for the record.
    """
    averages, lacking = _averages(scored, truth)
    files = [_file(prediction, one.task) for one in scored for prediction in one.predictions]
    root = getattr(truth.dataset, "root", None)
    return {
        "format": FORMAT,
        "method": ", ".join(Path(file["path"]).name for file in files),
        "protocol": {
            "data": truth.dataset.title,
            "split": truth.split,
            "tasks": [_protocol(one) for one in scored],
            # What only the maker of the files knows.
            **dict.fromkeys(UNKNOWN),
            "files": files,
            "partial": False,
            "missing": {"images": 0, "queries": 0, "image_ids": {}, "query_ids": {}, "unlisted": ""},
            "intervals": INTERVAL,
        },
        "tasks": [_told(one) for one in scored],
        **averages,
        "baselines": {},
        "warnings": [warning for one in scored for warning in doubts(one.task, one.predictions)] + lacking,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {
            "name": truth.dataset.name,
            "root": None if root is None else str(Path(root).expanduser().resolve()),
            "split": truth.split,
            "arguments": dict(options or {}),
        },
    }


def _ranks(queries: Sequence[Query], lists: Lists) -> NDArray[np.int64]:
    """(Q, M): the rank of each target of each query; 0 where it is not named, and behind the last."""
    ranks = np.zeros((len(queries), max(len(query.targets) for query in queries)), np.int64)
    for row, query in zip(ranks, queries, strict=True):
        place = {name: rank for rank, name in enumerate(lists[query.id], start=1)}
        row[: len(query.targets)] = [place.get(target, 0) for target in query.targets]
    return ranks


def _metric(name: str, ranks: NDArray[np.int64], task: Task) -> Values:
    kind, _, rest = name.partition("@")
    cutoff, _, aspect = rest.partition("/")
    k = int(cutoff)
    if kind == "mAP":
        counts = np.array([len(query.targets) for query in task.queries])
        values = metrics.average_precision_from_ranks(ranks, counts, k)
    else:
        best = metrics.best_rank(ranks) if kind == "R" else ranks[:, 0]
        values = metrics.hit_rates(best, (k,))[f"R@{k}"]
    if not aspect:
        return {name: values}
    parts = metrics.per_aspect(values, [query.aspects for query in task.queries])
    return {f"{kind}@{k}/{a}": own for a, own in parts.items() if aspect in ("*", a)}


def _told(scored: Scored) -> dict[str, Any]:
    """Means and intervals in per cent; whether targets tied a file does not tell."""
    return {
        "name": scored.task.name,
        "metrics": {name: 100 * float(np.nanmean(values)) for name, values in scored.values.items()},
        "intervals": {name: _percent(metrics.bootstrap_interval(own)) for name, own in scored.values.items()},
        "counts": {name: int((~np.isnan(own)).sum()) for name, own in scored.values.items()},
        "queries": len(scored.task.queries),
        "gallery": len(scored.task.gallery) if gallery_of(scored.task) else None,
        "tied": None,
        "partial": False,
    }


def _averages(scored: Sequence[Scored], truth: Truth) -> tuple[dict[str, Any], list[str]]:
    """The papers' averages over all tasks with their intervals, and for each that the files do not give, why."""
    means, intervals, lacking = {}, {}, []
    absent = [task.name for task in truth.tasks if task.name not in {one.task.name for one in scored}]
    for name, over in truth.dataset.averages.items():
        short = [metric for metric in over if any(metric not in one.values for one in scored)]
        if absent or short:
            of = f"the files of {', '.join(absent)}" if absent else f"{', '.join(short)}, of CIRR's other file"
            lacking.append(f"no {name!r}: it needs {of}")
        else:
            per_task = [np.mean([one.values[metric] for metric in over], axis=0) for one in scored]
            means[name] = 100 * float(np.mean([own.mean() for own in per_task]))
            intervals[name] = _percent(metrics.bootstrap_mean_of_means(per_task))
    return {"average": means, "average_intervals": intervals}, lacking


def _percent(ends: tuple[float, float]) -> list[float]:
    return [100 * end for end in ends]


def _protocol(scored: Scored) -> dict[str, Any]:
    """How a task is asked, as `composir eval` tells it; how its texts were read only the maker of the files knows."""
    task = scored.task
    ids = hashlib.sha256("\n".join(task.gallery).encode()).hexdigest()
    known = {"size": len(task.gallery), "ids": ids[:16]} if gallery_of(task) else {"size": None, "ids": None}
    return {
        "name": task.name,
        "gallery": {"name": task.gallery_name, **known},
        "queries": len(task.queries),
        "drop_reference": any(drops(prediction, task) for prediction in scored.predictions),
        "own_candidates": task.own_candidates,
        "caption_join": None,
        "prompt": None,
        "shared_concept": None,
    }


def _file(prediction: Prediction, task: Task) -> dict[str, str]:
    with prediction.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"path": str(prediction.path), "sha256": digest, "task": task.name, "kind": prediction.kind}
