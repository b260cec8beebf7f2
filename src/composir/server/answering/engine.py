"""The service: answers from a stand, and watches the gallery for the next one."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray

from composir.backbones.transform import Transform
from composir.engine import reads_words
from composir.errors import ComposirError
from composir.evaluation.opening import open_dataset
from composir.gallery.editions import current
from composir.gallery.growth import marks
from composir.gallery.place import Folder, Place, place_of
from composir.gallery.store import Gallery
from composir.server.answering.benchmark import Benchmark
from composir.server.answering.composing import Composed, Composer
from composir.server.answering.cutting import Cut
from composir.server.answering.kept import Kept
from composir.server.answering.ranking import Scored, Searched
from composir.server.answering.stand import Stand
from composir.server.answering.verdicts import Verdicts
from composir.server.service import (
    Answering,
    Clock,
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
from composir.similarity.approximate import Approximate, beside

LOGGER = logging.getLogger("composir.server")
REVERSED = 8  # reverse searches whose scores are kept for their further pages, 4 bytes a picture each


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
        self._reversed = Kept[Float[NDArray, " N"]](REVERSED)
        self._closed = threading.Event()
        self._watching = threading.Thread(target=self._watch, name="composir-gallery", daemon=True)
        self._watching.start()

    def state(self) -> object:
        """See `Service.state`."""
        return self._stand

    def _at(self, state: object) -> Stand:
        return state if isinstance(state, Stand) else self._stand

    def search(
        self, requests: Sequence[SearchRequest], clock: Clock
    ) -> Sequence[SearchAnswer | Answering | ComposirError]:
        """See `Service.search`."""
        answers: dict[int, SearchAnswer | Answering | ComposirError] = {}
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
    ) -> SearchAnswer | Answering | ComposirError:
        if isinstance(composed, ComposirError):
            return composed
        try:
            cut = Cut.of(stand, request, self._settings)
            if composed.wanted is not None:
                near = beside(composed.wanted, composed.directions.get("image"))
                partial = isinstance(stand.base, Approximate) and near
                ranker = Searched(stand.shelf, stand.searcher, composed.wanted, partial)
            elif (scores := self._reversed.get(cut.place)) is not None:
                ranker = Scored(scores.astype(np.float64), stand.shelf)
            else:
                return self._backwards(cut, composed, clock)
            with clock("search"):
                return cut.answer(composed, ranker)
        except ComposirError as error:
            return error

    def _backwards(self, cut: Cut, composed: Composed, clock: Clock) -> Answering:
        """Score every picture as the reference, some at a time."""
        request, stand = cut.request, cut.stand
        name = request.method or next(iter(stand.methods))
        controls = {} if request.alpha is None else {"alpha": request.alpha}
        target = torch.from_numpy(np.array(composed.directions["image"]))[None]
        parts = [np.empty(0, np.float32)]
        with clock("search"):
            for part in stand.references[name].scored(target, request.text, controls):
                parts.append(part.numpy())
                yield
            scores = np.concatenate(parts)
            self._reversed.put(cut.place, scores)
            return cut.answer(composed, Scored(scores.astype(np.float64), stand.shelf))

    def embed_texts(self, texts: Sequence[str], method: str | None, clock: Clock) -> Float[NDArray, "N T D"]:
        """See `Service.embed_texts`."""
        own = self._stand.method(method)
        if not reads_words(own):
            raise ComposirError(f"method {own.name!r} has no place for words in the gallery's space; embed pictures")
        return self._composer.embed_words(own, list(texts), clock)

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
        self._stand.warm()

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
                    unforeseen = not isinstance(error, ComposirError)
                    message = "the gallery changed and cannot be read; the old state is served: %s"
                    LOGGER.warning(message, error, exc_info=unforeseen)
                told = str(error)

    def refresh(self) -> None:
        """Look at the gallery, and serve what it holds now; requests go on with the old state meanwhile.

        Raises:
            ComposirError: It cannot be read, or another edition does not fit the method that was asked for.
        """
        stand = self._stand
        if current(self._place) != stand.gallery.place:
            fresh = self._open()
            fresh.warm()  # not by the first request that it answers
            self._stand = fresh
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
