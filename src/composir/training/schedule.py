"""Learning-rate schedules: the factor of a step is a function of its number alone, so a resumed run goes on with it."""

from __future__ import annotations

import math
from typing import Literal

Schedule = Literal["cosine", "linear", "onecycle", "constant"]

RISE = 0.3  # share of the steps up to the peak of "onecycle" where no warm-up is given
FIRST, LAST = 1 / 25, 1 / 250_000  # its first and last factor, as in torch's OneCycleLR


def factor(schedule: Schedule, step: int, steps: int, warmup: int) -> float:
    """The learning rate in multiples of its peak.

    "cosine", "linear" and "constant" rise linearly to 1 over `warmup` steps; then they fall to 0 by half a cosine
    (clamped: it stays at 0), fall to 0 in a straight line, or stay. "onecycle" rises from 1/25 by half a cosine,
    reaches 1 at the last of its `warmup` steps and falls to 1/250,000 by another. It is torch's OneCycleLR with
    `cycle_momentum=False`: the betas stay.

    Args:
        schedule: Which.
        step: From 0.
        steps: Of the whole run.
        warmup: 0 or more; for "onecycle" 0 means three tenths of the steps.
    """
    if schedule == "onecycle":
        return _onecycle(step, steps, warmup or max(1, round(RISE * steps)))
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    if schedule == "constant":
        return 1.0
    return 1 - done if schedule == "linear" else _half_cosine(1, 0, done)


def _onecycle(step: int, steps: int, warmup: int) -> float:
    peak, end = warmup - 1, max(warmup, steps - 1)
    if step <= peak:
        return _half_cosine(FIRST, 1, step / peak if peak else 1.0)
    return _half_cosine(1, LAST, min(1.0, (step - peak) / (end - peak)))


def _half_cosine(start: float, end: float, done: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * done))
