"""Pictures of a gallery in memory, packed: by ascending id, which is the order of equal scores.

Ids depend on content alone, so neither the order of indexing nor a rename changes a ranking.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, SupportsIndex

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float16
from numpy.typing import NDArray

from composir.gallery.columns import Columns
from composir.kernels import available
from composir.similarity.nearest import Nearest
from composir.similarity.quantized import Codes

MANY = 20_000  # vectors; fewer are scored in single precision about as fast as a compiled scan is started


class Ids(Sequence[str]):
    """Ascending ids; a million of them take 32 MB and no time to open.

    Args:
        packed: Their bytes, ascending.
    """

    def __init__(self, packed: NDArray[Any]):
        self.packed = packed

    @classmethod
    def of(cls, ids: Iterable[str]) -> Ids:
        """Of text that ascends."""
        return cls(np.array([own.encode() for own in ids], dtype=np.bytes_))

    def __len__(self) -> int:
        return len(self.packed)

    def __getitem__(self, row: SupportsIndex | slice) -> Any:
        found = self.packed[row]
        return [own.decode() for own in found.tolist()] if isinstance(row, slice) else bytes(found).decode()

    def __iter__(self) -> Iterator[str]:
        return map(bytes.decode, self.packed.tolist())

    def before(self, id: str) -> int:
        """How many ids are less than one."""
        return int(np.searchsorted(self.packed, np.bytes_(id.encode()))) if len(self) else 0

    def find(self, id: str) -> int | None:
        """The row of an id."""
        row = self.before(id)
        return row if row < len(self) and self[row] == id else None

    def __contains__(self, id: object) -> bool:
        return isinstance(id, str) and self.find(id) is not None


class Paths(Sequence[tuple[str, ...]]):
    """For each row the paths of its picture, sorted; text stays packed until it is asked for.

    Args:
        paths: Of all rows, one after the other.
        counts: How many each row has, 1 or more.
    """

    def __init__(self, paths: pa.Array, counts: NDArray[np.int64]):
        self.packed, self.counts = paths, counts
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
        return tuple(self.packed[int(start) : int(end)].to_pylist())

    def __iter__(self) -> Iterator[tuple[str, ...]]:
        paths = self.packed.to_pylist()
        return (tuple(paths[start:end]) for start, end in itertools.pairwise(self._ends.tolist()))

    def told_of(self, told: pa.Array) -> pa.Array:
        """Of each row the first path that is among `told`, or the first one where none is."""
        if not len(self):
            return self.packed
        known = pc.is_in(self.packed, value_set=told).to_numpy(zero_copy_only=False)  # pyright: ignore[reportAttributeAccessIssue]
        starts, none = self._ends[:-1], len(self.packed)
        first = np.minimum.reduceat(np.where(known, np.arange(none), none), starts)
        return self.packed.take(pa.array(np.where(first < none, first, starts)))


@dataclass(frozen=True, eq=False)
class Part:
    """Pictures, a row each.

    Attributes:
        ids: Ascending.
        paths: For each row all paths that hold this picture, sorted; a hit shows the first.
        vectors: (N, T, D) half precision, unit length.
        columns: Metadata.
        codes: Eight-bit codes of the vectors, if they are at hand.
    """

    ids: Ids
    paths: Paths
    vectors: Float16[NDArray, "N T D"]
    columns: Columns
    codes: Codes | None = None

    @classmethod
    def made(cls, ids: Sequence[str], vectors: Float16[NDArray, "N T D"], places: pa.Table, metadata: pa.Table) -> Part:
        """Pictures that have a file.

        Args:
            ids: Ascending.
            vectors: Theirs.
            places: The columns `id` and `path`, in no order; other pictures, left by an interrupted run, are left out.
            metadata: As `Gallery.metadata` gives it. Of copies the first path counts that it tells something of.
        """
        found = pc.index_in(  # pyright: ignore[reportAttributeAccessIssue]
            places["id"].combine_chunks(), value_set=pa.array(ids, pa.string())
        )
        known = places["path"].combine_chunks().filter(found.is_valid())
        row_of_file = found.drop_null().to_numpy().astype(np.int64)
        counts = np.bincount(row_of_file, minlength=len(ids))
        kept = np.flatnonzero(counts)
        if len(kept) < len(ids):
            ids, vectors = [ids[row] for row in kept.tolist()], vectors[kept]
        paths = Paths(_by_row(known, row_of_file, counts), counts[kept])
        told = paths.told_of(metadata["path"].combine_chunks())
        return cls(Ids.of(ids), paths, vectors, Columns.of(metadata, told))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def places(self) -> dict[str, int]:
        """Path -> row."""
        return {path: row for row, paths in enumerate(self.paths) for path in paths}

    @cached_property
    def nearest(self) -> Nearest:
        """The vectors, ready to be searched."""
        return searcher(self.vectors, self.codes)


def searcher(vectors: Float16[NDArray, "N T D"], codes: Codes | None = None) -> Nearest:
    """The exact search over vectors: from `MANY` on by eight-bit codes, where the scale extra is installed."""
    coded = many(len(vectors) * vectors.shape[1]) and available()
    return Nearest(vectors, (codes or Codes(vectors)) if coded else None)


def many(vectors: int) -> bool:
    """Whether so many vectors are searched by codes, and kept for opening."""
    return vectors >= MANY


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
