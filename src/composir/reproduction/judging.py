"""A result against its row of the matrix: what is out of its tolerance, and what a row is recorded as. Torch-free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from composir.evaluation.comparison import BINDING
from composir.reproduction.matrix import ALL, Row, Scores

FLIPS = 2  # queries in which two pictures may change places by rounding on another processor


def differences(row: Row, content: Mapping[str, Any]) -> list[str]:
    """What of a result is not as recorded, in words; empty where all is.

    Args:
        row: With what is expected.
        content: As in result.json.
    """
    return [*_asked_otherwise(row, content), *_beyond(row.expected, scores_of(content))]


def recorded(row: Row, content: Mapping[str, Any]) -> Row:
    """The row with what a result gives as what is expected from now on.

    The tolerance of a metric is what `FLIPS` queries can change of it: a hit each, or half of an average precision (two
    neighbours that change places). Metrics by aspect are left out: they are means over few queries.
    """
    counts = {task["name"]: task["counts"] for task in content["tasks"]}
    counts[ALL] = dict.fromkeys(content["average"], min(task["queries"] for task in content["tasks"]))
    expected = {
        method: {
            task: {
                metric: (round(value, 4), round((50 if "mAP@" in metric else 100) * FLIPS / counts[task][metric], 4))
                for metric, value in own.items()
                if value is not None and "/" not in metric
            }
            for task, own in tasks.items()
        }
        for method, tasks in scores_of(content).items()
    }
    asked = {task["name"]: {key: task[key] for key in BINDING} for task in content["protocol"]["tasks"]}
    made = {
        "composir": content["protocol"]["versions"]["composir"],
        "weights": content["protocol"]["weights"],
        "created": content["created"],
    }
    return replace(row, expected=expected, asked=asked, recorded=made)


def scores_of(content: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Method -> task, or `ALL` for the averages -> metric -> per cent."""
    blocks = {content["method"]: content, **content["baselines"]}
    return {
        method: {
            **{task["name"]: task["metrics"] for task in block["tasks"]},
            **({ALL: block["average"]} if block["average"] else {}),
        }
        for method, block in blocks.items()
    }


def _asked_otherwise(row: Row, content: Mapping[str, Any]) -> Iterator[str]:
    found = {task["name"]: task for task in content["protocol"]["tasks"]}
    for task, bound in row.asked.items():
        for key, value in bound.items():
            now = found.get(task, {}).get(key)
            if now != value:
                yield f"{task}: {key} is {now}, recorded was {value}: these numbers do not compare"


def _beyond(expected: Scores, found: Mapping[str, Mapping[str, Mapping[str, float | None]]]) -> Iterator[str]:
    for method, tasks in expected.items():
        for task, own in tasks.items():
            for metric, (value, tolerance) in own.items():
                now = found.get(method, {}).get(task, {}).get(metric)
                told = "not measured" if now is None else f"{now:.2f}"
                # Both were rounded to four digits when they were written.
                if now is None or abs(now - value) > tolerance + 1e-4:
                    yield f"{method} {task} {metric} is {told}, expected {value:.2f} ± {tolerance:.2f}"
