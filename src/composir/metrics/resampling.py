"""What chance could have done: bootstrap intervals over queries, and paired tests of two methods on the same ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from composir.errors import ComposirError

CHUNK = 2**21  # numbers drawn at once


@dataclass(frozen=True, slots=True)
class PairedTest:
    """How two methods differ on the same queries, first less second.

    Attributes:
        difference: Mean over queries; of several tasks the mean of their means.
        low: Lower end of its bootstrap interval.
        high: Upper end.
        p_bootstrap: Two-sided: how often resampled queries would move the mean at least this far if it were 0.
        p_randomization: Two-sided: how often swapping the two methods query by query at random (Fisher) would give a
            mean at least as far from 0.
        wins: Queries on which the first is better.
        losses: Queries on which the second is.
        ties: Queries on which they are equal.
    """

    difference: float
    low: float
    high: float
    p_bootstrap: float
    p_randomization: float
    wins: int
    losses: int
    ties: int


def bootstrap_interval(
    values: NDArray[np.float64], level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over queries; (NaN, NaN) where there are none.

    Where all values are 0, or all 1, drawing them again tells nothing: then it is Wilson's interval of a share.

    Args:
        values: (Q,) one value a query; queries with NaN do not count.
        level: Coverage, 0..1.
        draws: Resamples.
        seed: Fixes them.
    """
    return bootstrap_mean_of_means([values], level, draws, seed)


def bootstrap_mean_of_means(
    tasks: Sequence[NDArray[np.float64]], level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of several tasks' means (the papers' "Avg"), each task resampled alone.

    Where within every task all values are 0, or all 1, it is the mean of Wilson's intervals.

    Args:
        tasks: For each (Q,) one value a query, of any Q; queries with NaN do not count. An average over several metrics
            of the same task is taken query by query before: its values are not independent.
        level: Coverage, 0..1.
        draws: Resamples.
        seed: Fixes them.
    """
    known = [values[~np.isnan(values)] for values in tasks]
    if not known or not all(map(len, known)):
        return float("nan"), float("nan")
    if all(values.min() == values.max() and values[0] in (0, 1) for values in known):
        ends = [_wilson(float(values[0]), len(values), level) for values in known]
        return float(np.mean([low for low, _ in ends])), float(np.mean([high for _, high in ends]))
    rng = np.random.default_rng(seed)
    means = np.mean([_resampled_means(values, draws, rng) for values in known], axis=0)
    return _ends(means, level)


def _wilson(share: float, count: int, level: float) -> tuple[float, float]:
    """Wilson's interval of a share that is 0 or 1, out of `count`."""
    spread = NormalDist().inv_cdf((1 + level) / 2) ** 2
    rest = spread / (count + spread)
    return (0.0, rest) if share == 0 else (1 - rest, 1.0)


def paired_test(
    a: NDArray[np.float64], b: NDArray[np.float64], level: float = 0.95, draws: int = 10_000, seed: int = 0
) -> PairedTest:
    """Whether two methods differ on the same queries by more than chance.

    Both p-values count the observed outcome as one of the draws, so that none is ever 0.

    Args:
        a: (Q,) the first method's value for each query.
        b: (Q,) the second's, for the same queries in the same order; NaN for the same ones, which do not count.
        level: Coverage of the interval, 0..1.
        draws: Resamples, and as many random swaps.
        seed: Fixes them.

    Raises:
        ComposirError: Another number of queries or other ones with NaN, or none left.
    """
    return paired_mean_of_means([a], [b], level, draws, seed)


def paired_mean_of_means(
    a: Sequence[NDArray[np.float64]],
    b: Sequence[NDArray[np.float64]],
    level: float = 0.95,
    draws: int = 10_000,
    seed: int = 0,
) -> PairedTest:
    """Whether the means of several tasks' means (the papers' "Avg") of two methods differ by more than chance.

    Every task weighs the same, whatever its size. Queries are drawn anew within each task, and swapped query by query.

    Args:
        a: For each task (Q,) the first method's value for each query, of any Q. An average over several metrics of one
            task is taken query by query before: its values are not independent.
        b: The second's, for the same tasks and queries in the same order; NaN for the same ones, which do not count.
        level: Coverage of the interval, 0..1.
        draws: Resamples, and as many random swaps.
        seed: Fixes them.

    Raises:
        ComposirError: Other tasks, another number of queries or other ones with NaN, or a task with none left.
    """
    if not a or len(a) != len(b):
        raise ComposirError(f"the two sides must score the same tasks, one or more; they score {len(a)} and {len(b)}")
    tasks = [_difference(one, other) for one, other in zip(a, b, strict=True)]
    rng = np.random.default_rng(seed)
    observed = float(np.mean([own.mean() for own in tasks]))
    means = np.mean([_resampled_means(own, draws, rng) for own in tasks], axis=0)
    swapped = np.mean([_swapped_means(own, draws, rng) for own in tasks], axis=0)
    low, high = _ends(means, level)
    every = np.concatenate(tasks)
    return PairedTest(
        observed, low, high,
        p_bootstrap=_beyond(means - observed, observed),
        p_randomization=_beyond(swapped, observed),
        wins=int((every > 0).sum()), losses=int((every < 0).sum()), ties=int((every == 0).sum()),
    )  # fmt: skip


def _difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """First less second, over the queries of one task that have a value."""
    if a.shape != b.shape or bool((np.isnan(a) != np.isnan(b)).any()):
        raise ComposirError(f"the two sides must score the same queries; they score {_known(a)} and {_known(b)}")
    difference = (a - b)[~np.isnan(a)]
    if not len(difference):
        raise ComposirError("no query has a value on both sides; there is nothing to compare")
    # Equal values can differ by rounding once summed in another order.
    difference[np.abs(difference) < 1e-12] = 0
    return difference


def _known(values: NDArray[np.float64]) -> str:
    return f"{int((~np.isnan(values)).sum())} of {len(values)}"


def _ends(means: NDArray[np.float64], level: float) -> tuple[float, float]:
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _beyond(drawn: NDArray[np.float64], observed: float) -> float:
    """Share of draws at least as far from 0 as what was observed, itself among them."""
    return float(1 + (np.abs(drawn) >= abs(observed) - 1e-12).sum()) / (1 + len(drawn))


def _resampled_means(values: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(draws,) means of as many values drawn with replacement.

    Of few distinct values (hits are 0 or 1) only how often each is drawn matters, which is one multinomial number each.
    """
    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if 16 * len(distinct) <= n:
        return rng.multinomial(n, counts / n, draws) @ distinct / n
    means = [values[rng.integers(0, n, (size, n), dtype=np.int32)].mean(axis=1) for size in _sizes(draws, n)]
    return np.concatenate(means)


def _swapped_means(difference: NDArray[np.float64], draws: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(draws,) means with every sign drawn anew; of equal sizes only how many are positive matters."""
    n = len(difference)
    sizes, counts = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    if not len(sizes):
        return np.zeros(draws)
    sums = [(2 * rng.binomial(counts, 0.5, (part, len(sizes))) - counts) @ sizes for part in _sizes(draws, len(sizes))]
    return np.concatenate(sums) / n


def _sizes(draws: int, width: int) -> Iterator[int]:
    """How many draws of `width` numbers to make at once, until all are made."""
    most = max(1, CHUNK // width)
    while draws > 0:
        yield min(most, draws)
        draws -= most
