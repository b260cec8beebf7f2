"""Captions of any number of pictures, kept on disk: what is held is a few numbers for each row, never its text.

Rows of one picture become one pair. The hash of a picture's id brings them together, and decides its split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from composir.datasets.base import Split
from composir.errors import DataError
from composir.types import Pair


@runtime_checkable
class Rows(Protocol):
    """Captions in files, each row with the id of its picture."""

    def scan(self) -> NDArray[np.uint64]:
        """Read every file once and remember where each row lies; returns `hash_of` each row's image id, in order.

        Raises:
            DataError: A row that is broken; its file and line are named.
        """
        ...

    def row(self, number: int) -> tuple[str, tuple[str, ...]]:
        """Image id and captions of one row, counted from 0, read from its file."""
        ...

    def path(self, image_id: str) -> Path | None:
        """The file of a picture, if it has one of its own and that exists."""
        ...


def hash_of(image_id: str) -> int:
    """64 bits that depend on nothing but the id, whatever else is in the set."""
    return int.from_bytes(hashlib.blake2b(image_id.encode("utf-8"), digest_size=8).digest(), "little")


class Index:
    """Which rows belong to which picture, and which pictures to which split; three whole numbers a row.

    Args:
        hashes: (rows,) of the image id of each row.
        val: Share of the pictures in val, by their hash.
        test: Share in test; the rest is train.
    """

    def __init__(self, hashes: NDArray[np.uint64], val: float, test: float) -> None:
        self._order = np.argsort(hashes, kind="stable")
        hashes = hashes[self._order]
        changes = np.flatnonzero(hashes[1:] != hashes[:-1]) + 1
        self._bounds = np.concatenate(([0], changes, [len(hashes)]))
        self._hashes = hashes[self._bounds[:-1]]
        self._shares: dict[Split, tuple[float, float]] = {
            "test": (0.0, test),
            "val": (test, test + val),
            "train": (test + val, 1.0),
        }

    def find(self, image_id: str) -> int | None:
        """The first row of a picture, or None."""
        wanted = np.uint64(hash_of(image_id))
        at = int(np.searchsorted(self._hashes, wanted))
        return int(self._order[self._bounds[at]]) if at < len(self._hashes) and self._hashes[at] == wanted else None

    def pictures(self, split: Split) -> PictureRows:
        """The rows of each picture of a split; pictures in the order of their first rows."""
        low, high = self._shares[split]
        place = (self._hashes >> np.uint64(11)) * 2.0**-53  # in [0, 1), exactly
        groups = np.flatnonzero((place >= low) & (place < high))
        return PictureRows(self._order, self._bounds, groups[np.argsort(self._order[self._bounds[groups]])])


class PictureRows:
    """The rows of each of some pictures: numbers alone."""

    def __init__(self, order: NDArray[np.int64], bounds: NDArray[np.int64], groups: NDArray[np.int64]) -> None:
        self._order, self._bounds, self._groups = order, bounds, groups

    def __len__(self) -> int:
        return len(self._groups)

    def __getitem__(self, at: int) -> list[int]:
        group = self._groups[at]
        return self._order[self._bounds[group] : self._bounds[group + 1]].tolist()


class Pairs(Sequence[Pair]):
    """Pairs that are read when they are asked for; the id of each is that of its picture."""

    def __init__(self, rows: Rows, pictures: PictureRows) -> None:
        self._rows, self._pictures = rows, pictures

    def __len__(self) -> int:
        return len(self._pictures)

    @overload
    def __getitem__(self, at: int) -> Pair: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Pair]: ...
    def __getitem__(self, at: int | slice) -> Pair | Sequence[Pair]:
        if isinstance(at, slice):
            return [self._pair(i) for i in range(*at.indices(len(self)))]
        if not -len(self) <= at < len(self):
            raise IndexError(f"pair {at} of {len(self)}")
        return self._pair(at)

    def _pair(self, at: int) -> Pair:
        found = [self._rows.row(number) for number in self._pictures[at]]
        image = found[0][0]
        for other, _ in found:
            if other != image:  # of 10 million ids, once in 400,000 sets
                raise DataError(f"picture ids {image!r} and {other!r} have one hash; rename one of them")
        return Pair(image, image, tuple(caption for _, captions in found for caption in captions))
