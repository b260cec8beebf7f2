"""Rows of a gallery that equal an earlier one: their scores are equal to the last bit, whatever summed the products."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

CHUNK_BYTES = 4 * 2**20
PARTS = 8  # of a block of scores, of which one is copied at a time
SEEN = 64  # numbers of a row by which most others are told apart
WHOLE = {2: torch.int16, 4: torch.int32, 8: torch.int64}  # numbers of so many bytes, as their bits


@dataclass(frozen=True, eq=False)
class Twins:
    """Which rows have equals before them.

    BLAS may sum the products of a row in another order than those of its equal, by where in the matrix each stands;
    which kernels do so depends on the processor and on the shape.

    Attributes:
        later: (M,) ascending rows.
        first: (M,) the first row that each equals.
    """

    later: Int[Tensor, " M"]
    first: Int[Tensor, " M"]

    @classmethod
    @torch.no_grad()
    def of(cls, gallery: Float[Tensor, "N T D"]) -> Twins:
        """Find them. Takes a few numbers a row and a chunk, and time for reading `SEEN` numbers of each row."""
        rows = gallery.flatten(start_dim=1)
        _, group, count = _keys(rows[:, :SEEN]).unique(return_inverse=True, return_counts=True)
        alike = torch.nonzero(count[group] > 1)[:, 0]
        _, group = _keys(rows, alike).unique(return_inverse=True)
        first = alike.new_full((len(alike),), len(rows)).scatter_reduce(0, group, alike, "amin")[group]
        later, first = alike[first < alike], first[first < alike]
        size = _chunk(rows)
        pairs = zip(later.split(size), first.split(size), strict=True)
        same = [(rows[own] == rows[other]).all(dim=1) for own, other in pairs]
        kept = torch.cat(same)
        return cls(later[kept], first[kept])

    def level(self, scores: Float[Tensor, "Q N"]) -> None:
        """Give every row the score of the first that it equals."""
        if len(self.later):
            for part in scores.split(max(1, len(scores) // PARTS)):
                part.index_copy_(1, self.later, part.index_select(1, self.first))

    @property
    def nbytes(self) -> int:
        """What the rows take in memory."""
        return self.later.nbytes + self.first.nbytes


def _keys(rows: Float[Tensor, "N W"], some: Int[Tensor, " M"] | None = None) -> Int[Tensor, " M"]:
    """A number for each row; equal rows have equal numbers, others nearly never."""
    factors = torch.randint(-(2**62), 2**62, (rows.shape[1],), generator=torch.Generator().manual_seed(0))
    factors, keys = (2 * factors + 1).to(rows.device), []
    chosen = torch.arange(len(rows), device=rows.device) if some is None else some
    for part in chosen.split(_chunk(rows)) if len(chosen) else ():
        own = rows[part[0] : part[-1] + 1] if some is None else rows[part]
        bits = (own + 0).contiguous().view(WHOLE[rows.element_size()])  # -0 + 0 is 0, which it equals
        keys.append((bits.long() * factors).sum(dim=1))
    return torch.cat(keys) if keys else chosen


def _chunk(rows: Float[Tensor, "N W"]) -> int:
    return max(1, CHUNK_BYTES // (24 * max(1, rows.shape[1])))
