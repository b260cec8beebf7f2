"""Approximate search for galleries too large to be scanned: faiss' inverted lists over eight-bit codes, scored truly.

Which lists are read is chosen when it is built: as few as find `RECALL` of what the exact search finds, for queries
that stand in for real ones, beside a picture. What lies further from it, as words alone do, is to be searched exactly;
see `beside`. Filtered searches and ranks of targets stay exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Float16, Float32, Float64, Int
from numpy.typing import NDArray

from composir.errors import ComposirError
from composir.similarity.nearest import Nearest, Wanted

RECALL, AT = 0.99, 50
SPARE = 12  # one more row is scored truly for each so many that are asked for: eight bits mistake the last few only
AWAY = (0.5, 1.0)  # lengths of the random steps from a picture to the sample's queries, in turn
BESIDE = 0.7  # the cosine between a picture and what is a step of the longer ones away
SAMPLE = 200  # queries by which the number of lists is chosen
TRAINED = 64  # vectors for each list, by which lists are laid out
CHUNK = 65_536
Found = Callable[[Float32[NDArray, " D"], int, int], Int[NDArray, " K"]]  # of a query, k and how many lists are read


class Approximate:
    """A gallery of one vector an item, searched in part.

    Args:
        nearest: The exact search of the same gallery; it scores what the lists find.
        seed: Of the sample.

    Attributes:
        lists: Into which the gallery is cut.
        probes: How many of them a search reads.
        recall: Share of the exact 50 best that is found, by a sample.
        index: faiss' own.

    Raises:
        ComposirError: The scale extra is not installed; several vectors an item.
    """

    def __init__(self, nearest: Nearest, seed: int = 0):
        vectors = nearest.vectors
        if vectors.shape[1] != 1:
            raise ComposirError(f"approximate search takes one vector an item, not {vectors.shape[1]}; search exactly")
        self._nearest = nearest
        rows = vectors[:, 0]
        rng = np.random.default_rng(seed)
        self.lists = max(1, min(len(rows) // 39, round(len(rows) ** 0.5)))
        self.index = built(rows, self.lists, rng)
        self._sample = between(rows, SAMPLE, rng)
        k = min(AT, len(rows))
        self._truth = [set(nearest.best(Wanted.of(query[None]), k)[0].tolist()) for query in self._sample]
        self.probes, self.recall = self.fewest(self._found)
        self.index.nprobe = self.probes

    def best(
        self, wanted: Wanted, k: int, rows: Int[NDArray, " R"] | None = None, drop: Sequence[int] = ()
    ) -> tuple[Int[NDArray, " K"], Float64[NDArray, " K"]]:
        """As `Nearest.best`, but a row in a list that is not read is missed; with `rows` it is exact."""
        if rows is not None:
            return self._nearest.best(wanted, k, rows, drop)
        query = wanted.merged()
        _, found = self.index.search(query.vectors, min(len(self._nearest), k + k // SPARE + 1 + len(drop)))
        chosen = np.sort(found[0])
        chosen = chosen[chosen.searchsorted(0) :]  # -1 stands where the lists held fewer
        if len(drop):
            chosen = np.setdiff1d(chosen, np.asarray(list(drop), np.int64), assume_unique=True)
        scores = self._nearest.scores(query, chosen)
        order = np.argsort(-scores, kind="stable")[:k]
        return chosen[order], scores[order]

    def fewest(self, found: Found, wanted: float = RECALL) -> tuple[int, float]:
        """The fewest lists, in steps of a half, with which `found` reaches a recall, or all; and its recall then."""
        probes = 1
        while True:
            recall = self.recall_of(found, probes)
            if recall >= wanted or probes >= self.lists:
                return probes, recall
            probes = min(self.lists, probes + max(1, probes // 2))

    def recall_of(self, found: Found, probes: int) -> float:
        """What share of the exact 50 best `found` finds in so many lists, by the sample."""
        k = min(AT, len(self._nearest))
        got = [found(query, k, probes).tolist() for query in self._sample]
        return float(np.mean([len(own & set(rows)) / k for own, rows in zip(self._truth, got, strict=True)]))

    def _found(self, query: Float32[NDArray, " D"], k: int, probes: int) -> Int[NDArray, " K"]:
        self.index.nprobe = probes
        return self.best(Wanted.of(query[None]), k)[0]


def between(rows: Float16[NDArray, "N D"], count: int, rng: np.random.Generator) -> Float32[NDArray, "Q D"]:
    """Unit vectors some way from pictures to random directions, as composed queries lie beside their pictures."""
    picked = rows[rng.integers(len(rows), size=count)].astype(np.float32)
    away = rng.normal(size=picked.shape).astype(np.float32)
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    mixed = picked + np.resize(np.array(AWAY, np.float32), count)[:, None] * away
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def beside(wanted: Wanted, picture: Float[NDArray, "1 D"] | None) -> bool:
    """Whether a query lies as near to its picture as those by which lists are chosen; not if it has none."""
    if picture is None:
        return False
    query = wanted.merged().vectors[0]
    length = float(np.linalg.norm(query) * np.linalg.norm(picture[0]))
    return length > 0 and float(query @ picture[0]) >= BESIDE * length


def built(rows: Float16[NDArray, "N D"], lists: int, rng: np.random.Generator) -> Any:
    """Lay faiss' inverted lists over the rows, by a sample of them."""
    try:
        import faiss
    except ImportError as error:
        told = f"approximate search needs the scale extra ({error.name} is missing): pip install 'composir[scale]'"
        raise ComposirError(told) from error
    index = faiss.index_factory(rows.shape[1], f"IVF{lists},SQ8", faiss.METRIC_INNER_PRODUCT)
    sample = rng.choice(len(rows), size=min(len(rows), TRAINED * lists), replace=False)
    index.train(rows[np.sort(sample)].astype(np.float32))
    for start in range(0, len(rows), CHUNK):
        index.add(rows[start : start + CHUNK].astype(np.float32))
    return index
