"""Exact search over a gallery held in memory; the score itself comes from `composir.similarity`."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from composir.gallery.columns import Columns
from composir.gallery.store import Gallery
from composir.kernels import available
from composir.similarity.nearest import Nearest, Wanted
from composir.similarity.quantized import Codes
from composir.types import Hit

MANY = 20_000  # vectors; fewer are scored in single precision about as fast as a compiled scan is started


class Paths(Sequence[tuple[str, ...]]):
    """For each row the paths of its picture, sorted; text stays packed until it is asked for.

    Args:
        paths: Of all rows, one after the other.
        counts: How many each row has, 1 or more.
    """

    def __init__(self, paths: pa.Array, counts: NDArray[np.int64]):
        self._paths = paths
        self._ends = np.concatenate([[0], np.cumsum(counts)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, row: SupportsIndex | slice) -> Any:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        row = operator.index(row)
        if not -len(self) <= row < len(self):
            raise IndexError(row)
        start, end = self._ends[row % len(self)], self._ends[row % len(self) + 1]
        return tuple(self._paths[int(start) : int(end)].to_pylist())

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        paths = self._paths.to_pylist()
        return (tuple(paths[start:end]) for start, end in itertools.pairwise(self._ends.tolist()))

    def firsts(self) -> pa.Array:
        """The first path of each row."""
        return self._paths.take(pa.array(self._ends[:-1]))


@dataclass(frozen=True)
class Shelf:
    """A gallery as it was at one moment, by ascending id: that is the order of equal scores.

    Ids depend on content alone, so neither the order of indexing nor a rename changes a ranking.

    Attributes:
        ids: Ascending.
        rows: Id -> row.
        paths: For each row all paths that hold this picture, sorted; a hit shows the first.
        vectors: (N, T, D) half precision, unit length.
        columns: Metadata, a row a picture.
        version: Of the gallery, as `Gallery.version` tells it.
    """

    ids: list[str]
    rows: dict[str, int]
    paths: Sequence[tuple[str, ...]]
    vectors: Float[Tensor, "N T D"]
    columns: Columns
    version: str = ""

    @classmethod
    def load(cls, gallery: Gallery) -> Shelf:
        """Read a gallery; pictures without a file, left by an interrupted run, are not searched."""
        version = gallery.version()  # if it grows meanwhile, the next look at it tells
        # Files first: every picture they point to was committed before them.
        places = gallery.places()
        ids, vectors, _ = gallery.vectors()
        found = pc.index_in(  # pyright: ignore[reportAttributeAccessIssue]
            places["id"].combine_chunks(), value_set=pa.array(ids, pa.string())
        )
        known = places["path"].combine_chunks().filter(found.is_valid())
        row_of_file = found.drop_null().to_numpy().astype(np.int64)
        counts = np.bincount(row_of_file, minlength=len(ids))
        kept = np.flatnonzero(counts)
        if len(kept) < len(ids):
            ids, vectors = [ids[row] for row in kept], vectors[kept]
        paths = Paths(_by_row(known, row_of_file, counts), counts[kept])
        columns = Columns.of(gallery.metadata(), paths.firsts())
        rows = dict(zip(ids, range(len(ids)), strict=True))
        return cls(ids, rows, paths, torch.from_numpy(vectors), columns, version)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def nearest(self) -> Nearest:
        """The vectors, ready to be searched: from `MANY` on by eight-bit codes, where the scale extra is installed."""
        vectors = self.vectors.numpy()
        many = len(self) * self.vectors.shape[1] >= MANY and available()
        return Nearest(vectors, Codes(vectors) if many else None)

    def search(self, query: Float[Tensor, "1 S D"], k: int, drop: str | None = None, where: str = "") -> list[Hit]:
        """The k best pictures, best first, equal scores by ascending id.

        Args:
            query: Unit vectors of one query.
            k: How many at most.
            drop: Id of a picture to leave out; one that is not in the gallery changes nothing.
            where: An SQL-like filter over the columns; "" for none.

        Raises:
            ComposirError: `where` cannot be understood, or names a column that there is not.
        """
        if k < 1 or not len(self):
            return []
        unwanted = [self.rows[drop]] if drop in self.rows else []
        found, scores = self.nearest.best(Wanted.of(query[0].numpy()), k, self.columns.rows(where), unwanted)
        best = zip(found.tolist(), scores.tolist(), strict=True)
        return [Hit(rank, self.ids[row], self.paths[row][0], score) for rank, (row, score) in enumerate(best, start=1)]


def _by_row(paths: pa.Array, rows: NDArray[np.int64], counts: NDArray[np.int64]) -> pa.Array:
    """Paths in the order of their rows; those of one row sorted, which few have several of."""
    order = np.argsort(rows, kind="stable")
    shared = np.flatnonzero(counts[rows[order]] > 1)
    if len(shared):
        some = order[shared]
        table = pa.table({"row": rows[some], "path": paths.take(pa.array(some))})
        by_both = pc.sort_indices(table, sort_keys=[("row", "ascending"), ("path", "ascending")])  # pyright: ignore[reportAttributeAccessIssue]
        order[shared] = some[by_both.to_numpy()]
    return paths.take(pa.array(order))
