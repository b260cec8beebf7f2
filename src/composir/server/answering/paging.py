"""Ranked pictures page by page: stable while the gallery grows, near-duplicates folded, places of targets."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray

from composir.errors import ComposirError
from composir.gallery.search import Shelf
from composir.similarity.approximate import Approximate
from composir.similarity.joined import Joined
from composir.similarity.nearest import Nearest, Wanted

SPARE = 16  # rows ranked beyond the page at first


@runtime_checkable
class Ranker(Protocol):
    """One query over a gallery."""

    def best(
        self, k: int, rows: Int[NDArray, " R"] | None, drop: Sequence[int]
    ) -> tuple[Int[NDArray, " K"], Float64[NDArray, " K"]]:
        """The k best of `rows` less `drop`, best first, equal scores in gallery order."""
        ...

    def ranks(
        self, targets: Int[NDArray, " M"], rows: Int[NDArray, " R"] | None, drop: Sequence[int]
    ) -> Int[NDArray, " M"]:
        """The rank of each target, from 1; 0 for one that is not ranked."""
        ...


@dataclass(frozen=True, eq=False)
class Searched:
    """Ranks by what is looked for; ranks of targets are exact even where the best are looked for in part."""

    nearest: Nearest | Joined
    searcher: Nearest | Approximate | Joined
    wanted: Wanted

    def best(self, k, rows, drop):
        """See `Ranker`."""
        return self.searcher.best(self.wanted, k, rows, drop)

    def ranks(self, targets, rows, drop):
        """See `Ranker`."""
        return self.nearest.ranks(self.wanted, targets, rows, drop)


@dataclass(frozen=True, eq=False)
class Scored:
    """Ranks by scores that are known of every row."""

    scores: Float64[NDArray, " N"]
    order: Int[NDArray, " N"]  # place of each row where scores are equal

    def best(self, k, rows, drop):
        """See `Ranker`."""
        chosen = self._chosen(rows, drop)
        chosen = chosen[np.lexsort((self.order[chosen], -self.scores[chosen]))[:k]]
        return chosen, self.scores[chosen]

    def ranks(self, targets, rows, drop):
        """See `Ranker`."""
        order = self.best(len(self.scores), rows, drop)[0]
        places = np.zeros(len(self.scores), np.int64)
        places[order] = np.arange(1, len(order) + 1)
        return places[targets]

    def _chosen(self, rows, drop):
        chosen = np.arange(len(self.scores)) if rows is None else rows
        return np.setdiff1d(chosen, np.asarray(list(drop), np.int64), assume_unique=True)


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page ended: its query's fingerprint, and rank, score and id of the last picture."""

    digest: str
    rank: int
    score: float
    id: str

    def __str__(self) -> str:
        told = json.dumps([self.digest, self.rank, self.score.hex(), self.id], separators=(",", ":"))
        return base64.urlsafe_b64encode(told.encode()).decode().rstrip("=")

    @classmethod
    def read(cls, cursor: str, digest: str) -> Mark:
        """What an earlier answer told.

        Raises:
            ComposirError: It is of another query, or of none.
        """
        try:
            told = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            own, rank, score, last = json.loads(told)
            mark = cls(str(own), int(rank), float.fromhex(score), str(last))
        except (ValueError, TypeError, AttributeError) as error:
            raise ComposirError("the cursor is not one of this server's; leave it out to begin anew") from error
        if mark.digest != digest or not np.isfinite(mark.score) or not 0 < mark.rank < 2**40:
            raise ComposirError("the cursor is of another query; send it with the query that it came with")
        return mark


@dataclass(slots=True)
class Shown:
    """A picture of a ranking, and its near-duplicates that stand below it."""

    row: int
    score: float
    folded: list[int] = field(default_factory=list)


def page(
    shelf: Shelf,
    ranker: Ranker,
    k: int,
    *,
    after: Mark | None,
    rows: Int[NDArray, " R"] | None,
    drop: Sequence[int],
    alike: float | None,
) -> tuple[list[Shown], bool]:
    """The next k pictures of a ranking, and whether more follow.

    A page begins below the last picture of the one before, by score and id: what others add meanwhile moves no picture
    from one page to another.

    Args:
        shelf: The gallery.
        ranker: The query.
        k: How many.
        after: Where the last page ended; None for the first.
        rows: Those that pass the filter; None for all.
        drop: Rows that are left out.
        alike: Cosine from which on a picture counts as the same as a better one, and is folded; None folds nothing.
    """
    most = len(shelf) if rows is None else len(rows)
    depth = (after.rank if after else 0) + k + 1 + (SPARE if after or alike else 0)
    while True:
        found, scores = ranker.best(min(depth, max(1, most)), rows, drop)
        shown = fold(shelf, found.tolist(), scores.tolist(), alike)
        rest = [own for own in shown if after is None or _below(shelf, own, after)]
        if len(rest) > k or depth >= most:
            return rest[:k], len(rest) > k
        depth *= 2


def _below(shelf: Shelf, own: Shown, mark: Mark) -> bool:
    return (-own.score, shelf.ids[own.row]) > (-mark.score, mark.id)


def fold(shelf: Shelf, rows: Sequence[int], scores: Sequence[float], alike: float | None) -> list[Shown]:
    """Ranked rows, each near-duplicate of a better one put behind it."""
    if alike is None:
        return [Shown(row, score) for row, score in zip(rows, scores, strict=True)]
    shown: list[Shown] = []
    vectors = shelf.vectors(rows).float().numpy()
    vectors = vectors.reshape(len(rows), -1)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    heads = np.empty_like(vectors)
    for own, row, score in zip(vectors, rows, scores, strict=True):
        nearness = heads[: len(shown)] @ own
        if shown and nearness.max() >= alike:
            shown[int(nearness.argmax())].folded.append(row)
        else:
            heads[len(shown)] = own
            shown.append(Shown(row, score))
    return shown
