"""Exact search over a gallery held in memory; the score itself comes from `composir.similarity`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from composir.gallery.columns import Columns
from composir.gallery.store import Gallery
from composir.kernels import available
from composir.similarity.nearest import Nearest, Wanted
from composir.similarity.quantized import Codes
from composir.types import Hit

MANY = 20_000  # vectors; fewer are scored in single precision about as fast as a compiled scan is started


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
    paths: list[tuple[str, ...]]
    vectors: Float[Tensor, "N T D"]
    columns: Columns
    version: str = ""

    @classmethod
    def load(cls, gallery: Gallery) -> Shelf:
        """Read a gallery; pictures without a file, left by an interrupted run, are not searched."""
        version = gallery.version()  # if it grows meanwhile, the next look at it tells
        # Files first: every picture they point to was committed before them.
        places: dict[str, list[str]] = {}
        for row in gallery.files().values():
            if row.id is not None and not row.reason:
                places.setdefault(row.id, []).append(row.path)
        ids, vectors, _ = gallery.vectors()
        kept = [row for row, i in enumerate(ids) if i in places]
        own = [ids[row] for row in kept]
        paths = [tuple(sorted(places[i])) for i in own]
        rows = {i: row for row, i in enumerate(own)}
        columns = Columns.of(gallery.metadata(), [own[0] for own in paths])
        return cls(own, rows, paths, torch.from_numpy(vectors[np.asarray(kept, dtype=np.intp)]), columns, version)

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
