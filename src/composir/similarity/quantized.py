"""Quick passes over codes of eight bits, in two planes of four, with a bound on the error of each.

Each vector is kept as one byte a dimension, x = mean + step (code - 128) + rest; its upper four bits alone say
x = mean + step (16 upper - 120.5) + rest, with a longer rest. A score is off by |query| |rest| at most, and by what the
query loses as whole numbers. The rough pass reads the upper plane of all rows, the fine one both planes of some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float32, Int, UInt8
from numpy.typing import NDArray

from composir.errors import ComposirError
from composir.kernels import BLOCK, WIDTH, scanner
from composir.similarity.nearest import CHUNK_BYTES, UNIT, Quick, Wanted

DIGIT = 127  # a query's dimension is a whole number up to this, and a 256th as much again
MOST = 32_768  # dimensions whose sums fit 32 bits
BOUNDS = ("rest", "largest", "rough_rest", "rough_largest")


class Codes:
    """Quick scores of a gallery; holds a byte for each number of it, its width rounded up to a multiple of 128.

    Args:
        vectors: (N, T, D) half precision, finite, D up to `MOST`.

    Attributes:
        shape: Of the vectors.
        upper, lower: The planes, in whole blocks: byte j holds dimension j in its lower half, dimension W + j above.
        mean, step: One for each dimension.
        bounds: `rest` is the greatest length of a rest, `largest` that of a row of codes, code - 128; `rough_rest` and
            `rough_largest` are those of the upper halves, 16 upper - 120.5.

    Raises:
        ComposirError: The scale extra is not installed; a vector is not finite, or too wide.
    """

    def __init__(self, vectors: Float16[NDArray, "N T D"]):
        self._scan = scanner()
        self.shape = vectors.shape
        rows = vectors.reshape(-1, vectors.shape[2])
        if rows.shape[1] > MOST:
            raise ComposirError(f"vectors of width {rows.shape[1]} have no codes; {MOST} is the most")
        self.mean, self.step = _ranges(rows)
        # Whole blocks and whole vectors of the processor, so that the scan has no rest.
        size = -(-len(rows) // BLOCK) * BLOCK, -(-rows.shape[1] // (2 * WIDTH)) * WIDTH
        self.upper: UInt8[NDArray, "P W"] = np.zeros(size, np.uint8)
        self.lower: UInt8[NDArray, "P W"] = np.zeros(size, np.uint8)
        self.bounds = self._fill(rows)

    @classmethod
    def again(
        cls,
        shape: tuple[int, ...],
        planes: tuple[UInt8[NDArray, "P W"], UInt8[NDArray, "P W"]],
        mean: Float32[NDArray, " D"],
        step: Float32[NDArray, " D"],
        bounds: Mapping[str, Any],
    ) -> Codes:
        """Codes that were made before, from their attributes."""
        own = cls.__new__(cls)
        own._scan, own.shape, own.mean, own.step = scanner(), shape, mean, step
        own.upper, own.lower = planes
        own.bounds = {name: float(bounds[name]) for name in BOUNDS}
        return own

    def same_as(self, other: Codes) -> bool:
        """Whether both are the codes of the same vectors."""
        own, theirs = (np.array([c.bounds[name] for name in BOUNDS]) for c in (self, other))
        names = ("upper", "lower", "mean", "step")
        # Lengths are sums, whose last bit depends on how many threads took them.
        return all(np.array_equal(getattr(self, n), getattr(other, n)) for n in names) and np.allclose(own, theirs)

    def __call__(self, wanted: Wanted, rows: Int[NDArray, " R"] | None = None) -> Quick:
        """See `Scorer.__call__`: the fine pass."""
        each = self.shape[1]
        own = np.arange(self.shape[0]) if rows is None else rows
        places = (own[:, None] * each + np.arange(each)).ravel()
        total, error = np.zeros(len(own), np.float32), 0.0
        for vector, weight in zip(wanted.vectors, wanted.weights, strict=True):
            passed = self._fine(_Digits.of(vector, self.mean, self.step), places)
            if self._plain(wanted):
                return passed
            error += abs(weight) * passed.error
            best = passed.scores.reshape(len(own), each).max(axis=1)
            total += np.float32(weight) * (best + np.float32(passed.offset))
        return Quick(total, error + 4 * UNIT * float(np.abs(total).max(initial=0.0)))

    def rough(self, wanted: Wanted) -> Quick:
        """See `Scorer.rough`: the upper plane alone, where a score is that of one vector."""
        if not self._plain(wanted):
            return self(wanted)
        query = _Digits.of(wanted.vectors[0], self.mean, self.step)
        scores, peaks = np.empty(len(self.upper), np.float32), np.empty(len(self.upper) // BLOCK, np.float32)
        bias = np.int32(241 * int(query.digits[:2].sum(dtype=np.int64)))  # 2 * 120.5, as `rough` counts twice
        self._scan.rough(self.upper, query.digits[:2], bias, np.float32(query.scale / 2), scores, peaks)
        error = query.error(self.bounds["rough_rest"], self.bounds["rough_largest"], query.first_lost)
        return Quick(scores[: self.shape[0]], error, query.offset, peaks, rough=True)

    def _fine(self, query: _Digits, places: Int[NDArray, " R"]) -> Quick:
        scores = np.empty(len(places), np.float32)
        high, low = (int(own.sum(dtype=np.int64)) for own in (query.digits[:2], query.digits[2:]))
        bias, factor = np.int64(128 * (256 * high + low)), float(query.scale / 256)
        self._scan.fine(self.upper, self.lower, query.digits, bias, factor, places, scores)
        return Quick(scores, query.error(self.bounds["rest"], self.bounds["largest"], query.lost), query.offset)

    def _plain(self, wanted: Wanted) -> bool:
        return self.shape[1] == 1 and wanted.weights.tolist() == [1.0]

    def _fill(self, rows: Float16[NDArray, "R D"]) -> dict[str, float]:
        """Write the planes; the bounds."""
        most: dict[str, float] = dict.fromkeys(BOUNDS, 0.0)
        width = self.upper.shape[1]
        # torch, not numpy: it converts half precision in all lanes, on every core.
        mean, step = torch.from_numpy(self.mean), torch.from_numpy(self.step)
        count = max(BLOCK, CHUNK_BYTES // (4 * rows.shape[1]))
        for start in range(0, len(rows), count):
            part = torch.from_numpy(rows[start : start + count]).float().sub_(mean)
            codes = (part / step).round_()
            filled = torch.full((len(part), 2 * width), 128, dtype=torch.uint8)
            filled[:, : rows.shape[1]] = codes + 128
            left, right = filled[:, :width], filled[:, width:]
            at = slice(start, start + len(part))
            torch.from_numpy(self.upper[at]).copy_((left >> 4) | (right & 0xF0))
            torch.from_numpy(self.lower[at]).copy_((left & 15) | (right << 4))
            rough = (filled[:, : rows.shape[1]] >> 4).float().mul_(16).sub_(120.5)
            for name, values in (
                ("largest", codes),
                ("rest", part.addcmul(codes, step, value=-1)),
                ("rough_largest", rough),
                ("rough_rest", part.addcmul(rough, step, value=-1)),
            ):
                most[name] = max(most[name], float(torch.linalg.vector_norm(values, dim=1).max()))
        return {name: own * (1 + 1e-5) + 1e-7 for name, own in most.items()}


@dataclass(frozen=True, eq=False)
class _Digits:
    """A query as whole numbers: query * step = scale (first + second / 256) + what is lost.

    Attributes:
        digits: (4, W): first and second, each by the dimensions of the lower halves, then of the upper.
        scale: Of a first digit.
        lost, first_lost: Lengths of what is lost, by both digits and by the first alone.
        length: Of the query.
        kept: Of query * step.
        offset: The part of a score that all vectors have.
    """

    digits: NDArray[np.int8]
    scale: float
    lost: float
    first_lost: float
    length: float
    kept: float
    offset: float

    @classmethod
    def of(cls, vector: Float32[NDArray, " D"], mean: Float32[NDArray, " D"], step: Float32[NDArray, " D"]) -> _Digits:
        query = vector.astype(np.float64)
        own = query * step
        # In single precision, as one of the scans takes it.
        scale = float(np.float32(np.abs(own).max() / DIGIT)) or 1.0
        first = np.clip(np.round(own / scale), -DIGIT, DIGIT)
        second = np.clip(np.round((own / scale - first) * 256), -DIGIT, DIGIT)
        width = -(-len(own) // (2 * WIDTH)) * WIDTH
        digits = np.zeros((2, 2 * width), np.int8)
        digits[:, : len(own)] = first, second
        return cls(
            digits.reshape(4, width),
            scale,
            lost=float(np.linalg.norm(own - scale * (first + second / 256))),
            first_lost=float(np.linalg.norm(own - scale * first)),
            length=float(np.linalg.norm(query)),
            kept=float(np.linalg.norm(own)),
            offset=float(query @ mean),
        )

    def error(self, rest: float, largest: float, lost: float) -> float:
        """How far a score is off at most: a rest's share, what the digits lose, and rounding."""
        rounding = 8 * UNIT * (1.01 * self.kept * largest + abs(self.offset))
        return 1.01 * (self.length * rest + lost * largest + rounding)


def _ranges(rows: Float16[NDArray, "R D"]) -> tuple[Float32[NDArray, " D"], Float32[NDArray, " D"]]:
    """The middle of each dimension, and the step that takes its values to -127..127."""
    lows, highs = [], []
    step = max(1, CHUNK_BYTES // (4 * rows.shape[1]))
    for start in range(0, len(rows), step):
        low, high = torch.aminmax(torch.from_numpy(rows[start : start + step]).float(), dim=0)
        lows.append(low.numpy())
        highs.append(high.numpy())
    low, high = np.min(lows, axis=0), np.max(highs, axis=0)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise ComposirError("a vector is not finite; index the pictures anew")
    mean = ((low + high) / 2).astype(np.float32)
    reach = np.maximum(high - mean, mean - low) * (1 + 1e-6)
    return mean, np.maximum(reach / 127, 1e-12).astype(np.float32)
