"""Vectors to search: a mixture of clusters, as embeddings of a collection are, and queries beside them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float16, Float32
from numpy.typing import NDArray

CHUNK = 65_536


def mixture(n: int, dim: int, seed: int) -> Float16[NDArray, "N D"]:
    """Unit vectors around sqrt(n) centres, which they resemble by a cosine of about 0.7; the same for one seed."""
    rng = np.random.default_rng(seed)
    centres = _unit(rng.standard_normal((max(1, round(n**0.5)), dim), dtype=np.float32))
    rows = np.empty((n, dim), np.float16)
    for start in range(0, n, CHUNK):
        count = min(CHUNK, n - start)
        away = _unit(rng.standard_normal((count, dim), dtype=np.float32))
        rows[start : start + count] = _unit(centres[rng.integers(len(centres), size=count)] + away)
    return rows


def queries(rows: Float16[NDArray, "N D"], count: int, seed: int) -> Float32[NDArray, "Q D"]:
    """Unit vectors half-way from pictures to random directions: composed queries lie so beside their references."""
    rng = np.random.default_rng([seed, 1])
    picked = rows[rng.integers(len(rows), size=count)].astype(np.float32)
    return _unit(picked + 0.5 * _unit(rng.standard_normal(picked.shape, dtype=np.float32)))


def _unit(rows: Float32[NDArray, "N D"]) -> Float32[NDArray, "N D"]:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
