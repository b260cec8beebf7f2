"""The service: answers from a stand, and watches the gallery for the next one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray

from composir.backbones.transform import Transform
from composir.engine import embed_words, reads_words
from composir.errors import ComposirError
from composir.evaluation.opening import open_dataset
from composir.gallery.editions import current
from composir.gallery.growth import marks
from composir.gallery.place import Folder, Place, place_of
from composir.gallery.store import Gallery
from composir.server.answering.benchmark import Benchmark
from composir.server.answering.composing import Composed, Composer, digest
from composir.server.answering.marks import Seal
from composir.server.answering.paging import FOLDED, TOP, Pages, Shown
from composir.server.answering.ranking import Ranker, Scored, Searched
from composir.server.answering.stand import Stand
from composir.server.answering.verdicts import Verdicts
from composir.server.service import (
    Clock,
    FoundPicture,
    GalleryInfo,
    KnownQuery,
    MethodInfo,
    NotFoundError,
    SearchAnswer,
    SearchRequest,
    Side,
    StoredPicture,
    Verdict,
)
from composir.server.settings import LOCAL_HOSTS, Settings
from composir.similarity.approximate import Approximate

LOGGER = logging.getLogger("composir.server")
WARM_TEXT = "a red dress"


class GalleryService:
    """Serves a gallery and follows it: pictures that are added are found, another edition takes over without a gap.

    Args:
        where: The gallery's path or URI.
        settings: The method, further ones, the benchmark, where verdicts are kept, how often the gallery is looked at.

    Raises:
        ComposirError: Something of that cannot be opened, or does not fit the gallery.
    """

    def __init__(self, where: Path | str, settings: Settings):
        self._place, self._settings = place_of(where), settings
        self._stand = self._open()
        self._benchmark = _benchmark(settings, self._stand)
        folder = _judgements(settings, self._place)
        self._verdicts = Verdicts(folder, Path(self._stand.gallery.manifest.root)) if folder else None
        self._composer = Composer()
        self._closed = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="composir-gallery", daemon=True)
        self._watching.start()

    def state(self) -> object:
        """See `Service.state`."""
        return self._stand

    def _at(self, state: object) -> Stand:
        return state if isinstance(state, Stand) else self._stand

    def search(self, requests: Sequence[SearchRequest], clock: Clock) -> Sequence[SearchAnswer | ComposirError]:
        """See `Service.search`."""
        answers: dict[int, SearchAnswer | ComposirError] = {}
        together: dict[tuple[Stand, str | None], list[int]] = {}
        for place, request in enumerate(requests):
            together.setdefault((self._at(request.state), request.method), []).append(place)
        for (stand, _), places in together.items():
            try:
                composed = self._composer(stand, [requests[place] for place in places], clock)
            except ComposirError as error:
                answers.update(dict.fromkeys(places, error))
                continue
            for number, place in enumerate(places):
                answers[place] = self._answer(stand, requests[place], composed[number], clock)
        return [answers[place] for place in range(len(requests))]

    def _answer(
        self, stand: Stand, request: SearchRequest, composed: Composed | ComposirError, clock: Clock
    ) -> SearchAnswer | ComposirError:
        if isinstance(composed, ComposirError):
            return composed
        try:
            with clock("search"):
                return self._ranked(stand, request, composed)
        except ComposirError as error:
            return error

    def _ranked(self, stand: Stand, request: SearchRequest, composed: Composed) -> SearchAnswer:
        shelf, own = stand.shelf, digest(request)
        keys = [key.get_secret_value() for key in self._settings.api_keys]
        seal = Seal(stand.gallery.manifest.key, keys)
        after = seal.read(request.cursor, own, len(shelf)) if request.cursor else TOP
        rows, drop = shelf.columns.rows(request.where), _dropped(stand, request)
        ranker = self._ranker(stand, request, composed)
        alike = self._settings.fold_similarity if request.fold else None
        found = Pages(shelf, ranker, rows, drop, alike).page(request.k, after)
        first = 1 + after.rank
        hits = tuple(_hit(stand, composed, first + i, one) for i, one in enumerate(found.shown))
        targets = [target for target in request.targets if target in shelf.rows]
        ranks = ranker.ranks(np.asarray([shelf.rows[target] for target in targets], np.int64), rows, drop)
        return SearchAnswer(
            hits=hits,
            method=request.method or next(iter(stand.methods)),
            gallery_version=shelf.version,
            cursor=seal.write(replace(found.mark, digest=own)) if found.mark else None,
            total=count(len(shelf), rows, drop),
            target_ranks={target: int(rank) for target, rank in zip(targets, ranks, strict=True) if rank},
            folded_among=FOLDED if request.fold else None,
        )

    def _ranker(self, stand: Stand, request: SearchRequest, composed: Composed) -> Ranker:
        if composed.wanted is not None:
            return Searched(stand.shelf, stand.searcher, composed.wanted, isinstance(stand.base, Approximate))
        name = request.method or next(iter(stand.methods))
        controls = {} if request.alpha is None else {"alpha": request.alpha}
        target = torch.from_numpy(np.array(composed.directions["image"]))[None]
        scores = stand.references[name].scores(target, request.text, controls)
        return Scored(scores.double().numpy(), stand.shelf)

    def embed_texts(self, texts: Sequence[str], method: str | None, clock: Clock) -> Float[NDArray, "N T D"]:
        """See `Service.embed_texts`."""
        own = self._stand.method(method)
        if not reads_words(own):
            raise ComposirError(f"method {own.name!r} has no place for words in the gallery's space; embed pictures")
        with clock("encode_text"):
            return embed_words(own, list(texts)).cpu().numpy()

    @torch.inference_mode()
    def embed_pictures(
        self, pixels: UInt8[NDArray, "N 3 S S"], method: str | None, clock: Clock, state: object = None
    ) -> Float[NDArray, "N T D"]:
        """See `Service.embed_pictures`."""
        own = self._at(state).method(method)
        device = next(own.parameters()).device
        with clock("encode_image"):
            images = own.transform("gallery").normalise(torch.from_numpy(pixels).to(device))
            return own.encode_gallery(images).float().cpu().numpy()

    def transform(self, side: Side, method: str | None, state: object = None) -> Transform:
        """See `Service.transform`."""
        return self._at(state).method(method).transform(side)

    def side(self, request: SearchRequest) -> Side:
        """See `Service.side`."""
        return self._composer.side(self._at(request.state), request)

    def knows(self, reference: str, request: SearchRequest) -> bool:
        """See `Service.knows`."""
        return self._composer.knows(self._at(request.state), reference, request)

    def picture(self, id: str) -> StoredPicture:
        """See `Service.picture`."""
        shelf, manifest = self._stand.shelf, self._stand.gallery.manifest
        if id not in shelf.rows:
            raise NotFoundError(f"the gallery has no picture {id}")
        return StoredPicture(id, Path(manifest.root), shelf.paths[shelf.rows[id]], manifest.follow_symlinks)

    def find(self, path: str) -> str:
        """See `Service.find`."""
        stand = self._stand
        if (own := stand.shelf.find(path)) is None:
            raise NotFoundError(f"the gallery has no picture at {path!r}")
        return own

    def methods(self) -> Sequence[MethodInfo]:
        """See `Service.methods`."""
        return self._stand.infos

    def info(self) -> GalleryInfo:
        """See `Service.info`."""
        stand, benchmark = self._stand, self._benchmark
        return GalleryInfo(
            name=self._place.name,
            pictures=len(stand.shelf),
            version=stand.shelf.version,
            key=stand.gallery.manifest.key,
            method=next(iter(stand.methods)),
            backbone=stand.gallery.manifest.backbone,
            columns=stand.shelf.columns.types,
            benchmark=benchmark.name if benchmark else None,
            judging=self._verdicts is not None,
        )

    def queries(self, start: int, count: int) -> tuple[int, Sequence[KnownQuery]]:
        """See `Service.queries`."""
        known = self._benchmark.queries if self._benchmark else ()
        return len(known), known[start : start + count]

    def judge(self, verdict: Verdict, upload: bytes | None) -> tuple[int, str]:
        """See `Service.judge`."""
        if self._verdicts is None:
            raise ComposirError("judging is switched off here; start the server with --judgements FOLDER")
        return self._verdicts.add(verdict, upload, self._stand.shelf), self._verdicts.folder.name

    def warm(self) -> None:
        """See `Service.warm`."""
        method = self._stand.method(None)
        size = method.transform("gallery").size
        with torch.inference_mode():
            blank = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=next(method.parameters()).device)
            reference = method.encode_reference(method.transform("reference").normalise(blank))
            query = method.compose(reference, [WARM_TEXT]).float().cpu()
        self._stand.shelf.search(query, 1)

    def close(self) -> None:
        """See `Service.close`."""
        self._closed.set()
        self._watching.join(timeout=60)

    def _open(self) -> Stand:
        settings = self._settings
        gallery, many = Gallery.open(self._place), settings.approximate_from
        return Stand.open(gallery, settings.method, settings.methods, settings.device, approximate_from=many)

    def _watch(self) -> None:
        told = ""
        while not self._closed.wait(self._settings.refresh_seconds):
            try:
                self.refresh()
                told = ""
            except Exception as error:  # any at all: what is served goes on being served
                if str(error) != told:
                    LOGGER.warning("the gallery changed and cannot be read; the old state is served: %s", error)
                told = str(error)

    def refresh(self) -> None:
        """Look at the gallery, and serve what it holds now; requests go on with the old state meanwhile.

        Raises:
            ComposirError: It cannot be read, or another edition does not fit the method that was asked for.
        """
        stand = self._stand
        if current(self._place) != stand.gallery.place:
            self._stand = self._open()
            LOGGER.info("another edition is served", extra={"fields": {"key": self._stand.gallery.manifest.key}})
        elif marks(stand.gallery) != stand.shelf.marks:
            self._stand = stand.renewed()


def open_service(settings: Settings) -> GalleryService:
    """The service of a gallery.

    Raises:
        ComposirError: No gallery is named, or something that is named cannot be opened or does not fit it.
    """
    return GalleryService(settings.wanted_gallery(), settings)


def _benchmark(settings: Settings, stand: Stand) -> Benchmark | None:
    if settings.data is None:
        return None
    dataset = open_dataset(settings.data, settings.root)
    return Benchmark.of(dataset, settings.split, stand.shelf, Path(stand.gallery.manifest.root))


def _judgements(settings: Settings, gallery: Place) -> Path | None:
    """Where verdicts are kept; on a machine of one's own beside the gallery's folder, else only where it is said."""
    if settings.judgements is not None:
        return settings.judgements if str(settings.judgements) != "none" else None
    local = settings.host in {*LOCAL_HOSTS, "::1"} and not settings.api_keys
    return gallery.path.with_name(f"{gallery.name}-judged") if local and isinstance(gallery, Folder) else None


def _dropped(stand: Stand, request: SearchRequest) -> list[int]:
    """Rows that are not ranked: the reference, and what is to be avoided."""
    own = request.reference.id if request.reference and not request.keep_reference else None
    rows = {stand.shelf.rows.get(id or "") for id in (own, *request.avoid)}
    return sorted(row for row in rows if row is not None)


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
