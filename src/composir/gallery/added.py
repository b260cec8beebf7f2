"""What was added to a gallery since it was read: kept apart, and put behind the rest without touching it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, SupportsIndex

import numpy as np
import pyarrow as pa
from jaxtyping import Float16
from numpy.typing import NDArray

from composir.gallery.growth import Growth
from composir.gallery.part import Ids, Part
from composir.gallery.store import NO_METADATA, Gallery

FEW, SHARE, MOST = 1_000, 8, 16_384  # kept apart: up to the first, or a share of the rest, never more than the last


@dataclass(frozen=True, eq=False)
class Added:
    """Pictures and files that came later.

    Attributes:
        vectors: Id -> (T, D); also of pictures whose file is still to come.
        paths: Id -> its files.
    """

    vectors: Mapping[str, Float16[NDArray, "T D"]] = field(default_factory=dict)
    paths: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def plus(self, more: Growth, base: Part) -> Added | None:
        """These and others.

        None where that changes what is known already, as another file of a known picture does, or where it is so much
        that all should be read anew.
        """
        vectors = {**self.vectors, **dict(zip(more.ids, more.vectors, strict=True))}
        vectors = {own: vector for own, vector in vectors.items() if own not in base.ids}
        if len(vectors) > min(MOST, max(FEW, len(base) // SHARE)):
            return None
        paths = {own: list(there) for own, there in self.paths.items()}
        for path, own, reason in zip(*more.files.to_pydict().values(), strict=True):
            if reason or own is None:
                continue
            if own in vectors:
                paths.setdefault(own, []).append(path)
            elif (row := base.ids.find(own)) is None or path not in base.paths[row]:
                return None
        return Added(vectors, paths)

    def part(self, gallery: Gallery, base: Part) -> Part | None:
        """The pictures that have a file, if any."""
        if not self.paths:
            return None
        ids = sorted(self.paths)
        pairs = [(own, path) for own in ids for path in self.paths[own]]
        places = pa.table([list(column) for column in zip(*pairs, strict=True)], names=["id", "path"])
        metadata = gallery.metadata(places["path"].to_pylist()) if base.columns.types else NO_METADATA
        return Part.made(ids, np.stack([self.vectors[own] for own in ids]), places, metadata)


class Both(Sequence[Any]):
    """Two sequences, the second behind the first."""

    def __init__(self, first: Sequence[Any], second: Sequence[Any]):
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, row: SupportsIndex | slice) -> Any:
        if isinstance(row, slice):
            return [self[one] for one in range(*row.indices(len(self)))]
        row = range(len(self))[row]
        return self._first[row] if row < len(self._first) else self._second[row - len(self._first)]

    def __iter__(self) -> Iterator[Any]:
        return itertools.chain(self._first, self._second)


class Rows(Mapping[str, int]):
    """Id -> row."""

    def __init__(self, *parts: Ids):
        self._parts = parts

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __iter__(self) -> Iterator[str]:
        return itertools.chain(*self._parts)

    def __getitem__(self, id: str) -> int:
        start = 0
        for ids in self._parts:
            if (row := ids.find(id)) is not None:
                return start + row
            start += len(ids)
        raise KeyError(id)
