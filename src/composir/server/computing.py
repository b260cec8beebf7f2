"""What the one computing thread does: a mixed batch of queries and embeddings, each kind in one call of the service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from composir.server.batching import Batcher
from composir.server.service import Clock, SearchRequest, Service
from composir.server.settings import Settings
from composir.server.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Texts:
    """Words to embed; the result is (N, T, D)."""

    texts: tuple[str, ...]
    method: str | None


@dataclass(frozen=True, slots=True)
class Pictures:
    """Decoded pictures to embed, and the `Service.state` that they were decoded for; the result is (N, T, D)."""

    pixels: UInt8[NDArray, "N 3 S S"]
    method: str | None
    state: object = None


@dataclass(frozen=True, slots=True)
class Warm:
    """Run everything once."""


Work = SearchRequest | Texts | Pictures | Warm
LONG = 2  # searches that ask every picture, at once


def batcher_of(service: Service, settings: Settings, telemetry: Telemetry) -> Batcher[Work, Any]:
    """The thread that computes."""
    clock: Clock = telemetry.stage
    return Batcher(
        lambda items: compute(service, items, clock),
        max_batch=settings.max_batch,
        max_delay=settings.batch_delay_seconds,
        queue_length=settings.queue_length,
        most_long=LONG,
        observe=telemetry.batch,
    )


def compute(service: Service, items: Sequence[Work], clock: Clock) -> list[Any]:
    """Results in the order of the items; one that failed is its exception, one that takes long a generator."""
    results: list[Any] = [None] * len(items)
    searches = {i: item for i, item in enumerate(items) if isinstance(item, SearchRequest)}
    if searches:
        for i, answer in zip(searches, service.search(list(searches.values()), clock), strict=True):
            results[i] = answer
    for kind, embed in ((Texts, _texts(service, clock)), (Pictures, _pictures(service, clock))):
        together: dict[object, list[int]] = {}
        for i, item in enumerate(items):
            if isinstance(item, kind):
                together.setdefault((item.method, getattr(item, "state", None)), []).append(i)
        for places in together.values():
            for i, result in zip(places, embed([items[i] for i in places]), strict=True):
                results[i] = result
    for i, item in enumerate(items):
        if isinstance(item, Warm):
            results[i] = service.warm()
    return results


Embed = Callable[[Sequence[Any]], Sequence[Any]]  # of one method, and at one state


def _texts(service: Service, clock: Clock) -> Embed:
    def embed(items: Sequence[Texts]) -> Sequence[Any]:
        vectors = service.embed_texts([text for item in items for text in item.texts], items[0].method, clock)
        return _split(vectors, [len(item.texts) for item in items])

    return embed


def _pictures(service: Service, clock: Clock) -> Embed:
    def embed(items: Sequence[Pictures]) -> Sequence[Any]:
        first, pixels = items[0], np.concatenate([item.pixels for item in items])
        vectors = service.embed_pictures(pixels, first.method, clock, first.state)
        return _split(vectors, [len(item.pixels) for item in items])

    return embed


def _split(vectors: NDArray[Any], counts: Sequence[int]) -> Sequence[NDArray[Any]]:
    return np.split(vectors, np.cumsum(counts)[:-1])
