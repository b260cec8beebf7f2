"""A service without a model: numbers made of the bytes it is given, so that the same question has the same answer."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from composir.backbones.transform import Transform
from composir.errors import ComposirError
from composir.gallery.scan import content_id
from composir.server.service import (
    FoundPicture,
    GalleryInfo,
    KnownQuery,
    MethodInfo,
    NotFoundError,
    SearchAnswer,
    SearchRequest,
    StaleCursorError,
    StoredPicture,
    Verdict,
)

PLAIN = Transform(32, "exact", 32, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
WIDTH = 8


def vector(data: bytes) -> np.ndarray:
    """A unit vector of the content."""
    seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "little")
    numbers = np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32)
    return numbers / np.linalg.norm(numbers)


class FakeService:
    """Searches a folder of pictures; `before` is called at every batch, `slow` are seconds that each takes.

    Reverse searches go on while `held` is set.
    """

    def __init__(self, root: Path, *, slow: float = 0.0, before: Callable[[], None] = lambda: None):
        self.root, self.slow, self.before = root, slow, before
        self.files = {content_id(path.read_bytes()): path.name for path in sorted(root.glob("*.*"))}
        self.encoded: dict[str, np.ndarray] = {}
        self.verdicts: dict[tuple[str, str], tuple[Verdict, bytes | None]] = {}
        self.batches: list[int] = []
        self.threads: set[int] = set()
        self.encodings, self.closed, self.warmed = 0, False, threading.Event()
        self.held, self.begun, self.ended = threading.Event(), 0, 0

    def state(self) -> object:
        return None

    def search(self, requests: Sequence[SearchRequest], clock) -> list[SearchAnswer | ComposirError]:
        self.threads.add(threading.get_ident())
        self.batches.append(len(requests))
        self.before()
        time.sleep(self.slow)
        return [(self._long if request.reverse else self._one)(request, clock) for request in requests]

    def _long(self, request: SearchRequest, clock):
        self.begun += 1
        try:
            while self.held.is_set():
                time.sleep(0.001)
                yield
            answer = self._one(request, clock)
            if isinstance(answer, ComposirError):
                raise answer  # an answer in pieces raises what a quick one returns
            return answer
        finally:
            self.ended += 1

    def _one(self, request: SearchRequest, clock) -> SearchAnswer | ComposirError:
        if request.text == "explode":
            raise RuntimeError("a bug, with a secret in it")
        if request.where and "=" not in request.where:
            return ComposirError(f"filter {request.where!r} compares nothing")
        with clock("compose"):
            query = np.zeros(WIDTH, dtype=np.float32)
            if request.reference is not None:
                query = query + self._reference(request.reference)
            if request.text:
                query = query + (request.alpha or 0.5) * vector(request.text.encode())
        with clock("search"):
            scored = sorted((-float(vector(i.encode()) @ query), i) for i in self.files)
        try:
            start = int(request.cursor or "0", 16)
        except ValueError:
            return StaleCursorError(f"the cursor {request.cursor!r} is not one of this server's")
        page = scored[start : start + request.k]
        hits = tuple(
            FoundPicture(start + n, i, self.files[i], -score, {"composed": -score}, {"price": 1.5})
            for n, (score, i) in enumerate(page, start=1)
        )
        more = f"{start + request.k:x}" if start + request.k < len(scored) else None
        places = {i: rank for rank, (_, i) in enumerate(scored, start=1)}
        ranks = {i: places[i] for i in request.targets if i in places}
        return SearchAnswer(hits, request.method or "fake", "1", more, len(scored), ranks)

    def _reference(self, reference) -> np.ndarray:
        if reference.tensor is not None:
            return reference.tensor.mean() * np.ones(WIDTH, dtype=np.float32)
        if reference.id not in self.encoded:
            assert reference.pixels is not None, "asked to search with a picture that is neither known nor decoded"
            self.encodings += 1
            self.encoded[reference.id] = vector(reference.pixels.tobytes())
        return self.encoded[reference.id]

    def embed_texts(self, texts, method, clock):
        self._check(method)
        return np.stack([vector(text.encode()) for text in texts])[:, None]

    def embed_pictures(self, pixels, method, clock, state=None):
        self._check(method)
        return np.stack([vector(one.tobytes()) for one in pixels])[:, None]

    def transform(self, side, method, state=None) -> Transform:
        self._check(method)
        return PLAIN

    def side(self, request: SearchRequest):
        return "reference"

    def knows(self, reference: str, request: SearchRequest) -> bool:
        self._check(request.method)
        return reference in self.encoded

    def picture(self, id: str) -> StoredPicture:
        if id not in self.files:
            raise NotFoundError(f"the gallery has no picture {id}")
        return StoredPicture(id, self.root, (self.files[id],))

    def find(self, path: str) -> str:
        for own, name in self.files.items():
            if name == path:
                return own
        raise NotFoundError(f"the gallery has no picture at {path!r}")

    def methods(self) -> Sequence[MethodInfo]:
        return [MethodInfo("fake", ("alpha",), "key", True)]

    def info(self) -> GalleryInfo:
        columns: Mapping[str, str] = {"price": "double"}
        return GalleryInfo("fakes", len(self.files), "1", "key", "fake", "none", columns, "fakes val", True)

    def queries(self, start: int, count: int) -> tuple[int, Sequence[KnownQuery]]:
        ids = list(self.files)
        known = [KnownQuery(str(n), own, f"like {n}", (ids[n - 1],)) for n, own in enumerate(ids)]
        return len(known), known[start : start + count]

    def judge(self, verdict: Verdict, upload: bytes | None) -> tuple[int, str]:
        for own in (*verdict.right, *verdict.wrong):
            self.picture(own)
        self.verdicts[verdict.reference, verdict.text] = (verdict, upload)
        return len(self.verdicts), "judged"

    def warm(self) -> None:
        self.before()
        self.warmed.set()

    def close(self) -> None:
        self.closed = True

    def _check(self, method: str | None) -> None:
        if method not in (None, "fake"):
            raise NotFoundError(f"no method {method!r}; known: 'fake'")
