"""One query over a gallery, as pages and places of targets are cut from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float64, Int
from numpy.typing import NDArray

from composir.gallery.search import Shelf
from composir.similarity.approximate import Approximate
from composir.similarity.joined import Joined
from composir.similarity.nearest import Nearest, Wanted


@runtime_checkable
class Ranker(Protocol):
    """One query over a gallery."""

    @property
    def partial(self) -> bool:
        """Whether `quick` may miss some."""
        ...

    def quick(self, k: int, drop: Sequence[int]) -> tuple[Int[NDArray, " K"], Float64[NDArray, " K"]]:
        """As `best` of all rows, or nearly."""
        ...

    def best(
        self, k: int, rows: Int[NDArray, " R"] | None, drop: Sequence[int]
    ) -> tuple[Int[NDArray, " K"], Float64[NDArray, " K"]]:
        """The k best of `rows` less `drop`, best first, equal scores in gallery order."""
        ...

    def below(self, score: float, id: str) -> Int[NDArray, " B"]:
        """Ascending rows that come after a score and an id."""
        ...

    def ranks(
        self, targets: Int[NDArray, " M"], rows: Int[NDArray, " R"] | None, drop: Sequence[int]
    ) -> Int[NDArray, " M"]:
        """The rank of each target, from 1; 0 for one that is not ranked."""
        ...


@dataclass(frozen=True, eq=False)
class Searched:
    """Ranks by what is looked for; all but `quick` is exact."""

    shelf: Shelf
    searcher: Nearest | Approximate | Joined
    wanted: Wanted
    partial: bool

    def quick(self, k, drop):
        """See `Ranker`."""
        return self.searcher.best(self.wanted, k, None, drop)

    def best(self, k, rows, drop):
        """See `Ranker`."""
        return self.shelf.nearest.best(self.wanted, k, rows, drop)

    def below(self, score, id):
        """See `Ranker`: a quick pass tells all but the few rows whose scores are about the same."""
        found, start = [], 0
        for part in (self.shelf.base, self.shelf.added):
            if part is None:
                continue
            nearest = part.nearest
            wanted = nearest.fitting(self.wanted)
            passed = nearest.quick(wanted)
            apart = passed.apart(score)
            near = np.flatnonzero(np.abs(apart) <= passed.error)
            after = _after(nearest.scores(wanted, near), score, id, [part.ids[row] for row in near.tolist()])
            found.append(start + np.sort(np.concatenate([np.flatnonzero(apart < -passed.error), near[after]])))
            start += len(part)
        return np.concatenate(found)

    def ranks(self, targets, rows, drop):
        """See `Ranker`."""
        return self.shelf.nearest.ranks(self.wanted, targets, rows, drop)


@dataclass(frozen=True, eq=False)
class Scored:
    """Ranks by scores that are known of every row."""

    scores: Float64[NDArray, " N"]
    shelf: Shelf
    partial = False

    def quick(self, k, drop):
        """See `Ranker`."""
        return self.best(k, None, drop)

    def best(self, k, rows, drop):
        """See `Ranker`."""
        chosen = np.arange(len(self.scores)) if rows is None else rows
        chosen = np.setdiff1d(chosen, np.asarray(list(drop), np.int64), assume_unique=True)
        if k < len(chosen):  # of many only those that may be among the best are sorted
            scores = self.scores[chosen]
            chosen = chosen[scores >= np.partition(scores, len(scores) - k)[len(scores) - k]]
        chosen = chosen[np.lexsort((self.shelf.order[chosen], -self.scores[chosen]))[:k]]
        return chosen, self.scores[chosen]

    def below(self, score, id):
        """See `Ranker`."""
        equal = np.flatnonzero(self.scores == score)
        after = _after(self.scores[equal], score, id, [self.shelf.ids[row] for row in equal.tolist()])
        return np.sort(np.concatenate([np.flatnonzero(self.scores < score), equal[after]]))

    def ranks(self, targets, rows, drop):
        """See `Ranker`."""
        if not len(targets):
            return np.zeros(0, np.int64)
        order = self.best(len(self.scores), rows, drop)[0]
        places = np.zeros(len(self.scores), np.int64)
        places[order] = np.arange(1, len(order) + 1)
        return places[targets]


def _after(scores: Float64[NDArray, " R"], score: float, id: str, ids: Sequence[str]) -> NDArray[np.bool_]:
    """Which of some rows come after a score and an id; ids are asked for where scores are equal alone."""
    return (scores < score) | ((scores == score) & np.array([own > id for own in ids], np.bool_))
