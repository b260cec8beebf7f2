"""Order within a block of scores that are there already: the best columns of each row, and the places of others."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from composir.errors import ComposirError

GROUP = 32  # columns that share a maximum in the search for the k best
WIDE = 1024  # columns from which counting row by row is faster than along an axis


def best_columns(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """(B, k) the columns of the k best of each row's N scores, best first, ties by column.

    The k-th largest of the maxima of disjoint groups of columns is no more than the k-th best score, so that only the
    few columns that reach this bar need sorting.

    Args:
        scores: (B, N).
        k: 1..N.

    Raises:
        ComposirError: A score is NaN.
    """
    rows, n = scores.shape
    size = min(GROUP, n // (4 * k))
    if size < 2:
        _refuse_nan(scores)
        return np.argsort(-scores, axis=1, kind="stable")[:, :k]
    whole = n // size * size
    maxima = np.concatenate([scores[:, :whole].reshape(rows, size, -1).max(axis=1), scores[:, whole:]], axis=1)
    maxima.partition(maxima.shape[1] - k, axis=1)
    highest = maxima[:, -k:]
    _refuse_nan(highest)  # a maximum with NaN is NaN, and NaN comes last
    bar = highest[:, :1]
    reached = scores >= bar
    counts = row_counts(reached)
    # So many reach it only where scores tie, and that may be all of a row: one row at a time.
    for i in np.flatnonzero(counts > 4 * k + GROUP):
        columns = np.flatnonzero(reached[i])
        first = columns[np.argsort(-scores[i, columns], kind="stable")[:k]]
        reached[i] = False
        reached[i, first] = True
        counts[i] = k
    places = np.flatnonzero(reached)
    taken = np.arange(counts.max(initial=0)) < counts[:, None]
    columns, values = np.zeros(taken.shape, np.int64), np.full(taken.shape, np.inf, np.float32)
    columns[taken], values[taken] = places, -scores.reshape(-1)[places]
    order = np.argsort(values, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(columns, order, axis=1) - n * np.arange(rows)[:, None]


def target_places(
    scores: NDArray[np.float32], targets: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The rank of each target under the tie rule of `best_columns`, and what ties with the best one.

    Args:
        scores: (B, N).
        targets: (B, M) columns, or -1 where a row has fewer.

    Returns:
        (B, M) ranks from 1, 0 where there is no target; (B,) columns that are no target and have the best one's score.

    Raises:
        ComposirError: A target's score is not finite.
    """
    real = targets >= 0
    own = np.where(real, np.take_along_axis(scores, targets.clip(min=0), axis=1), np.float32(np.inf))
    if not np.isfinite(own[real]).all():
        raise broken()
    ranks, level = np.zeros(own.shape, np.int32), np.zeros(own.shape, np.int32)
    mask = np.empty(scores.shape, np.bool_)
    for j, mine in enumerate(own.T[:, :, None]):
        ranks[:, j] = 1 + row_counts(np.greater(scores, mine, out=mask))
        level[:, j] = row_counts(np.equal(scores, mine, out=mask))
        # Few scores have equals; only for those it matters where the target stands among them.
        for i in np.flatnonzero(level[:, j] > 1):
            ranks[i, j] += np.count_nonzero(mask[i, : targets[i, j]])
    right = real & (own == np.where(real, own, -np.inf).max(axis=1, keepdims=True, initial=-np.inf))
    ties = np.where(right, level, 0).max(axis=1, initial=0) - right.sum(axis=1)
    return np.where(real, ranks, 0), ties.astype(np.int32)


def row_counts(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(B,) how many are true in each row."""
    if mask.shape[1] < WIDE:
        return mask.sum(axis=1)
    return np.fromiter(map(np.count_nonzero, mask), np.int64, len(mask))


def broken() -> ComposirError:
    """Comparisons with NaN are false, which would put a broken embedding's target on rank 1."""
    return ComposirError("a score is not a number: the embedding of a query or of a gallery image is broken")


def _refuse_nan(scores: NDArray[np.float32]) -> None:
    if math.isnan(scores.max(initial=-np.inf)):
        raise broken()
