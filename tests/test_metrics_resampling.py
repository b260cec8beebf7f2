"""Intervals and paired tests against theory, exact enumeration and slow resampling."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.errors import ComposirError
from composir.metrics import (
    PairedTest,
    bootstrap_interval,
    bootstrap_mean_of_means,
    paired_mean_of_means,
    paired_test,
    resampling,
)


def test_interval_of_equal_values_is_a_point():
    # Wilson's interval at its ends: n / (n + z^2).
    assert bootstrap_interval(np.ones(10)) == pytest.approx((10 / (10 + 1.959964**2), 1))
    assert bootstrap_interval(np.zeros(10)) == pytest.approx((0, 1.959964**2 / (10 + 1.959964**2)))
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


@pytest.mark.parametrize("distinct", [2, 5, 400])
def test_means_are_resampled_as_one_draw_after_the_other_would_be(distinct):
    """Few distinct values are counted, many are drawn one by one: both against the plain loop, by their moments.

    Four standard errors: of a mean of 4000 draws, and of their variance.
    """
    values = np.random.default_rng(5).integers(0, distinct, 400) / distinct
    fast = resampling._resampled_means(values, 4000, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    slow = np.array([rng.choice(values, len(values)).mean() for _ in range(4000)])
    error = values.std() / math.sqrt(len(values))
    for means in (fast, slow):
        assert abs(means.mean() - values.mean()) < 4 * error / math.sqrt(4000)
        assert means.var() == pytest.approx(error**2, rel=4 * math.sqrt(2 / 4000))


def test_queries_without_a_value_do_not_count():
    values = np.array([0.2, 0.9, np.nan, 0.4, np.nan, 0.7])
    assert bootstrap_interval(values) == bootstrap_interval(values[~np.isnan(values)])
    assert all(map(math.isnan, bootstrap_interval(np.full(3, np.nan))))
    assert all(map(math.isnan, bootstrap_interval(np.empty(0))))
    assert all(map(math.isnan, bootstrap_mean_of_means([])))
    assert all(map(math.isnan, bootstrap_mean_of_means([values, np.full(3, np.nan)])))


def test_chunks_of_draws_change_nothing(monkeypatch):
    a, b = np.random.default_rng(0).random((2, 300))
    before = bootstrap_interval(a), paired_test(a, b, draws=500)
    monkeypatch.setattr(resampling, "CHUNK", 2000)
    assert (bootstrap_interval(a), paired_test(a, b, draws=500)) == before


def test_an_average_over_tasks_resamples_each_alone():
    """Independent tasks: the variance of the mean of three means is the sum of theirs over nine."""
    rng = np.random.default_rng(2)
    tasks = [rng.random(400), (rng.random(900) < 0.2).astype(np.float64), rng.random(50) * 3]
    low, high = bootstrap_mean_of_means(tasks, draws=4000)
    mean = np.mean([t.mean() for t in tasks])
    error = math.sqrt(sum(t.var() / len(t) for t in tasks)) / 3
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert bootstrap_mean_of_means(tasks[:1]) == bootstrap_interval(tasks[0])


def test_equal_methods_do_not_differ():
    a = np.random.default_rng(0).random(80)
    assert paired_test(a, a) == PairedTest(0, 0, 0, 1, 1, 0, 0, 80)


def test_values_that_differ_by_rounding_are_equal():
    a = np.full(30, 0.1 + 0.2)
    assert paired_test(a, np.full(30, 0.3)).ties == 30


def test_a_difference_that_is_the_same_everywhere_is_as_sure_as_can_be():
    got = paired_test(np.full(40, 0.75), np.full(40, 0.25), draws=999)
    assert (got.difference, got.low, got.high) == (0.5, 0.5, 0.5)
    assert got.p_bootstrap == got.p_randomization == 1 / 1000
    assert (got.wins, got.losses, got.ties) == (40, 0, 0)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=10))
def test_randomization_is_the_enumeration_of_all_swaps(differences):
    """All 2^Q sign patterns, exactly; 2000 draws stay within four binomial deviations."""
    a = np.array(differences, float)
    swaps = np.array(list(itertools.product((-1, 1), repeat=len(a)))) @ a
    exact = float((np.abs(swaps) >= abs(a.sum()) - 1e-9).mean())
    got = paired_test(a, np.zeros(len(a)), draws=2000)
    assert got.p_randomization == pytest.approx(exact, abs=4 * math.sqrt(0.25 / 2000) + 1 / 2001)
    assert got.wins + got.losses + got.ties == len(a)
    assert (got.wins, got.losses) == (sum(d > 0 for d in differences), sum(d < 0 for d in differences))


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=7), st.lists(st.integers(-3, 3), min_size=1, max_size=4))
def test_an_average_is_swapped_query_by_query_with_every_task_weighing_the_same(large, small):
    """All 2^Q sign patterns over both tasks, one after the other; 2000 draws stay within four binomial deviations."""
    observed = (sum(large) / len(large) + sum(small) / len(small)) / 2
    beyond, patterns = 0, list(itertools.product((-1, 1), repeat=len(large) + len(small)))
    for signs in patterns:
        total = 0.0
        for differences, own in ((large, signs[: len(large)]), (small, signs[len(large) :])):
            mean = 0.0
            for difference, sign in zip(differences, own, strict=True):
                mean += sign * difference / len(differences)
            total += mean / 2
        beyond += abs(total) >= abs(observed) - 1e-9
    tasks = [np.array(large, float), np.array(small, float)]
    got = paired_mean_of_means(tasks, [np.zeros(len(own)) for own in tasks], draws=2000)
    assert got.difference == pytest.approx(observed)
    assert got.p_randomization == pytest.approx(beyond / len(patterns), abs=4 * math.sqrt(0.25 / 2000) + 1 / 2001)
    assert got.wins + got.losses + got.ties == len(large) + len(small)


def test_an_average_is_drawn_anew_within_each_task():
    """Against a loop that draws query after query, task after task; both have 3000 draws.

    Ends of intervals: six standard errors of a 2.5 % quantile (density of the normal there: 0.058 a deviation).
    """
    rng = np.random.default_rng(6)
    a = [rng.random(150), (rng.random(40) < 0.6).astype(float)]
    b = [rng.random(150) * 0.9, (rng.random(40) < 0.45).astype(float)]
    got = paired_mean_of_means(a, b, draws=3000)
    means = []
    for _ in range(3000):
        total = 0.0
        for one, other in zip(a, b, strict=True):
            drawn = [int(rng.integers(len(one))) for _ in range(len(one))]
            total += sum(one[i] - other[i] for i in drawn) / len(one) / 2
        means.append(total)
    observed = sum(
        sum(x - y for x, y in zip(one, other, strict=True)) / len(one) for one, other in zip(a, b, strict=True)
    )
    assert got.difference == pytest.approx(observed / 2)
    spread = np.std(means)
    slack = 6 * spread * math.sqrt(0.025 * 0.975 / 3000) / 0.058
    assert (got.low, got.high) == pytest.approx(np.quantile(means, [0.025, 0.975]), abs=slack)
    beyond = sum(abs(mean - observed / 2) >= abs(observed / 2) for mean in means) / 3000
    # Two shares of 3000 draws each: five deviations of their difference.
    assert got.p_bootstrap == pytest.approx(beyond, abs=5 * math.sqrt(2 * 0.25 / 3000))


def test_an_average_of_one_task_is_that_task():
    a, b = np.random.default_rng(0).random((2, 60))
    assert paired_mean_of_means([a], [b]) == paired_test(a, b)
    for sides in (([], []), ([a], [b, b])):
        with pytest.raises(ComposirError, match="must score the same tasks"):
            paired_mean_of_means(*sides)


def test_sides_change_roles():
    a, b = np.random.default_rng(0).random((2, 100))
    one, other = paired_test(a, b), paired_test(b, a)
    assert (one.difference, one.wins, one.losses) == (-other.difference, other.losses, other.wins)
    assert one.p_randomization == other.p_randomization
    assert one.low == pytest.approx(-other.high)


def test_p_values_are_as_small_as_chance_makes_them():
    """No difference: p below 0.1 in a tenth of 300 experiments, within four deviations (21); a large one: always."""
    rng = np.random.default_rng(4)
    null = [paired_test(*(rng.random((2, 60)) < 0.4).astype(float), draws=300, seed=i) for i in range(300)]
    for name in ("p_bootstrap", "p_randomization"):
        assert sum(getattr(p, name) < 0.1 for p in null) <= 30 + 21
    assert sum(p.p_bootstrap < 0.1 for p in null) >= 9
    ahead = rng.random(200) + 0.2, rng.random(200)
    assert max(paired_test(*ahead).p_bootstrap, paired_test(*ahead).p_randomization) < 0.001


def test_what_was_not_scored_on_both_sides_is_refused():
    a, b = np.array([1.0, np.nan, 0.0]), np.array([1.0, 0.5, 0.0])
    for other in (b, b[:2]):
        with pytest.raises(ComposirError, match="they score 2 of 3 and"):
            paired_test(a, other)
    with pytest.raises(ComposirError, match="nothing to compare"):
        paired_test(np.full(2, np.nan), np.full(2, np.nan))
    assert paired_test(a, np.array([0.0, np.nan, 0.0])).difference == 0.5
