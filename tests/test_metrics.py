"""Metrics of single queries against slow loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.metrics import average_precision, average_precision_from_ranks, best_rank, hit_rates, per_aspect


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


@given(rankings())
def test_average_precision_from_ranks_is_the_loop(ranking):
    """Ranks in any order and 0 for what was not found, cut or not, give what the list of answers gives."""
    relevant, counts, k = ranking
    width = max(counts)
    ranks = np.zeros((len(counts), width), np.int32)
    for own, row in zip(ranks, relevant, strict=True):
        found = [i + 1 for i, right in enumerate(row) if right]
        own[: len(found)] = found[::-1]
    ranks = np.random.default_rng(k).permuted(ranks, axis=1)
    expected = [slow_average_precision(row, count, k) for row, count in zip(relevant, counts, strict=True)]
    assert average_precision_from_ranks(ranks, np.array(counts), k) == pytest.approx(expected, abs=1e-12)


def test_a_target_without_rank_is_no_hit():
    ranks = np.array([[0, 3], [2, 0], [0, 0]])
    assert best_rank(ranks).tolist() == [3, 2, 0]
    assert best_rank(ranks[:, :0]).tolist() == [0, 0, 0]
    assert hit_rates(best_rank(ranks), (2,))["R@2"].tolist() == [0, 1, 0]
    assert average_precision_from_ranks(ranks, np.array([1, 2, 3]), 5).tolist() == [1 / 3, 1 / 4, 0]


def test_aspects_split_a_metric():
    values = np.array([0.5, 1.0, 0.25])
    got = per_aspect(values, [("b", "a"), (), ("b",)])
    assert list(got) == ["a", "b"]
    np.testing.assert_equal(got["a"], [0.5, np.nan, np.nan])
    np.testing.assert_equal(got["b"], [0.5, np.nan, 0.25])
    assert per_aspect(values, [(), (), ()]) == {}
