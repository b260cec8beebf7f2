"""A large gallery and a small one behind it, searched as one: what is added is found without touching the large one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64, Int
from numpy.typing import NDArray

from composir.similarity.approximate import Approximate
from composir.similarity.nearest import Nearest, Wanted


class Joined:
    """Rows 0..N-1 are those of the first gallery, N..N+F-1 those of the second.

    Scores, and with them answers, are those of one gallery that holds all in the order in which `places` puts them.

    Args:
        first: The large one.
        second: The small one, F rows, 1 or more.
        places: For each row of the second, ascending, how many rows of the first come before it where scores are equal.
        searcher: Finds the best of the first; `first` itself if not given. Ranks of targets are always exact.
    """

    def __init__(
        self,
        first: Nearest,
        second: Nearest,
        places: Int[NDArray, " F"],
        searcher: Nearest | Approximate | None = None,
    ):
        self._first, self._second, self._places = first, second, places
        self._searcher = searcher or first

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def best(
        self, wanted: Wanted, k: int, rows: Int[NDArray, " R"] | None = None, drop: Sequence[int] = ()
    ) -> tuple[Int[NDArray, " K"], Float64[NDArray, " K"]]:
        """As `Nearest.best`."""
        wanted, n = self._first.fitting(wanted), len(self._first)
        (some, others), (left, right) = self._apart(rows), self._dropped(drop)
        ours, our_scores = self._searcher.best(wanted, k, some, left)
        theirs, their_scores = self._second.best(wanted, k, others, right)
        scores = np.concatenate([our_scores, their_scores])
        found = np.concatenate([ours, theirs + n])
        # Of equal scores: a row of the first stands behind those of the second that have its number for a place.
        standing = np.concatenate([2 * ours + 1, 2 * self._places[theirs]])
        order = np.lexsort((found, standing, -scores))[:k]
        return found[order], scores[order]

    def ranks(
        self,
        wanted: Wanted,
        targets: Int[NDArray, " M"],
        rows: Int[NDArray, " R"] | None = None,
        drop: Sequence[int] = (),
    ) -> Int[NDArray, " M"]:
        """As `Nearest.ranks`."""
        if not len(targets):
            return np.zeros(0, np.int64)
        wanted, n = self._first.fitting(wanted), len(self._first)
        scores, added = self.scores(wanted, targets), targets >= n
        own = targets[added] - n
        before_first, before_second = targets.copy(), np.searchsorted(self._places, targets, side="right")
        before_first[added], before_second[added] = self._places[own], own
        (some, others), (left, right) = self._apart(rows), self._dropped(drop)
        ahead = self._first.ahead(wanted, scores, before_first, some, left)
        ahead += self._second.ahead(wanted, scores, before_second, others, right)
        return np.where(self._ranked(targets, rows, drop), 1 + ahead, 0)

    def scores(self, wanted: Wanted, rows: Int[NDArray, " R"]) -> Float64[NDArray, " R"]:
        """As `Nearest.scores`."""
        found, added = np.empty(len(rows)), rows >= len(self._first)
        found[~added] = self._first.scores(wanted, rows[~added])
        found[added] = self._second.scores(wanted, rows[added] - len(self._first))
        return found

    def _apart(self, rows: Int[NDArray, " R"] | None) -> tuple[Int[NDArray, " A"] | None, Int[NDArray, " B"] | None]:
        if rows is None:
            return None, None
        cut = int(np.searchsorted(rows, len(self._first)))
        return rows[:cut], rows[cut:] - len(self._first)

    def _dropped(self, drop: Sequence[int]) -> tuple[list[int], list[int]]:
        n = len(self._first)
        return [row for row in drop if row < n], [row - n for row in drop if row >= n]

    def _ranked(
        self, targets: Int[NDArray, " M"], rows: Int[NDArray, " R"] | None, drop: Sequence[int]
    ) -> Bool[NDArray, " M"]:
        there = np.ones(len(targets), np.bool_) if rows is None else np.isin(targets, rows)
        return there & ~np.isin(targets, np.asarray(list(drop), np.int64))
