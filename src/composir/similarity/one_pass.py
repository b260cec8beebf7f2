"""Top-k and the ranks of targets from one pass over the scores, under one tie rule: equal scores in gallery order."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from composir.errors import ComposirError
from composir.similarity.order import best_columns, broken, target_places
from composir.similarity.rows import checked_drop, padded, refuse_dropped
from composir.similarity.scores import ORDER_BYTES, RANK_BYTES, score_blocks

AT_ONCE = 64  # queries ordered by one thread at once: their scores fit its cache


@dataclass(frozen=True, eq=False, slots=True)
class Ranking:
    """The answers to Q queries and the places of their targets.

    Attributes:
        scores: (Q, K) of the best answers, best first; -inf where a query has fewer.
        rows: (Q, K) their gallery rows; -1 where a query has fewer.
        ranks: (Q, M) rank of each target, from 1, in the order given; 0 where there is none.
        ties: (Q,) how many rows that are no target have the very score of the best target.
    """

    scores: NDArray[np.float32]
    rows: NDArray[np.int32]
    ranks: NDArray[np.int32]
    ties: NDArray[np.int32]

    @property
    def best(self) -> NDArray[np.int32]:
        """(Q,) rank of the best target; 0 where there is none."""
        far = np.int32(np.iinfo(np.int32).max)
        best = np.where(self.ranks > 0, self.ranks, far).min(axis=1, initial=far)
        return np.where(best == far, np.int32(0), best)

    @property
    def first(self) -> NDArray[np.int32]:
        """(Q,) rank of the first target, the annotated one; 0 where there is none."""
        return self.ranks[:, 0] if self.ranks.shape[1] else np.zeros(len(self.ranks), np.int32)


@torch.no_grad()
def ranking(
    query: Float[Tensor, "Q S D"],
    gallery: Float[Tensor, "N T D"],
    targets: Sequence[Sequence[int]],
    k: int,
    drop: Sequence[int] | None = None,
    *,
    memory: int = RANK_BYTES,
) -> Ranking:
    """The k best gallery rows of each query and the exact rank of each of its targets, wherever it stands.

    Equal scores come in gallery order. Both answers come from the same scores: a target among the k best has its place
    there as its rank.

    Args:
        query: Unit vectors.
        gallery: Unit vectors on the same device; half precision is scored in single precision, chunk by chunk.
        targets: For each query its right gallery rows, each once; none where the truth is hidden.
        k: How many answers, 1 or more; cut to the number of rows that can be returned, which is N - 1 for all queries
            if anything is dropped.
        drop: For each query the gallery row that is left out of its ranking (its own reference), or -1.
        memory: Bound in bytes on what is held beside what is given and returned; the scores of one query are held
            whatever it is, and answers depend on it in the last bit of a score only.

    Raises:
        ComposirError: k below 1; `drop` or `targets` that do not fit; a target that is dropped; a score that is not a
            finite number.
    """
    if k < 1:
        raise ComposirError(f"k = {k}; at least 1 answer must be asked for")
    q, n = len(query), len(gallery)
    unwanted = checked_drop(drop, q, n)
    wanted = padded(targets, "targets", q, n)
    refuse_dropped(wanted, unwanted)
    k = min(k, n - int((unwanted >= 0).any()))
    scores, rows = np.empty((q, k), np.float32), np.empty((q, k), np.int32)
    ranks, ties = np.zeros(wanted.shape, np.int32), np.zeros(q, np.int32)

    def order(start: int, block: NDArray[np.float32]) -> None:
        part = slice(start, start + len(block))
        dropping = np.flatnonzero(unwanted[part] >= 0)
        block[dropping, unwanted[part][dropping]] = -np.inf
        if k:
            best = best_columns(block, k)
            rows[part], scores[part] = best, np.take_along_axis(block, best, axis=1)
        ranks[part], ties[part] = target_places(block, wanted[part])

    # NumPy lets other threads run while it computes. So many that what they hold stays below a quarter.
    workers = max(1, min(torch.get_num_threads(), memory // (4 * ORDER_BYTES * max(1, n))))
    with ThreadPoolExecutor(workers) as pool:
        for start, block in score_blocks(query, gallery, memory, workers):
            size = min(AT_ONCE, math.ceil(len(block) / workers))
            firsts = range(0, len(block), size)
            run = map if len(firsts) == 1 else pool.map
            list(run(order, [start + i for i in firsts], [block[i : i + size] for i in firsts]))
    if not np.isfinite(scores).all():
        raise broken()
    return Ranking(scores, rows, ranks, ties)


def top_k(
    query: Float[Tensor, "Q S D"],
    gallery: Float[Tensor, "N T D"],
    k: int,
    drop: Sequence[int] | None = None,
    *,
    memory: int = RANK_BYTES,
) -> tuple[Float[Tensor, "Q K"], Int[Tensor, "Q K"]]:
    """The k best gallery rows of each query, best first, with their scores; `ranking` without targets.

    Returns:
        Scores in single precision and gallery rows, (Q, K) each, on the query's device.
    """
    found = ranking(query, gallery, [()] * len(query), k, drop, memory=memory)
    scores, rows = torch.from_numpy(found.scores), torch.from_numpy(found.rows).long()
    return scores.to(query.device), rows.to(query.device)


def target_ranks(
    query: Float[Tensor, "Q S D"],
    gallery: Float[Tensor, "N T D"],
    target: Int[Tensor, " Q"],
    drop: Sequence[int] | None = None,
    *,
    memory: int = RANK_BYTES,
) -> Int[Tensor, " Q"]:
    """The rank, from 1, of one gallery row for each query; `ranking` with one target a query."""
    found = ranking(query, gallery, target[:, None].tolist(), 1, drop, memory=memory)
    return torch.from_numpy(found.first).long().to(query.device)
