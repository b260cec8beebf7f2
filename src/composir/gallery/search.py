"""Exact search over a gallery held in memory; the score itself comes from `composir.similarity`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from composir.gallery import kept
from composir.gallery.added import Added, Both, Rows
from composir.gallery.columns import Columns, JoinedColumns
from composir.gallery.growth import Marks, growth, marks
from composir.gallery.part import Ids, Part, Paths, many
from composir.gallery.store import Gallery
from composir.similarity.approximate import Approximate
from composir.similarity.joined import Joined
from composir.similarity.nearest import Nearest, Wanted
from composir.similarity.quantized import Codes
from composir.types import Hit

PIECE = 65_536  # rows compared at a time


@dataclass(frozen=True, eq=False)
class Shelf:
    """A gallery as it was at one moment.

    Rows are those of what was read at once, by ascending id, then those of what was added since, by ascending id too.
    Equal scores come by ascending id in any case.

    Attributes:
        base: What was read at once.
        marks: Of the gallery at that moment.
        waiting: What came since, in the order of its arrival.
        added: The pictures of that, a row each; None for none.
    """

    base: Part
    marks: Marks
    waiting: Added = field(default_factory=Added)
    added: Part | None = None

    @classmethod
    def load(cls, gallery: Gallery) -> Shelf:
        """Open a gallery, by what is kept of it where that is of use.

        Pictures without a file, left by an interrupted run, are not searched.
        """
        if (found := kept.read(gallery)) and (grown := cls(*found).grown(gallery)):
            return grown
        shelf = cls.read(gallery)
        if gallery.place.apart and many(len(shelf) * shelf.each):
            kept.write(gallery, shelf.base, shelf.marks)
        return shelf

    @classmethod
    def read(cls, gallery: Gallery) -> Shelf:
        """The same, from the gallery's tables."""
        now = marks(gallery)  # if it grows meanwhile, the next look at it tells
        # Files first: every picture they point to was committed before them.
        places = gallery.places()
        ids, vectors, _ = gallery.vectors()
        return cls(Part.made(ids, vectors, places, gallery.metadata()), now)

    def grown(self, gallery: Gallery) -> Shelf | None:
        """With what was added to the gallery since; None where more happened, or too much: read it anew then."""
        more = growth(gallery, self.marks)
        waiting = self.waiting.plus(more, self.base) if more else None
        if more is None or waiting is None:
            return None
        return Shelf(self.base, more.marks, waiting, waiting.part(gallery, self.base))

    @classmethod
    def sound(cls, gallery: Gallery) -> bool:
        """Whether what is kept of a gallery, if anything, is what its tables hold; costs reading both."""
        found = kept.read(gallery)
        own = cls(*found).grown(gallery) if found else None
        if own is None:
            return True  # nobody would read it
        true, order = cls.read(gallery), np.argsort(own.order)
        pieces = zip(np.split(order, range(PIECE, len(order), PIECE)), true.pieces(PIECE), strict=True)
        return (
            [own.ids[row] for row in order] == list(true.ids)
            and [own.paths[row] for row in order] == list(true.paths)
            and all(torch.equal(own.vectors(rows), piece) for rows, piece in pieces)
            and (own.base.codes is None or own.base.codes.same_as(Codes(own.base.vectors)))
        )

    @classmethod
    def keep(cls, gallery: Gallery) -> bool:
        """Keep the shelf of a large gallery beside it, unless what is kept is of use still; only while `writing`.

        In an object store there is no beside: there `load` keeps it, on the machine of the reader.

        Returns:
            Whether something was written.
        """
        if gallery.place.apart:
            return False
        if not many(gallery.tables()["images"].count_rows() * gallery.manifest.vectors):
            kept.drop(gallery)
            return False
        found = kept.read(gallery)
        if found and cls(*found).grown(gallery) is not None:
            return False
        shelf = cls.read(gallery)
        return kept.write(gallery, shelf.base, shelf.marks) is not None

    def __len__(self) -> int:
        return len(self.base) + len(self.added or ())

    @property
    def version(self) -> str:
        """Another after every commit."""
        return ".".join(map(str, self.marks.values()))

    @cached_property
    def ids(self) -> Ids | Both:
        """Of all rows."""
        return Both(self.base.ids, self.added.ids) if self.added else self.base.ids

    @cached_property
    def rows(self) -> Mapping[str, int]:
        """Id -> row."""
        return Rows(self.base.ids, *([self.added.ids] if self.added else []))

    @cached_property
    def paths(self) -> Paths | Both:
        """For each row all paths that hold its picture, sorted; a hit shows the first."""
        return Both(self.base.paths, self.added.paths) if self.added else self.base.paths

    @cached_property
    def columns(self) -> Columns | JoinedColumns:
        """Metadata, a row a picture."""
        return JoinedColumns(self.base.columns, self.added.columns, len(self.base)) if self.added else self.base.columns

    @property
    def each(self) -> int:
        """T, vectors a picture."""
        return self.base.vectors.shape[1]

    def vectors(self, rows: Sequence[int] | Int[NDArray, " R"]) -> Float[Tensor, "R T D"]:
        """Those of some rows, in half precision and of unit length."""
        own = np.asarray(rows, np.int64)
        found, later = np.empty((len(own), *self.base.vectors.shape[1:]), np.float16), own >= len(self.base)
        found[~later] = self.base.vectors[own[~later]]
        if self.added:
            found[later] = self.added.vectors[own[later] - len(self.base)]
        return torch.from_numpy(found)

    def pieces(self, most: int) -> Iterator[Float[Tensor, "B T D"]]:
        """The vectors of all rows, so many at a time."""
        for start in range(0, len(self), most):
            yield self.vectors(np.arange(start, min(start + most, len(self))))

    def find(self, path: str) -> str | None:
        """The id of the picture at a path."""
        for part in (self.base, self.added):
            if part and (row := part.places.get(path)) is not None:
                return part.ids[row]
        return None

    @cached_property
    def order(self) -> Int[NDArray, " N"]:
        """The place of each row among all ids, ascending."""
        if not self.added:
            return np.arange(len(self))
        later = self._places + np.arange(len(self.added))
        rest = np.arange(len(self.base)) + np.searchsorted(self._places, np.arange(len(self.base)), side="right")
        return np.concatenate([rest, later])

    @cached_property
    def _places(self) -> Int[NDArray, " F"]:
        """How many rows of `base` each of `added` stands behind."""
        return np.searchsorted(self.base.ids.packed, self.added.ids.packed if self.added else np.zeros(0, np.bytes_))

    @cached_property
    def nearest(self) -> Nearest | Joined:
        """All rows, ready to be searched exactly."""
        own = self.base.nearest
        return Joined(own, self.added.nearest, self._places) if self.added else own

    def searched(self, searcher: Nearest | Approximate) -> Nearest | Approximate | Joined:
        """All rows, those of `base` by a searcher of theirs."""
        return Joined(self.base.nearest, self.added.nearest, self._places, searcher) if self.added else searcher

    def search(self, query: Float[Tensor, "1 S D"], k: int, drop: str | None = None, where: str = "") -> list[Hit]:
        """The k best pictures, best first, equal scores by ascending id.

        Args:
            query: Unit vectors of one query.
            k: How many at most.
            drop: Id of a picture to leave out; one that is not in the gallery changes nothing.
            where: A filter over the columns, as `Columns.rows` reads it; "" for none.

        Raises:
            ComposirError: `where` cannot be understood, or names a column that there is not.
        """
        if k < 1 or not len(self):
            return []
        unwanted = [] if (own := self.rows.get(drop or "")) is None else [own]
        found, scores = self.nearest.best(Wanted.of(query[0].numpy()), k, self.columns.rows(where), unwanted)
        best = zip(found.tolist(), scores.tolist(), strict=True)
        return [Hit(rank, self.ids[row], self.paths[row][0], score) for rank, (row, score) in enumerate(best, start=1)]
