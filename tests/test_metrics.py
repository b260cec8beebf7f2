"""Metrics against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.metrics import average_precision, bootstrap_interval, hit_rates


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.lists(st.integers(1, 30), min_size=1, max_size=4))
def test_hit_rates_are_the_loop(ranks, cutoffs):
    got = hit_rates(np.array(ranks), cutoffs)
    assert set(got) == {f"R@{k}" for k in cutoffs}
    for k in cutoffs:
        assert got[f"R@{k}"].tolist() == [1.0 if rank <= k else 0.0 for rank in ranks]


def test_hit_rates_bear_their_name():
    got = hit_rates(np.array([1, 2, 3, 4]), (1, 3), name="Rs")
    assert {name: values.mean() for name, values in got.items()} == {"Rs@1": 0.25, "Rs@3": 0.75}


def slow_average_precision(relevant: list[bool], count: int, k: int) -> float:
    total = 0.0
    for i in range(min(k, len(relevant))):
        if relevant[i]:
            total += sum(relevant[: i + 1]) / (i + 1)
    return total / min(count, k)


@st.composite
def rankings(draw):
    """Right answers among the first `width`, and how many targets there are: no fewer than were found."""
    queries, width, k = draw(st.integers(1, 5)), draw(st.integers(1, 12)), draw(st.integers(1, 15))
    relevant = [draw(st.lists(st.booleans(), min_size=width, max_size=width)) for _ in range(queries)]
    counts = [max(1, sum(row)) + draw(st.integers(0, 5)) for row in relevant]
    return relevant, counts, k


@given(rankings())
def test_average_precision_is_the_loop(ranking):
    relevant, counts, k = ranking
    got = average_precision(np.array(relevant), np.array(counts), k)
    expected = [slow_average_precision(row, count, k) for row, count in zip(relevant, counts, strict=True)]
    assert got == pytest.approx(expected, abs=1e-12)
    assert (got >= 0).all()
    assert (got <= 1).all()


def test_average_precision_by_hand():
    relevant = np.array([[True, False, True, False, True]])
    assert average_precision(relevant, np.array([3]), 5)[0] == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    # CIRCO's form: the divisor is min(targets, K), not the number of targets.
    assert average_precision(relevant, np.array([9]), 2)[0] == pytest.approx(1 / 2)
    assert average_precision(np.ones((1, 5), bool), np.array([9]), 5)[0] == 1


def test_interval_of_equal_values_is_a_point():
    assert bootstrap_interval(np.full(50, 0.3)) == pytest.approx((0.3, 0.3))


def test_interval_repeats_and_grows_with_its_level():
    values = np.random.default_rng(0).random(200)
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values) != bootstrap_interval(values, seed=1)
    low, high = bootstrap_interval(values, level=0.5)
    wider_low, wider_high = bootstrap_interval(values, level=0.99)
    assert wider_low < low < values.mean() < high < wider_high
    # Theory: the mean's standard error times the normal quantiles 0.674 and 2.576. Within 15 %: 2000 draws put the
    # 0.5 % quantile within some 7 %.
    error = values.std() / np.sqrt(200)
    assert high - low == pytest.approx(2 * 0.674 * error, rel=0.15)
    assert wider_high - wider_low == pytest.approx(2 * 2.576 * error, rel=0.15)


def test_interval_covers_the_truth_as_often_as_it_says():
    """200 experiments of 80 coin tosses at 0.3: 95 % intervals hold 0.3 in 190, give or take 3.1 (binomial deviation).

    The percentile interval of a proportion is known to be a little short at this size (about 94 %), hence four
    deviations below, three above.
    """
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(200):
        low, high = bootstrap_interval((rng.random(80) < 0.3).astype(np.float64), draws=300)
        held += low <= 0.3 <= high
    assert 177 <= held <= 199
