"""Learning-rate schedules against their formulas, and OneCycle against torch's."""

from __future__ import annotations

import math

import pytest
import torch

from composir.training.schedule import factor


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        (0, 1 / 4), (1, 2 / 4), (3, 1.0),  # a rise that starts above 0 and reaches the peak
        (4, 1.0), (9, 0.5 * (1 + math.cos(math.pi * 5 / 10))), (14, 0.0), (99, 0.0),  # clamped: it never rises again
    ],
)  # fmt: skip
def test_cosine_by_hand(step, expected):
    assert factor("cosine", step, steps=14, warmup=4) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 0.5), (1, 1.0), (2, 1.0), (7, 0.5), (11, 0.1), (12, 0.0), (50, 0.0)]
)
def test_linear_by_hand(step, expected):
    assert factor("linear", step, steps=12, warmup=2) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("step", "expected"), [(0, 0.25), (3, 1.0), (4, 1.0), (999, 1.0)])
def test_constant_by_hand(step, expected):
    assert factor("constant", step, steps=12, warmup=4) == expected


@pytest.mark.parametrize(("steps", "warmup"), [(20, 6), (100, 30), (7, 3), (10, 0)])
def test_onecycle_is_torchs(steps, warmup):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    share = (warmup or round(0.3 * steps)) / steps
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=steps, pct_start=share, cycle_momentum=False
    )
    for step in range(steps):
        assert factor("onecycle", step, steps, warmup) == pytest.approx(theirs.get_last_lr()[0], abs=1e-9)
        optimizer.step()
        if step < steps - 1:
            theirs.step()


@pytest.mark.parametrize("schedule", ["cosine", "linear", "onecycle"])
def test_schedules_rise_then_fall_and_never_end_at_0_before_the_end(schedule):
    factors = [factor(schedule, step, 50, 10) for step in range(50)]
    assert factors[:10] == sorted(factors[:10])
    assert factors[10:] == sorted(factors[10:], reverse=True)
    assert max(factors) == 1
    assert min(factors) > 0


@pytest.mark.parametrize("schedule", ["cosine", "linear", "onecycle", "constant"])
@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 1), (2, 0), (3, 3), (3, 9)])
def test_schedules_of_short_runs_are_finite(schedule, steps, warmup):
    assert all(0 < factor(schedule, step, steps, warmup) <= 1 for step in range(steps))
