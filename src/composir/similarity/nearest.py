"""The best rows of one query, exactly, out of a gallery in memory: approximate scores with a bound, then true ones.

A quick pass scores every row with an error that is bounded. Only rows which that bound allows among the best are scored
again, in double precision; so the answer is that of the slow obvious loop, equal scores in gallery order, and a row's
score depends neither on its place nor on what else is in the gallery: pages of one ranking fit together while others
add to it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32, Float64, Int
from numpy.typing import NDArray

from composir.errors import ComposirError
from composir.kernels import BLOCK

CHUNK_BYTES = 32 * 2**20  # of a gallery converted to single precision at a time
FEW = 8  # a share of 1/8 of the rows and less is scored directly
ENOUGH = 4  # times k rows are scored truly at once; of more, a finer pass tells which need be
KEPT_BYTES = 512 * 2**20
TAME = 40  # the largest number of a query lies within 2**-40..2**40, else it is scaled for the quick pass
UNIT = 2.0**-24  # relative error of one operation in single precision


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is looked for: score(x) = sum over i of weight_i * max over t of vector_i . x_t.

    A query of S vectors is S rows of weight 1/S: that is max-sim. Others may be added, such as words that must not
    show.

    Attributes:
        vectors: (M, D) in single precision.
        weights: (M,) of any sign.
    """

    vectors: Float32[NDArray, "M D"]
    weights: Float64[NDArray, " M"]

    @classmethod
    def of(cls, query: Float[NDArray, "S D"]) -> Wanted:
        """Plain max-sim of one query."""
        rows = np.ascontiguousarray(query, dtype=np.float32)
        return cls(rows, np.full(len(rows), 1.0 / len(rows)))

    def plus(self, weight: float, query: Float[NDArray, "S D"]) -> Wanted:
        """Another query added, with a weight."""
        other = Wanted.of(query)
        return Wanted(
            np.concatenate([self.vectors, other.vectors]), np.concatenate([self.weights, weight * other.weights])
        )

    def scaled(self) -> tuple[Wanted, float]:
        """The same, times a power of two, where sums in single precision would under- or overflow; and that power."""
        _, exponent = np.frexp(np.abs(self.vectors).max(initial=0.0))
        if abs(int(exponent)) <= TAME or not self.vectors.any():
            return self, 1.0
        # Exact: no digit is lost.
        return Wanted(np.ldexp(self.vectors, -int(exponent)).astype(np.float32), self.weights), 2.0 ** -int(exponent)

    def merged(self) -> Wanted:
        """The same scores for a gallery of one vector an item, where all is linear: one vector, of weight 1."""
        if self.weights.tolist() == [1.0]:
            return self
        return Wanted((self.weights @ self.vectors.astype(np.float64))[None].astype(np.float32), np.ones(1))


@dataclass(frozen=True, eq=False)
class Quick:
    """What a quick pass gives.

    Attributes:
        scores: (N,) approximate scores, less `offset`.
        error: A bound on how far each is off.
        offset: To be added to every score.
        peaks: The best of each whole block of `BLOCK` scores, if the pass has looked for them.
        rough: Whether the scorer knows better, row by row.
        factor: The power of two that all of this is larger by than true scores are; see `Wanted.scaled`.
    """

    scores: Float32[NDArray, " N"]
    error: float
    offset: float = 0.0
    peaks: Float32[NDArray, " P"] | None = None
    rough: bool = False
    factor: float = 1.0

    def apart(self, score: float) -> Float64[NDArray, " N"]:
        """How far each lies above a true score; off by `error` at most."""
        # The offset in double precision: it is added to no single score.
        return self.scores - np.float64(self.factor * score - self.offset)


@runtime_checkable
class Scorer(Protocol):
    """A quick pass over a gallery."""

    def __call__(self, wanted: Wanted, rows: Int[NDArray, " R"] | None = None) -> Quick:
        """Approximate scores of all rows, or of some, as good as quick ones get."""
        ...

    def rough(self, wanted: Wanted) -> Quick:
        """Those of all rows, for finding the best: they may be worse if that is quicker."""
        ...


