"""The only place where a score is computed.

Every method scores `score(q, g) = mean over query vectors s of (max over gallery vectors t of <q_s, g_t>)`
with all vectors of unit length; one vector on either side is the case T = 1, where the score is the cosine.
Scores are equal where they are to the last bit, as those of equal gallery vectors for one query are. Scored among other
queries, a query may see them change in that bit.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from composir.errors import ComposirError

CHUNK_BYTES = 16 * 2**20  # what fits a processor's cache
QUERIES = 256  # scored at once; more would leave too few gallery rows for a chunk
RANK_BYTES = 256 * 2**20


def maxsim(query: Float[Tensor, "Q S D"], gallery: Float[Tensor, "N T D"]) -> Float[Tensor, "Q N"]:
    """Score every query against every gallery item, in [-1, 1] for unit vectors; higher is better."""
    (q, s, d), (n, t, _) = query.shape, gallery.shape
    products = _twice(query.reshape(q * s, d)) @ _twice(gallery.reshape(n * t, d)).T
    return products[: q * s, : n * t].reshape(q, s, n, t).amax(dim=3).mean(dim=1)


def _twice(rows: Float[Tensor, "R D"]) -> Float[Tensor, "R2 D"]:
    """A single row doubled.

    A product with one row or column goes through BLAS's gemv, whose order of summation depends on the place: there
    equal gallery vectors can differ in the last bit of their scores, and the tie rule would not hold for them.
    """
    return rows.repeat(2, 1) if len(rows) == 1 else rows


def paired_scores(query: Float[Tensor, "Q S D"], items: Float[Tensor, "Q M T D"]) -> Float[Tensor, "Q M"]:
    """Score each query against its own M items (CIRR's subsets), under the same formula as `maxsim`."""
    products = torch.einsum("qsd,qmtd->qmst", query.float(), items.float())
    return products.amax(dim=3).mean(dim=2)


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
        gallery: Unit vectors on the same device; half precision is scored in single precision, chunk by chunk.
        k: How many, 1 or more; cut to the number of rows that can be returned.
        drop: For each query the gallery row that must not be returned (its own reference), or -1.
        chunk_bytes: Bound on what one chunk of the gallery takes, in bytes.

    Returns:
        Scores in single precision and gallery rows, (Q, K) each. A row that does not exist because of `drop` is never
        returned: K is at most N - 1 when anything is dropped.

    Raises:
        ComposirError: k below 1, `drop` that does not fit, or a score that is not a number.
    """
    if k < 1:
        raise ComposirError(f"k = {k}; at least 1 answer must be asked for")
    n = gallery.shape[0]
    unwanted = _checked_drop(drop, query, n)
    k = min(k, n - 1 if bool((unwanted >= 0).any()) else n)
    parts = zip(query.split(QUERIES), unwanted.split(QUERIES), strict=True)
    found = [_top_k(part, gallery, k, out, chunk_bytes) for part, out in parts]
    return torch.cat([scores for scores, _ in found]), torch.cat([rows for _, rows in found])


def _top_k(
    query: Float[Tensor, "Q S D"],
    gallery: Float[Tensor, "N T D"],
    k: int,
    unwanted: Int[Tensor, " Q"],
    chunk_bytes: int,
) -> tuple[Float[Tensor, "Q K"], Int[Tensor, "Q K"]]:
    best = torch.empty(query.shape[0], 0, device=query.device)
    index = torch.empty(query.shape[0], 0, dtype=torch.long, device=query.device)
    for start, scores in _chunks(query, gallery, chunk_bytes):
        here = ((unwanted >= start) & (unwanted < start + scores.shape[1])).nonzero().flatten()
        scores[here, unwanted[here] - start] = -torch.inf
        columns = _stable_top(scores, k)
        # Earlier chunks come first in the concatenation, so ties keep gallery order.
        best = torch.cat([best, scores.gather(1, columns)], dim=1)
        index = torch.cat([index, columns + start], dim=1)
        columns = _stable_top(best, k)
        best, index = best.gather(1, columns), index.gather(1, columns)
    return best, index


def target_ranks(
    query: Float[Tensor, "Q S D"],
    gallery: Float[Tensor, "N T D"],
    target: Int[Tensor, " Q"],
    drop: Sequence[int] | None = None,
    chunk_bytes: int = RANK_BYTES,
) -> Int[Tensor, " Q"]:
    """The rank, from 1, of one gallery row for each query, under the tie rule of `top_k`: gallery order.

    Args:
        query: Unit vectors.
        gallery: Unit vectors on the same device.
        target: The row whose rank is asked; never the dropped one.
        drop: For each query a row left out of the ranking, or -1.
        chunk_bytes: Bound on the scores held at once, in bytes; one query's are held whatever it is.

    Raises:
        ComposirError: `drop` that does not fit or names a target, or a score that is not a number.
    """
    n = gallery.shape[0]
    unwanted = _checked_drop(drop, query, n)
    if bool((unwanted == target).any()):
        place = int((unwanted == target).nonzero()[0])
        raise ComposirError(f"query {place} asks for the rank of gallery row {int(target[place])}, which it also drops")
    place = torch.arange(n, device=query.device)
    at_once = min(QUERIES, max(1, chunk_bytes // (12 * n)))  # 4 bytes a score, and the comparisons below
    ranks = [torch.empty(0, dtype=torch.long, device=query.device)]
    for part, mine, out in zip(*(x.split(at_once) for x in (query, target[:, None], unwanted[:, None])), strict=True):
        chunks = _chunks(part, gallery, min(chunk_bytes, CHUNK_BYTES))
        scores = torch.cat([scores for _, scores in chunks], dim=1)
        _refuse_nan(scores.amax(dim=1))
        own = scores.gather(1, mine)
        ahead = (scores > own) | ((scores == own) & (place < mine))
        ranks.append((ahead & (place != out)).sum(dim=1) + 1)
    return torch.cat(ranks)


def _chunks(query: Tensor, gallery: Tensor, chunk_bytes: int) -> Iterator[tuple[int, Float[Tensor, "Q n"]]]:
    """Scores against consecutive parts of the gallery, each with its first row; single precision."""
    (q, s, d), t = query.shape, gallery.shape[1]
    # What a gallery row costs: its vectors in single precision, the products, and what max and mean leave of them.
    rows = max(1, chunk_bytes // (4 * (t * d + q * s * (t + 1) + q)))
    # In even parts: a small last one would be summed in another order, and ties across the border be lost.
    rows = math.ceil(gallery.shape[0] / max(1, math.ceil(gallery.shape[0] / rows))) or 1
    for start in range(0, gallery.shape[0], rows):
        yield start, maxsim(query.float(), gallery[start : start + rows].float())


def _stable_top(scores: Float[Tensor, "Q n"], k: int) -> Int[Tensor, "Q K"]:
    """The columns of the k best (all, if there are fewer), best first, ties by column."""
    k = min(k, scores.shape[1])
    if k == 0:
        return torch.empty(len(scores), 0, dtype=torch.long, device=scores.device)
    values, columns = scores.topk(min(k + 1, scores.shape[1]), dim=1)
    _refuse_nan(values[:, 0])  # topk puts them first
    if scores.shape[1] > k:
        # Of the tied at the cut topk returns any; where that happened, choose again.
        torn = (values[:, k - 1] == values[:, k]).nonzero().flatten()
        columns = columns[:, :k]
        columns[torn] = _first_best(scores[torn], values[torn, k - 1 : k], k)
    columns = columns.sort(dim=1).values
    order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True).indices
    return columns.gather(1, order)


def _first_best(scores: Float[Tensor, "R n"], cut: Float[Tensor, "R 1"], k: int) -> Int[Tensor, "R K"]:
    """The columns above the k-th best score `cut`, and the first of those at it that make k; ascending."""
    above, tied = scores > cut, scores == cut
    keep = above | (tied & (tied.cumsum(dim=1) <= k - above.sum(dim=1, keepdim=True)))
    return keep.nonzero()[:, 1].reshape(len(scores), k)


def _refuse_nan(scores: Float[Tensor, " Q"]) -> None:
    """Comparisons with NaN are false, which would put a broken embedding's target on rank 1."""
    if bool(scores.isnan().any()):
        raise ComposirError("a score is not a number: the embedding of a query or of a gallery image is broken")


def _checked_drop(drop: Sequence[int] | None, query: Tensor, n: int) -> Int[Tensor, " Q"]:
    """One row, or -1, for each query."""
    if drop is None:
        return torch.full((len(query),), -1, device=query.device)
    rows = torch.as_tensor(drop, dtype=torch.long, device=query.device)
    if rows.shape != (len(query),) or bool(((rows < -1) | (rows >= n)).any()):
        raise ComposirError(
            f"drop = {list(drop)[:8]} does not fit; one of -1..{n - 1} is needed for each of {len(query)}"
        )
    return rows
