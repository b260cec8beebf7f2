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
    """The compiled scan: scan(codes (P, D), query (D,), scores (P,), peaks (P / BLOCK,)) fills the latter two.

    Raises:
        ComposirError: The scale extra is not installed.
    """
    try:
        import numba
        import numpy as np
    except ImportError as error:
        raise ComposirError(INSTALL.format(name=error.name)) from error
    prange: Any = numba.prange

    # Reordering the sums is allowed for: the bound holds in whatever order they are taken.
    @numba.njit(parallel=True, nogil=True, fastmath=True, cache=True)
    def scan(codes, query, scores, peaks):
        for block in prange(peaks.shape[0]):
            best = np.float32(-np.inf)
            for i in range(block * BLOCK, (block + 1) * BLOCK, 4):
                a, b, c, e = codes[i], codes[i + 1], codes[i + 2], codes[i + 3]
                s, t, u, v = np.float32(0), np.float32(0), np.float32(0), np.float32(0)
                for j in range(query.shape[0]):
                    x = query[j]
                    s += np.float32(a[j]) * x
                    t += np.float32(b[j]) * x
                    u += np.float32(c[j]) * x
                    v += np.float32(e[j]) * x
                scores[i], scores[i + 1], scores[i + 2], scores[i + 3] = s, t, u, v
                best = max(best, s, t, u, v)
            peaks[block] = best

    return scan


def available() -> bool:
    """Whether the scale extra is installed."""
    try:
        scanner()
    except ComposirError:
        return False
    return True
