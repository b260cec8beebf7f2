"""Ranked pictures page by page: stable while the gallery grows, near-duplicates folded.

The first page of a large gallery may be looked for in part. Every further page is cut from the exact ranking: below the
last picture of the page before, by score and id, less what a first page in part has shown. So scrolling neither repeats
nor skips, and a page costs the same wherever it stands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from composir.gallery.search import Shelf
from composir.server.answering.marks import PREFIX, SEEN, Mark
from composir.server.answering.ranking import Ranker

SPARE = 16  # rows ranked beyond the page at first, where some may be folded
FOLDED = 2000  # of the best pictures near-duplicates are folded; each is compared to all better ones
TOP = Mark("", 0, np.inf, "")


@dataclass(slots=True)
class Shown:
    """A picture of a ranking, and its near-duplicates that stand below it."""

    row: int
    score: float
    folded: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Page:
    """Some pictures of a ranking.

    Attributes:
        shown: Best first.
        mark: Where the next page begins, its query left open; None at the end.
    """

    shown: list[Shown]
    mark: Mark | None


@dataclass(frozen=True, eq=False)
class Pages:
    """A ranking to be cut into pages; what others add meanwhile moves no picture from one page to another.

    Attributes:
        shelf: The gallery.
        ranker: The query.
        rows: Those that pass the filter; None for all.
        drop: Rows that are left out.
        alike: Cosine from which on a picture counts as the same as a better one, and is folded; None folds nothing. Of
            the best `FOLDED` pictures only; those below stand as they are.
    """

    shelf: Shelf
    ranker: Ranker
    rows: Int[NDArray, " R"] | None = None
    drop: Sequence[int] = ()
    alike: float | None = None

    def page(self, k: int, after: Mark = TOP) -> Page:
        """The next k pictures after the last page's end."""
        if after is TOP and self.ranker.partial and self.rows is None and k <= SEEN:
            shown = self._quickly(k + 1)
            if len(shown) > k:
                seen = frozenset(self.shelf.ids[own.row][:PREFIX] for own in shown[:k])
                return Page(shown[:k], Mark("", k, np.inf, self.shelf.ids[shown[k - 1].row], seen))
        shown = self._unfolded(k + 1, after) if self.alike is None else self._folded(k + 1, after, self.alike)
        if len(shown) <= k:
            return Page(shown, None)
        last = shown[k - 1]
        return Page(shown[:k], Mark("", after.rank + k, last.score, self.shelf.ids[last.row], after.seen))

    def _most(self, rows: Int[NDArray, " R"] | None) -> int:
        return len(self.shelf) if rows is None else len(rows)

    def _quickly(self, count: int) -> list[Shown]:
        """So many pictures that need not be the very best; fewer where the search in part finds no more."""
        depth = count + (SPARE if self.alike else 0)
        while True:
            found, scores = self.ranker.quick(depth, self.drop)
            shown = fold(self.shelf, found.tolist(), scores.tolist(), self.alike)
            if len(shown) >= count or len(found) < depth or depth >= FOLDED:
                return shown
            depth *= 2

    def _unfolded(self, count: int, after: Mark) -> list[Shown]:
        """The best pictures below a mark."""
        rows = self.rows
        if not after.at_the_top:
            below = self.ranker.below(after.score, after.id)
            rows = below if rows is None else np.intersect1d(below, rows, assume_unique=True)
        if not (most := self._most(rows)):
            return []
        found, scores = self.ranker.best(min(count + len(after.seen), most), rows, self.drop)
        shown = fold(self.shelf, found.tolist(), scores.tolist(), None)
        return [own for own in shown if self.shelf.ids[own.row][:PREFIX] not in after.seen][:count]

    def _folded(self, count: int, after: Mark, alike: float) -> list[Shown]:
        """Likewise, near-duplicates put behind better ones, which may stand on earlier pages: hence from the top."""
        limit = min(FOLDED, self._most(self.rows))
        if not limit:
            return []
        depth = min(limit, after.rank + count + SPARE)
        while True:
            found, scores = self.ranker.best(depth, self.rows, self.drop)
            shown = fold(self.shelf, found.tolist(), scores.tolist(), alike)
            rest = [own for own in shown if self._passes(own, after)]
            if len(rest) >= count or depth >= limit:
                break
            depth = min(limit, 2 * depth)
        if len(rest) < count and len(found) == FOLDED:
            end = Mark("", FOLDED, float(scores[-1]), self.shelf.ids[int(found[-1])], after.seen)
            rest += self._unfolded(count - len(rest), max(after, end, key=_place))
        return rest[:count]

    def _passes(self, own: Shown, mark: Mark) -> bool:
        id = self.shelf.ids[own.row]
        return (-own.score, id) > _place(mark) and id[:PREFIX] not in mark.seen


def _place(mark: Mark) -> tuple[float, str]:
    return -mark.score, mark.id


def fold(shelf: Shelf, rows: Sequence[int], scores: Sequence[float], alike: float | None) -> list[Shown]:
    """Ranked rows, each near-duplicate of a better one put behind it."""
    if alike is None or not rows:
        return [Shown(row, score) for row, score in zip(rows, scores, strict=True)]
    vectors = shelf.vectors(rows).float().numpy().reshape(len(rows), -1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    nearness = vectors @ vectors.T
    shown: list[Shown] = []
    heads = np.empty(len(rows), np.int64)  # places in `rows` of those shown
    for place, (row, score) in enumerate(zip(rows, scores, strict=True)):
        near = nearness[place, heads[: len(shown)]]
        if shown and near.max() >= alike:
            shown[int(near.argmax())].folded.append(row)
        else:
            heads[len(shown)] = place
            shown.append(Shown(row, score))
    return shown
