"""Folders of `composir eval`, read for a report: those over the same data side by side, each method once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from composir.errors import DataError
from composir.evaluation.comparison import BINDING
from composir.evaluation.results import Result, load_result
from composir.reporting.runs import Entry, Run, Scores, Section


def read_sections(folders: Sequence[Path]) -> list[Section]:
    """Read runs and put those together that asked the same, in the order they come; a folder named twice counts once.

    What a data set was opened with does not matter, only what came of it: an option that is spelled out though it is
    the default keeps no two runs apart.

    Raises:
        DataError: A folder is no evaluation, or its files are malformed or contradict each other.
    """
    groups: list[list[tuple[Run, list[Entry]]]] = []
    once = list({folder.resolve(): folder for folder in folders}.values())
    for name, folder in zip(_names(once), once, strict=True):
        result = load_result(folder)
        try:
            group = next((g for g in groups if all(_asked_alike(run.result, result) for run, _ in g)), [])
            if not group:
                groups.append(group)
            run = Run(name, len(group) + 1, result)
            group.append((run, list(_entries_of(run))))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(
                f"{folder}: result.json is not as `composir eval` writes it ({error!r}); evaluate again"
            ) from error
    return [
        Section(
            found[0][0].result.content["data"],
            tuple(run for run, _ in found),
            _each_once([entry for _, entries in found for entry in entries]),
        )
        for found in groups
    ]


def _asked_alike(one: Result, other: Result) -> bool:
    """Whether two results have one protocol; what pictures a partial one lacks is not held against it."""
    a, b = one.content["protocol"], other.content["protocol"]
    # Sets of one reader, such as plain JSONL, differ by their titles alone.
    if (one.content["data"]["name"], a["data"], a["split"]) != (other.content["data"]["name"], b["data"], b["split"]):
        return False
    shrinks = ("gallery", "queries") if a["partial"] or b["partial"] else ()
    keys = [key for key in BINDING if key not in shrinks]
    of_a, of_b = ({task["name"]: task for task in side["tasks"]} for side in (a, b))
    return of_a.keys() == of_b.keys() and all(
        task["gallery"]["name"] == of_b[name]["gallery"]["name"] and all(task[k] == of_b[name][k] for k in keys)
        for name, task in of_a.items()
    )


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names, with as many of their parents as tell them apart."""
    parts, depth = [folder.resolve().parts for folder in folders], 1
    while len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return ["/".join(part[-depth:]) for part in parts]


def _each_once(found: Sequence[Entry]) -> tuple[Entry, ...]:
    """Evaluated methods first, then baselines; what several runs share stands once."""
    kept: list[Entry] = []
    for entry in sorted(found, key=lambda entry: entry.baseline):
        if not any(entry.equals(other) for other in kept):
            kept.append(entry)
    names = [entry.method for entry in kept]
    return tuple(
        entry if names.count(entry.method) == 1 else replace(entry, label=f"{entry.method} · run {entry.run.place}")
        for entry in kept
    )


def _entries_of(run: Run) -> Iterator[Entry]:
    asked = {task["name"]: task for task in run.protocol.get("tasks", ())}
    for method in run.result.methods:
        block = run.result.scores(method)
        tasks = {task["name"]: _scores(run, method, task, asked.get(task["name"], {})) for task in block["tasks"]}
        baseline = method != run.result.method
        intervals = _known(block.get("average_intervals", {}))
        yield Entry(run, method, method, baseline, tasks, block["average"], intervals)


def _scores(run: Run, method: str, task: Mapping[str, Any], protocol: Mapping[str, Any]) -> Scores:
    rows = run.rows(method, task["name"])
    if len(rows) != task["queries"]:
        raise DataError(
            f"{run.name}: queries.parquet has {len(rows):,} rows of {method!r} in {task['name']!r}, result.json counts "
            f"{task['queries']:,} queries; evaluate again"
        )
    names = [name for name in task["metrics"] if name in rows.column_names]
    return Scores(
        metrics=task["metrics"],
        intervals=_known(task["intervals"]),
        queries=task["queries"],
        gallery=task["gallery"],
        tied=task["tied"],
        protocol=protocol,
        asked=_fingerprint(rows.select(["query", "reference", "targets"])),
        ranks=rows["rank"].to_numpy().astype(np.int64),
        values={name: rows[name].cast(pa.float64()).to_numpy() for name in names},
    )


def _fingerprint(rows: pa.Table) -> str:
    return hashlib.sha256(json.dumps(rows.to_pylist(), ensure_ascii=True).encode()).hexdigest()


def _known(intervals: Mapping[str, Sequence[float] | None]) -> dict[str, tuple[float, float]]:
    return {name: (interval[0], interval[1]) for name, interval in intervals.items() if interval is not None}