class Nearest:
    """A gallery, searched exactly; it keeps what it is given and, beside it, what its scorer keeps.

    Args:
        vectors: (N, T, D) half precision.
        scorer: The quick pass; None = products in single precision.

    Raises:
        ComposirError: A vector that is not finite.
    """

    def __init__(self, vectors: Float16[NDArray, "N T D"], scorer: Scorer | None = None):
        self.vectors = vectors
        self.scorer = scorer or Products(vectors)

    def __len__(self) -> int:
        return len(self.vectors)

    def best(
        self, wanted: Wanted, k: int, rows: Int[NDArray, " R"] | None = None, drop: Sequence[int] = ()
    ) -> tuple[Int[NDArray, " K"], Float64[NDArray, " K"]]:
        """The k best rows, best first, and their scores; equal scores in gallery order.

        Args:
            wanted: What is looked for.
            k: How many at most, 1 or more.
            rows: Ascending rows to choose from; None = all.
            drop: Rows to leave out.
        """
        wanted = self.fitting(wanted)
        chosen = self._candidates(wanted.scaled()[0], k, rows, drop)
        scores = self.scores(wanted, chosen)
        order = np.argsort(-scores, kind="stable")[:k]  # chosen rows ascend
        return chosen[order], scores[order]

    def ranks(
        self,
        wanted: Wanted,
        targets: Int[NDArray, " M"],
        rows: Int[NDArray, " R"] | None = None,
        drop: Sequence[int] = (),
    ) -> Int[NDArray, " M"]:
        """The rank of each target, from 1, among `rows` less `drop`; 0 for one that is not among them."""
        wanted = self.fitting(wanted)
        allowed = self._allowed(rows, drop)
        if not len(targets):
            return np.zeros(0, np.int64)
        ahead = self.ahead(wanted, self.scores(wanted, targets), targets, rows, drop)
        return np.where(allowed[targets], 1 + ahead, 0)

    def ahead(
        self,
        wanted: Wanted,
        scores: Float64[NDArray, " M"],
        before: Int[NDArray, " M"],
        rows: Int[NDArray, " R"] | None = None,
        drop: Sequence[int] = (),
    ) -> Int[NDArray, " M"]:
        """How many of `rows` less `drop` come before each of some scores; equal ones do if their row is below `before`.

        Args:
            wanted: What is looked for, as `fitting` gives it.
            scores: As `scores` gives them, of this gallery or of another.
            before: In 0..N.
            rows: Ascending rows to count; None = all.
            drop: Rows to leave out.
        """
        allowed = self._allowed(rows, drop)
        passed = self.quick(wanted)
        error = passed.error
        counts = np.zeros(len(scores), np.int64)
        for place, (own, row) in enumerate(zip(scores.tolist(), before.tolist(), strict=True)):
            apart = passed.apart(own)
            near = np.flatnonzero(allowed & (np.abs(apart) <= error))
            true = self.scores(wanted, near)
            first = (true > own) | ((true == own) & (near < row))
            counts[place] = np.count_nonzero(allowed & (apart > error)) + np.count_nonzero(first)
        return counts

    def quick(self, wanted: Wanted) -> Quick:
        """The quick pass over all rows, of a query as `fitting` gives it, however small or large its numbers are."""
        tame, factor = wanted.scaled()
        return replace(self.scorer(tame), factor=factor)

    def scores(self, wanted: Wanted, rows: Int[NDArray, " R"]) -> Float64[NDArray, " R"]:
        """The true scores of some rows, in double precision.

        Raises:
            ComposirError: One is not a finite number.
        """
        total = np.empty(len(rows))
        step = max(1, CHUNK_BYTES // (8 * self.vectors[:1].size or 1))
        for start in range(0, len(rows), step):
            part = _double(self.vectors.take(rows[start : start + step], axis=0))
            total[start : start + step] = _weighed(part, wanted)
        if not np.isfinite(total).all():
            raise ComposirError("a score is not a number: the embedding of a query or of a gallery image is broken")
        return total

    def fitting(self, wanted: Wanted) -> Wanted:
        """The same as one vector, of which this gallery needs no more where an item is one.

        Raises:
            ComposirError: It has another width than the gallery, or is not a number.
        """
        if wanted.vectors.shape[1] != self.vectors.shape[2]:
            told = f"a query of width {wanted.vectors.shape[1]} for a gallery of width {self.vectors.shape[2]}"
            raise ComposirError(f"{told}; both must be encoded by one method")
        if not np.isfinite(wanted.vectors).all():
            raise ComposirError("a query is not a number: its embedding is broken")
        return wanted.merged() if self.vectors.shape[1] == 1 else wanted

    def _candidates(
        self, wanted: Wanted, k: int, rows: Int[NDArray, " R"] | None, drop: Sequence[int]
    ) -> Int[NDArray, " C"]:
        """Ascending rows, among which the k best are."""
        if k < 1:
            raise ComposirError(f"k = {k}; ask for 1 answer or more")
        if rows is not None and len(rows) * FEW <= len(self):
            own = np.setdiff1d(rows, np.asarray(drop, dtype=np.int64), assume_unique=True)
            return self._narrowed(wanted, k, own)
        passed = self.scorer.rough(wanted)
        quick, peaks = passed.scores, passed.peaks
        if rows is not None:
            quick[~self._allowed(rows, drop)] = -np.inf
            peaks = None
        for row in drop:
            quick[row] = -np.inf
            block = row // BLOCK * BLOCK
            if peaks is not None:
                peaks[row // BLOCK] = quick[block : block + BLOCK].max()
        if not passed.rough:
            return reaching(quick, k, passed.error, peaks)
        # A finer look at the first says how good the k-th is; the rest are then off by one error, not by two.
        first = reaching(quick, k, 0.0, peaks)
        finer = self.scorer(wanted, first)
        reached = np.partition(finer.scores, len(first) - k)[len(first) - k] if len(first) >= k else -np.inf
        return self._narrowed(wanted, k, _from(quick, float(reached) - finer.error - passed.error, peaks))

    def _narrowed(self, wanted: Wanted, k: int, rows: Int[NDArray, " R"]) -> Int[NDArray, " C"]:
        """Those of some rows that may be among the k best of them."""
        if len(rows) <= ENOUGH * k:
            return rows
        passed = self.scorer(wanted, rows)
        return rows[reaching(passed.scores, k, passed.error)]

    def _allowed(self, rows: Int[NDArray, " R"] | None, drop: Sequence[int]) -> Bool[NDArray, " N"]:
        allowed = np.full(len(self), rows is None)
        if rows is not None:
            allowed[rows] = True
        allowed[list(drop)] = False
        return allowed


def reaching(
    quick: Float32[NDArray, " N"], k: int, error: float, peaks: Float32[NDArray, " P"] | None = None
) -> Int[NDArray, " C"]:
    """Ascending rows that may be among the k best, if each score is off by `error` at most; -inf is never among them.

    The k-th best of blocks' maxima is a score that k rows reach: a bound from below without ordering all.
    """
    blocks = len(quick) // BLOCK
    least = -np.inf
    if blocks >= k:
        best = quick[: blocks * BLOCK].reshape(blocks, BLOCK).max(axis=1) if peaks is None else peaks[:blocks]
        least = float(np.partition(best, blocks - k)[blocks - k])
    found = _from(quick, least - 2 * error, peaks)
    if len(found) > ENOUGH * k:  # a finer bound, now that few are left
        least = float(np.partition(quick[found], len(found) - k)[len(found) - k])
        found = found[_from(quick[found], least - 2 * error)]
    return found


def _weighed(rows: Float64[NDArray, "R T D"], wanted: Wanted) -> Float64[NDArray, " R"]:
    """The score of each; how a row is summed depends on nothing but its shape."""
    vectors, weights = wanted.vectors.astype(np.float64), wanted.weights.tolist()
    if rows.shape[1] == 1 and weights == [1.0]:
        return np.vecdot(rows[:, 0], vectors[0])
    total = np.zeros(len(rows))
    for vector, weight in zip(vectors, weights, strict=True):
        total += weight * np.vecdot(rows, vector).max(axis=1)
    return total


def _double(rows: Float16[NDArray, "R T D"]) -> Float64[NDArray, "R T D"]:
    """The same numbers; torch converts half precision several at once, numpy one by one."""
    return torch.from_numpy(rows).float().numpy().astype(np.float64)


def _from(
    scores: Float32[NDArray, " N"], least: float, peaks: Float32[NDArray, " P"] | None = None
) -> Int[NDArray, " C"]:
    """Ascending rows that reach a score; -inf never does. Of blocks whose peak does not reach it none is looked at."""
    # The scores are single: the bound must not be rounded up.
    bound = max(np.nextafter(np.float32(least), np.float32(-np.inf)), np.finfo(np.float32).min)
    whole = len(scores) // BLOCK
    near = np.arange(whole) if peaks is None else np.flatnonzero(peaks[:whole] >= bound)
    if len(near) * FEW > whole:
        return np.flatnonzero(scores >= bound)
    rows = (near[:, None] * BLOCK + np.arange(BLOCK)).ravel()
    rows = np.concatenate([rows, np.arange(whole * BLOCK, len(scores))])
    return rows[scores[rows] >= bound]


class Products:
    """Scores in single precision: exact but for the rounding of sums.

    It keeps the vectors in single precision too, where that takes `KEPT_BYTES` at most; else it converts them anew for
    each query.

    Raises:
        ComposirError: A vector that is not finite.
    """

    def __init__(self, vectors: Float16[NDArray, "N T D"]):
        self._vectors = torch.from_numpy(vectors)
        self._longest = longest(vectors)
        if 2 * vectors.nbytes <= KEPT_BYTES:
            self._vectors = self._vectors.float()

    def __call__(self, wanted: Wanted, rows: Int[NDArray, " R"] | None = None) -> Quick:
        """See `Scorer`."""
        vectors = self._vectors if rows is None else self._vectors[torch.from_numpy(rows)]
        n, t, d = vectors.shape
        query, scores = torch.from_numpy(wanted.vectors), np.zeros(n, np.float32)
        step = max(1, CHUNK_BYTES // (4 * t * d))
        for start in range(0, n, step):
            part = vectors[start : start + step].float()
            products = (part.reshape(-1, d) @ query.T).reshape(len(part), t, len(query)).amax(dim=1)
            scores[start : start + len(part)] = products.numpy() @ wanted.weights
        # A sum of D products in single precision is off by (D + 1) UNIT |a| |b| at most, in whatever order it is taken.
        lengths = np.linalg.norm(wanted.vectors.astype(np.float64), axis=1)
        most = float((np.abs(wanted.weights) * lengths).sum()) * self._longest
        return Quick(scores, 1.01 * (d + len(query) + 2) * UNIT * most)

    def rough(self, wanted: Wanted) -> Quick:
        """See `Scorer`: there is no quicker way."""
        return self(wanted)


def longest(vectors: Float16[NDArray, "N T D"]) -> float:
    """The greatest length of a vector.

    Raises:
        ComposirError: One is not finite.
    """
    n, t, d = vectors.shape
    step, most = max(1, CHUNK_BYTES // (4 * t * d)), 0.0
    for start in range(0, n, step):
        part = torch.from_numpy(vectors[start : start + step]).float()
        length = float(torch.linalg.vector_norm(part, dim=2).max())
        if not math.isfinite(length):
            raise ComposirError(f"a vector of rows {start} to {start + len(part) - 1} is not finite; index them anew")
        most = max(most, length)
    return most
