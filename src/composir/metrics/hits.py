"""R@K, Rs@K, Recall@K and CIRCO's mAP@K, query by query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FAR = np.iinfo(np.int64).max


def best_rank(ranks: NDArray[np.integer]) -> NDArray[np.int64]:
    """(Q,) the rank of each query's best target, 0 where it has none, from the (Q, M) ranks of all, padded with 0."""
    best = _far_for_none(ranks).min(axis=1, initial=FAR)
    return np.where(best == FAR, 0, best)


def hit_rates(ranks: NDArray[np.integer], cutoffs: Sequence[int], name: str = "R") -> dict[str, NDArray[np.float64]]:
    """R@K of each query: 1 where the (best) target's rank is at most K. A hit rate, as the field uses the name.

    Args:
        ranks: (Q,), from 1; 0, which stands for a target that was not found, is no hit.
        cutoffs: Values of K.
        name: "R"; "Rs" for ranks within CIRR's subset, "Recall" for those of the annotated target alone.
    """
    return {f"{name}@{k}": ((ranks >= 1) & (ranks <= k)).astype(np.float64) for k in cutoffs}


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


def average_precision_from_ranks(
    ranks: NDArray[np.integer], counts: NDArray[np.integer], k: int
) -> NDArray[np.float64]:
    """`average_precision` where the ranks of all targets are known: the j-th best of them has precision j / rank.

    Args:
        ranks: (Q, M) rank of each target, in any order; 0 where there is none or it was not found.
        counts: (Q,) number of targets, 1 or more.
        k: The cut-off; no number of kept answers limits it.
    """
    ascending = np.sort(_far_for_none(ranks), axis=1)
    precision = np.arange(1, ascending.shape[1] + 1) / ascending
    return np.where(ascending <= k, precision, 0).sum(axis=1) / np.minimum(counts, k)


def _far_for_none(ranks: NDArray[np.integer]) -> NDArray[np.int64]:
    # As int64 before: NumPy would wrap FAR around in a narrower type without a word.
    return np.where(ranks > 0, ranks.astype(np.int64), FAR)


def per_aspect(values: NDArray[np.float64], aspects: Sequence[Sequence[str]]) -> dict[str, NDArray[np.float64]]:
    """A metric split by the kinds that queries belong to, in alphabetical order.

    Args:
        values: (Q,) one value a query.
        aspects: The kinds of each query; one may have several, or none.

    Returns:
        For each kind (Q,) values, NaN for the queries that are not of it.
    """
    found = sorted({aspect for own in aspects for aspect in own})
    return {a: np.where([a in own for own in aspects], values, np.nan) for a in found}
