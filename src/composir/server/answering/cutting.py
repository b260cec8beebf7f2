"""What of a ranking a request is answered with: which rows are ranked, from where on, and the answer cut from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int
from numpy.typing import NDArray

from composir.server.answering.composing import Composed, digest
from composir.server.answering.marks import Mark, Seal
from composir.server.answering.paging import FOLDED, TOP, Pages, Shown
from composir.server.answering.ranking import Ranker
from composir.server.answering.stand import Stand
from composir.server.service import FoundPicture, SearchAnswer, SearchRequest
from composir.server.settings import Settings


@dataclass(frozen=True, eq=False)
class Cut:
    """A request for some pictures of a ranking.

    Attributes:
        stand: What is ranked.
        request: Who asks.
        digest: Of all that makes the ranking.
        after: The mark below which its pictures begin.
        rows: Those that pass the filter, ascending; None for all.
        drop: Rows that are left out.
        seal: Signs where the next page begins.
        alike: As for `Pages`.
    """

    stand: Stand
    request: SearchRequest
    digest: str
    after: Mark
    rows: Int[NDArray, " R"] | None
    drop: list[int]
    seal: Seal
    alike: float | None

    @classmethod
    def of(cls, stand: Stand, request: SearchRequest, settings: Settings) -> Cut:
        """Read what a request says of it.

        Raises:
            StaleCursorError: Its cursor leads nowhere.
            ConditionError: Its filter cannot be understood.
        """
        own, shelf = digest(request), stand.shelf
        seal = Seal(stand.gallery.manifest.key, [key.get_secret_value() for key in settings.api_keys])
        after = seal.read(request.cursor, own, len(shelf)) if request.cursor else TOP
        alike = settings.fold_similarity if request.fold else None
        return cls(stand, request, own, after, shelf.columns.rows(request.where), _dropped(stand, request), seal, alike)

    @property
    def place(self) -> tuple[str, str, str]:
        """Of the whole ranking, among all."""
        return self.stand.gallery.manifest.key, self.stand.shelf.version, self.digest

    def answer(self, composed: Composed, ranker: Ranker) -> SearchAnswer:
        """The answer, cut from a ranking."""
        stand, request, shelf = self.stand, self.request, self.stand.shelf
        found = Pages(shelf, ranker, self.rows, self.drop, self.alike).page(request.k, self.after)
        first = 1 + self.after.rank
        hits = tuple(_hit(stand, composed, first + i, one) for i, one in enumerate(found.shown))
        targets = [target for target in request.targets if target in shelf.rows]
        ranks = ranker.ranks(np.asarray([shelf.rows[target] for target in targets], np.int64), self.rows, self.drop)
        return SearchAnswer(
            hits=hits,
            method=request.method or next(iter(stand.methods)),
            gallery_version=shelf.version,
            cursor=self.seal.write(replace(found.mark, digest=self.digest)) if found.mark else None,
            total=count(len(shelf), self.rows, self.drop),
            target_ranks={target: int(rank) for target, rank in zip(targets, ranks, strict=True) if rank},
            folded_among=FOLDED if request.fold else None,
            unread=_unread(stand, request),
        )


def _dropped(stand: Stand, request: SearchRequest) -> list[int]:
    """Rows that are not ranked: the reference, and what is to be avoided."""
    own = request.reference.id if request.reference and not request.keep_reference else None
    rows = {stand.shelf.rows.get(id or "") for id in (own, *request.avoid)}
    return sorted(row for row in rows if row is not None)


def _unread(stand: Stand, request: SearchRequest) -> tuple[str, ...]:
    """What is cut off words that are too long; nothing is left out without a word."""
    method = stand.method(request.method)
    ends = [method.unread(request.text), *(method.backbone.unread(words) for words in request.without)]
    return tuple(end for end in ends if end)


def count(most: int, rows: Int[NDArray, " R"] | None, drop: Sequence[int]) -> int:
    """How many pictures are ranked; every answer tells it, so a large gallery's rows are not listed for it.

    Args:
        most: Pictures of the gallery.
        rows: Those that pass the filter, ascending; None for all.
        drop: Rows of the gallery that are left out, each once; they need not be among `rows`.
    """
    if rows is None:
        return most - len(drop)
    if not len(rows) or not drop:
        return len(rows)
    places = np.minimum(np.searchsorted(rows, drop), len(rows) - 1)
    return len(rows) - int((rows[places] == np.asarray(drop)).sum())


def _hit(stand: Stand, composed: Composed, rank: int, shown: Shown) -> FoundPicture:
    shelf, row = stand.shelf, shown.row
    vectors = shelf.vectors([row])[0].float().numpy()
    why = {name: round(float((own @ vectors.T).max(axis=1).mean()), 6) for name, own in composed.directions.items()}
    return FoundPicture(
        rank=rank,
        id=shelf.ids[row],
        path=shelf.paths[row][0],
        score=shown.score,
        why=why,
        metadata=shelf.columns.of_row(row),
        folded=tuple(shelf.ids[other] for other in shown.folded),
    )
