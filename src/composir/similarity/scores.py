"""Scores: of all queries against all items, of each query against its own items, and of a gallery block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from composir.similarity.twins import Twins

RANK_BYTES = 256 * 2**20
CHUNK_BYTES = 16 * 2**20  # what fits a processor's cache
ORDER_BYTES = 32  # a gallery row, for each thread: what ordering one query takes where all of its scores tie
QUERIES = 1024  # scored at once at most: products and ordering take turns, and every turn waits for the slowest thread


def maxsim(query: Float[Tensor, "Q S D"], gallery: Float[Tensor, "N T D"]) -> Float[Tensor, "Q N"]:
    """Score every query against every gallery item, in [-1, 1] for unit vectors; higher is better."""
    scores = _products(query, gallery)
    Twins.of(gallery).level(scores)
    return scores


def paired_scores(query: Float[Tensor, "Q S D"], items: Float[Tensor, "Q M T D"]) -> Float[Tensor, "Q M"]:
    """Score each query against its own M items (CIRR's subsets), under the same formula as `maxsim`."""
    # Not by BLAS: see `Twins`; here products are few, and each is summed along its own row.
    theirs = items.float()
    products = [(theirs * own[:, None, None]).sum(dim=-1) for own in query.float().unbind(dim=1)]
    return _reduced(torch.stack(products, dim=1))


def _products(query: Float[Tensor, "Q S D"], gallery: Float[Tensor, "N T D"]) -> Float[Tensor, "Q N"]:
    (q, s, d), (n, t, _) = query.shape, gallery.shape
    return _reduced((query.reshape(q * s, d) @ gallery.reshape(n * t, d).T).reshape(q, s, n, t))


def _reduced(products: Float[Tensor, "Q S M T"]) -> Float[Tensor, "Q M"]:
    """The largest product over T, then their mean over S; over a single one both would only copy."""
    best = products[..., 0] if products.shape[3] == 1 else products.amax(dim=3)
    return best[:, 0] if best.shape[1] == 1 else best.mean(dim=1)


def score_blocks(
    query: Float[Tensor, "Q S D"], gallery: Float[Tensor, "N T D"], memory: int, workers: int = 1
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Consecutive queries with all of their scores: the first one's number and (B, N) scores in single precision.

    The next block overwrites the last one.

    Args:
        query: Unit vectors.
        gallery: Unit vectors on the same device; other precisions are converted chunk by chunk.
        memory: Bound in bytes on what scoring and ordering take beside what is given and returned. One query is scored
            whatever it is: 4 bytes a gallery row, and the products of one gallery row.
        workers: How many threads will order the scores.
    """
    (q, s, d), (n, t, _) = query.shape, gallery.shape
    chunk = min(CHUNK_BYTES, memory // 4)
    # Beside the scores, ordering needs masks and maxima, at most half as much. The products of a block with one gallery
    # row have to fit a chunk.
    twins = Twins.of(gallery)
    left = memory - chunk - ORDER_BYTES * n * workers - twins.nbytes
    at_once = min(left // (6 * n + 4 * s * d), chunk // (4 * s * (t + 2)), QUERIES) if n else QUERIES
    at_once = _even(q, max(1, at_once))
    held = torch.empty(at_once, n, device=query.device)
    for start in range(0, q, at_once):
        part = query[start : start + at_once].float()
        block = held[: len(part)]
        _fill(block, part, gallery, chunk)
        twins.level(block)
        yield start, block.cpu().numpy()


def _fill(
    out: Float[Tensor, "B N"], query: Float[Tensor, "B S D"], gallery: Float[Tensor, "N T D"], chunk: int
) -> None:
    """Score a block of queries against the gallery in parts that take `chunk` bytes each."""
    (q, s, _), (n, t, d) = query.shape, gallery.shape
    plain = s == t == 1
    # What a gallery row takes: its vectors in single precision, the products, and what max and mean leave of them.
    row = 4 * ((gallery.dtype != torch.float32) * t * d + (not plain) * q * s * (t + 2))
    rows = _even(n, max(1, chunk // row if row else n))
    for columns, part in zip(out.split(rows, dim=1), gallery.split(rows), strict=True):
        if plain:
            torch.mm(query[:, 0], part[:, 0].float().T, out=columns)
        else:
            columns.copy_(_products(query, part.float()))


def _even(total: int, most: int) -> int:
    """The size of parts of at most `most` that are as many as needed and as equal as can be; at least 1."""
    return math.ceil(total / max(1, math.ceil(total / most))) or 1
