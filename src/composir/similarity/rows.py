"""Gallery rows as a caller names them, checked: one to drop for each query, or a list of any length for each."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from composir.errors import ComposirError


def checked_drop(drop: Sequence[int] | None, q: int, n: int) -> NDArray[np.int64]:
    """(Q,) one row, or -1, for each query.

    Raises:
        ComposirError: Another number of rows than of queries, or one that does not exist.
    """
    if drop is None:
        return np.full(q, -1)
    rows = np.asarray(drop, dtype=np.int64)
    if rows.shape != (q,) or bool(((rows < -1) | (rows >= n)).any()):
        raise ComposirError(f"drop = {list(drop)[:8]} does not fit; one of -1..{n - 1} is needed for each of {q}")
    return rows


def padded(lists: Sequence[Sequence[int]], what: str, q: int, n: int) -> NDArray[np.int64]:
    """(Q, M) lists of gallery rows, each as given and then -1.

    Args:
        lists: One for each query; empty ones are allowed.
        what: What they are, for messages.
        q: Queries.
        n: Gallery rows.

    Raises:
        ComposirError: Another number of lists than of queries, a row that does not exist, or one that is named twice.
    """
    if len(lists) != q:
        raise ComposirError(f"{len(lists)} lists of {what} for {q} queries; each query needs one, if only an empty one")
    lengths = np.fromiter(map(len, lists), np.int64, q)
    table = np.full((q, int(lengths.max(initial=0))), -1)
    table[np.arange(table.shape[1]) < lengths[:, None]] = np.fromiter(chain.from_iterable(lists), np.int64)
    # Looked up in order, so that neither check needs a table of Q x M x M.
    order = np.sort(table, axis=1)
    twice = (order[:, 1:] == order[:, :-1]) & (order[:, 1:] >= 0)
    wrong = (table < -1) | (table >= n) | ((table < 0) & (np.arange(table.shape[1]) < lengths[:, None]))
    if wrong.any():
        i, j = np.argwhere(wrong)[0]
        raise ComposirError(f"query {i} names gallery row {table[i, j]} among its {what}; rows are 0..{n - 1}")
    if twice.any():
        i, j = np.argwhere(twice)[0]
        raise ComposirError(f"query {i} names gallery row {order[i, j]} twice among its {what}; name each once")
    return table


def refuse_dropped(targets: NDArray[np.int64], drop: NDArray[np.int64]) -> None:
    """A dropped row has no rank.

    Raises:
        ComposirError: A target is its own query's dropped row.
    """
    both = (targets == drop[:, None]) & (targets >= 0)
    if both.any():
        i, j = np.argwhere(both)[0]
        raise ComposirError(f"query {i} asks for the rank of gallery row {targets[i, j]}, which it also drops")
