"""Retrieval metrics from ranks; numpy only, one value for each query, so that means, intervals and tests come after.

A rank counts from 1; where scores tie, see `similarity.target_ranks`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def hit_rates(ranks: NDArray[np.integer], cutoffs: Sequence[int], name: str = "R") -> dict[str, NDArray[np.float64]]:
    """R@K of each query: 1 where the (best) target's rank is at most K. A hit rate, as the field uses the name.

    Args:
        ranks: (Q,), from 1.
        cutoffs: Values of K.
        name: "R", or "Rs" for ranks within CIRR's subset.
    """
    return {f"{name}@{k}": (ranks <= k).astype(np.float64) for k in cutoffs}


def average_precision(relevant: NDArray[np.bool_], counts: NDArray[np.integer], k: int) -> NDArray[np.float64]:
    """AP@K of each query, CIRCO's form: sum over i <= K of precision@i at right answers, over min(|targets|, K).

    Args:
        relevant: (Q, >= K) whether the answer at each rank is right.
        counts: (Q,) number of targets, 1 or more.
        k: The cut-off.
    """
    hits = relevant[:, :k]
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    return (precision * hits).sum(axis=1) / np.minimum(counts, k)


def bootstrap_interval(
    values: NDArray[np.float64], level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over queries.

    Args:
        values: (Q,) one value a query.
        level: Coverage, 0..1.
        draws: Resamples.
        seed: Fixes them.
    """
    rng = np.random.default_rng(seed)
    means = np.array([values[rng.integers(0, len(values), len(values))].mean() for _ in range(draws)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
