"""The only place where a score is computed.

Every method scores `score(q, g) = mean over query vectors s of (max over gallery vectors t of <q_s, g_t>)`
with all vectors of unit length; one vector on either side is the case T = 1, where the score is the cosine.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK_BYTES = 256 * 2**20


def maxsim(query: Float[Tensor, "Q S D"], gallery: Float[Tensor, "N T D"]) -> Float[Tensor, "Q N"]:
    """Score every query against every gallery item, in [-1, 1] for unit vectors; higher is better."""
    (q, s, d), (n, t, _) = query.shape, gallery.shape
    products = query.reshape(q * s, d) @ gallery.reshape(n * t, d).T
    return products.reshape(q, s, n, t).amax(dim=3).mean(dim=1)


def top_k(
    query: Float[Tensor, "Q S D"],
    gallery: Float[Tensor, "N T D"],
    k: int,
    drop: Sequence[int] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> tuple[Float[Tensor, "Q K"], Int[Tensor, "Q K"]]:
    """The k best gallery rows of each query, best first; equal scores come in gallery order.

    Args:
        query: Unit vectors.
        gallery: Unit vectors; half precision is scored in single precision, chunk by chunk.
        k: How many; cut to the number of rows that can be returned.
        drop: For each query the gallery row that must not be returned (its own reference), or -1.
        chunk_bytes: Bound on the score block held at once, in bytes.

    Returns:
        Scores and gallery rows, (Q, K) each. A row that does not exist because of `drop` is never returned:
        K is at most N - 1 when anything is dropped.
    """
    n, t = gallery.shape[:2]
    k = min(k, n - 1 if drop is not None and any(row >= 0 for row in drop) else n)
    rows = max(1, chunk_bytes // (4 * max(1, query.shape[0] * query.shape[1]) * t))
    best = torch.empty(query.shape[0], 0)
    index = torch.empty(query.shape[0], 0, dtype=torch.long)
    unwanted = torch.as_tensor(drop) if drop is not None else None
    for start in range(0, n, rows):
        scores = maxsim(query.float(), gallery[start : start + rows].float())
        if unwanted is not None:
            here = ((unwanted >= start) & (unwanted < start + scores.shape[1])).nonzero().flatten()
            scores[here, unwanted[here] - start] = -torch.inf
        # Earlier chunks come first in the concatenation and the sort is stable, so ties keep gallery order.
        best = torch.cat([best, scores], dim=1)
        index = torch.cat([index, torch.arange(start, start + scores.shape[1]).expand(len(scores), -1)], dim=1)
        best, index = _stable_top(best, index, k)
    return best, index


def _stable_top(scores: Tensor, index: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Cut to the k best columns, ties by column order. topk alone may return any of the tied at the cut."""
    if scores.shape[1] > k:
        cut = scores.topk(k, dim=1).values[:, -1:]
        above = scores > cut
        tied = scores == cut
        room = k - above.sum(dim=1, keepdim=True)
        keep = above | (tied & (tied.cumsum(dim=1) <= room))
        scores = scores[keep].reshape(len(scores), k)
        index = index[keep].reshape(len(index), k)
    order = scores.sort(dim=1, descending=True, stable=True).indices
    return scores.gather(1, order), index.gather(1, order)


def target_ranks(
    query: Float[Tensor, "Q S D"],
    gallery: Float[Tensor, "N T D"],
    target: Int[Tensor, "Q"],
    drop: Sequence[int] | None = None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Int[Tensor, "Q"]:
    """The rank, from 1, of one gallery row for each query, under the tie rule of `top_k`: gallery order.

    Args:
        query: Unit vectors.
        gallery: Unit vectors.
        target: The row whose rank is asked; never the dropped one.
        drop: For each query a row left out of the ranking, or -1.
        chunk_bytes: Bound on the score block held at once.
    """
    rows = max(1, chunk_bytes // (4 * gallery.shape[0] * gallery.shape[1] * max(1, query.shape[1])))
    everything = gallery.float()
    unwanted = torch.as_tensor(drop) if drop is not None else torch.full((len(query),), -1)
    place = torch.arange(gallery.shape[0])
    ranks = []
    for start in range(0, len(query), rows):
        scores = maxsim(query[start : start + rows].float(), everything)
        mine, out = target[start : start + rows, None], unwanted[start : start + rows, None]
        own = scores.gather(1, mine)
        ahead = (scores > own) | ((scores == own) & (place < mine))
        ranks.append((ahead & (place != out)).sum(dim=1) + 1)
    return torch.cat(ranks)


def paired_scores(query: Float[Tensor, "Q S D"], items: Float[Tensor, "Q M T D"]) -> Float[Tensor, "Q M"]:
    """Score each query against its own M items (CIRR's subsets), under the same formula as `maxsim`."""
    products = torch.einsum("qsd,qmtd->qmst", query.float(), items.float())
    return products.amax(dim=3).mean(dim=2)
