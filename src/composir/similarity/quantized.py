"""The quick pass over eight-bit codes: a quarter of the memory traffic of single precision, with a bound on its error.

Each vector is kept as one byte a dimension, x = mean + step * code + rest; a score is off by |query| |rest| at most.
The codes are scanned by compiled code, four rows at a time on every core.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float16, Float32, Int8
from numpy.typing import NDArray

from composir.errors import ComposirError
from composir.kernels import BLOCK, scanner
from composir.similarity.nearest import CHUNK_BYTES, UNIT, Quick, Wanted


class Codes:
    """Eight-bit scores of a gallery; holds a byte for each number of it.

    Args:
        vectors: (N, T, D) half precision, finite.

    Attributes:
        shape: Of the vectors.
        codes: Of all vectors, in whole blocks.
        mean, step: x = mean + step * code + rest.
        rest: The greatest length of a rest.
        largest: The greatest length of a row of codes.

    Raises:
        ComposirError: The scale extra is not installed; a vector is not finite.
    """

    def __init__(self, vectors: Float16[NDArray, "N T D"]):
        self._scan = scanner()
        self.shape = vectors.shape
        rows = vectors.reshape(-1, vectors.shape[2])
        self.mean, self.step = _ranges(rows)
        # Whole blocks, so that the scan has no rest.
        padded = -(-len(rows) // BLOCK) * BLOCK
        self.codes: Int8[NDArray, "P D"] = np.zeros((padded, rows.shape[1]), np.int8)
        self.rest, self.largest = self._fill(rows)

    @classmethod
    def again(
        cls,
        shape: tuple[int, ...],
        codes: Int8[NDArray, "P D"],
        mean: Float32[NDArray, " D"],
        step: Float32[NDArray, " D"],
        bounds: Mapping[str, Any],
    ) -> Codes:
        """Codes that were made before, from their attributes; `bounds` has `rest` and `largest`."""
        own = cls.__new__(cls)
        own._scan, own.shape, own.codes, own.mean, own.step = scanner(), shape, codes, mean, step
        own.rest, own.largest = float(bounds["rest"]), float(bounds["largest"])
        return own

    def same_as(self, other: Codes) -> bool:
        """Whether both are the codes of the same vectors."""
        own, theirs = (np.array([c.rest, c.largest]) for c in (self, other))
        arrays = zip((self.codes, self.mean, self.step), (other.codes, other.mean, other.step), strict=True)
        # Lengths are sums, whose last bit depends on how many threads took them.
        return all(np.array_equal(a, b) for a, b in arrays) and np.allclose(own, theirs, rtol=1e-6)

    def __call__(self, wanted: Wanted) -> Quick:
        """See `Scorer`."""
        n, t, d = self.shape
        total, error, peaks = np.zeros(n, np.float32), 0.0, None
        for vector, weight in zip(wanted.vectors.astype(np.float64), wanted.weights, strict=True):
            inner = (vector * self.step).astype(np.float32)
            scores = np.empty(len(self.codes), np.float32)
            peaks = np.empty(len(self.codes) // BLOCK, np.float32)
            self._scan(self.codes, inner, scores, peaks)
            offset = float(vector @ self.mean)
            rounding = (d + 4) * UNIT * (float(np.linalg.norm(inner)) * self.largest + abs(offset))
            error += abs(weight) * 1.01 * (float(np.linalg.norm(vector)) * self.rest + rounding)
            if t == 1 and len(wanted.weights) == 1 and weight == 1:
                # In the scan's own scale: an offset moves no score past another.
                return Quick(scores[:n], error, offset, peaks)
            total += np.float32(weight) * (scores[: n * t].reshape(n, t).max(axis=1) + np.float32(offset))
        return Quick(total, error + 4 * UNIT * float(np.abs(total).max(initial=0.0)))

    def _fill(self, rows: Float16[NDArray, "R D"]) -> tuple[float, float]:
        """Write the codes; the greatest length of a rest, and of a row of codes."""
        rest = largest = 0.0
        # torch, not numpy: it converts half precision in all lanes, on every core.
        mean, width = torch.from_numpy(self.mean), torch.from_numpy(self.step)
        step = max(BLOCK, CHUNK_BYTES // (4 * rows.shape[1]))
        for start in range(0, len(rows), step):
            part = torch.from_numpy(rows[start : start + step]).float().sub_(mean)
            codes = (part / width).round_()
            torch.from_numpy(self.codes[start : start + len(part)]).copy_(codes)
            largest = max(largest, float(torch.linalg.vector_norm(codes, dim=1).max()))
            part.addcmul_(codes, width, value=-1)
            rest = max(rest, float(torch.linalg.vector_norm(part, dim=1).max()))
        return rest * (1 + 1e-5) + 1e-7, largest * (1 + 1e-5)


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
