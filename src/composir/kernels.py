"""The scan of eight-bit codes, compiled by numba: four rows at a time, on every core."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from composir.errors import ComposirError

BLOCK = 64  # rows whose best score is told
INSTALL = "the eight-bit scan needs the scale extra ({name} is missing): pip install 'composir[scale]'"


@cache
def scanner() -> Callable[..., None]:
    """The compiled scan: scan(codes (P, D), query (D,), unit, scores (P,), peaks (P / BLOCK,)) fills the latter two.

    Codes have eight bits, a query sixteen; a score is `unit` times their product, whose sum must fit 32 bits.

    Raises:
        ComposirError: The scale extra is not installed.
    """
    try:
        import numba
        import numpy as np
    except ImportError as error:
        raise ComposirError(INSTALL.format(name=error.name)) from error
    prange: Any = numba.prange

    # Whole numbers: two products at a time in one instruction, where single precision takes several for one.
    @numba.njit(parallel=True, nogil=True, cache=True)
    def scan(codes, query, unit, scores, peaks):
        for block in prange(peaks.shape[0]):
            best = np.float32(-np.inf)
            for i in range(block * BLOCK, (block + 1) * BLOCK, 4):
                a, b, c, e = codes[i], codes[i + 1], codes[i + 2], codes[i + 3]
                s, t, u, v = np.int32(0), np.int32(0), np.int32(0), np.int32(0)
                for j in range(query.shape[0]):
                    x = np.int32(query[j])
                    s += np.int32(a[j]) * x
                    t += np.int32(b[j]) * x
                    u += np.int32(c[j]) * x
                    v += np.int32(e[j]) * x
                # Cut to 32 bits, in which they fit: else the sums were taken in 64.
                scores[i], scores[i + 1] = np.float32(np.int32(s)) * unit, np.float32(np.int32(t)) * unit
                scores[i + 2], scores[i + 3] = np.float32(np.int32(u)) * unit, np.float32(np.int32(v)) * unit
                best = max(best, scores[i], scores[i + 1], scores[i + 2], scores[i + 3])
            peaks[block] = best

    return scan


def available() -> bool:
    """Whether the scale extra is installed."""
    try:
        scanner()
    except ComposirError:
        return False
    return True
