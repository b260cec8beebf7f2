"""Ranks among a few candidates of a query's own: CIRR's subsets and GeneCIS's galleries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from composir.errors import ComposirError
from composir.similarity.one_pass import Ranking
from composir.similarity.order import best_columns, broken, target_places
from composir.similarity.rows import checked_drop, padded, refuse_dropped
from composir.similarity.scores import CHUNK_BYTES, RANK_BYTES, paired_scores


@torch.no_grad()
def subset_ranking(
    query: Float[Tensor, "Q S D"],
    gallery: Float[Tensor, "N T D"],
    members: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    drop: Sequence[int] | None = None,
    *,
    k: int | None = None,
    memory: int = RANK_BYTES,
) -> Ranking:
    """Each query's own candidates in order, and the ranks of its targets among them.

    Equal scores come in the order of `members`.

    Args:
        query: Unit vectors.
        gallery: Unit vectors on the same device, of which `members` and `targets` name rows.
        members: For each query its candidates, each once; a query without any has neither answers nor ranks.
        targets: For each query its right rows, the annotated one first, or none; those that are no member get rank 0.
        drop: For each query the row that is no candidate though it be a member (CIRR's reference), or -1.
        k: How many answers to keep, 1 or more; None keeps all of the longest list.
        memory: Bound in bytes on what is held beside what is given and returned, as long as it allows for one query.

    Raises:
        ComposirError: k below 1; rows that do not fit; a target that is dropped; a first target that is not among its
            query's members; a score that is not a finite number.
    """
    if k is not None and k < 1:
        raise ComposirError(f"k = {k}; at least 1 answer must be asked for")
    q, n = len(query), len(gallery)
    own, wanted, unwanted = padded(members, "members", q, n), padded(targets, "targets", q, n), checked_drop(drop, q, n)
    refuse_dropped(wanted, unwanted)
    asked = (own >= 0).any(axis=1)
    own[own == unwanted[:, None]] = -1
    longest = int((own >= 0).sum(axis=1).max(initial=0))
    k = longest if k is None else min(k, longest)
    scores, rows = np.empty((q, k), np.float32), np.empty((q, k), np.int32)
    ranks, ties = np.zeros(wanted.shape, np.int32), np.zeros(q, np.int32)
    (_, s, d), t = query.shape, gallery.shape[1]
    # For one query: its candidates as they lie and in single precision, the products, the order, the targets' places.
    cost = own.shape[1] * (12 * t * d + 4 * s * (t + 2) + 64 + 2 * wanted.shape[1])
    at_once = max(1, min(CHUNK_BYTES, memory) // max(1, cost))
    for start in range(0, q if longest else 0, at_once):
        part = slice(start, start + at_once)
        found = _scored(query[part], gallery, own[part])
        best = best_columns(found, k)
        scores[part], rows[part] = np.take_along_axis(found, best, axis=1), np.take_along_axis(own[part], best, axis=1)
        ranks[part], ties[part] = target_places(found, _columns(own[part], wanted[part]))
    if wanted.shape[1] and (strange := asked & (wanted[:, 0] >= 0) & (ranks[:, 0] == 0)).any():
        i = int(strange.argmax())
        raise ComposirError(f"query {i}: its first target, gallery row {wanted[i, 0]}, is not among its own candidates")
    return Ranking(scores, rows, ranks, ties)


def _scored(
    query: Float[Tensor, "B S D"], gallery: Float[Tensor, "N T D"], own: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(B, W) scores of the candidates; -inf where there is none."""
    items = gallery[torch.from_numpy(own.clip(min=0)).to(gallery.device)]
    scores = paired_scores(query, items).cpu().numpy()
    if not np.isfinite(scores[own >= 0]).all():
        raise broken()
    scores[own < 0] = -np.inf
    return scores


def _columns(own: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """(B, M) where each target stands in its query's list, or -1."""
    same = (own[:, None, :] == wanted[:, :, None]) & (wanted >= 0)[:, :, None]
    return np.where(same.any(axis=2), same.argmax(axis=2), -1)
