"""What the routes work with: made when the application starts, taken down in order when it ends."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request

from composir.images import Limits
from composir.server.batching import Batcher
from composir.server.computing import Warm, Work, batcher_of
from composir.server.decoding import Decoders
from composir.server.fetching import Fetcher
from composir.server.lifecycle import Lifecycle
from composir.server.references import ByteCache, References
from composir.server.service import Service
from composir.server.settings import Settings
from composir.server.telemetry import LOGGER, Telemetry

DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg==")
"""A picture of one pixel, for the first run of a decoding process."""


@dataclass(frozen=True)
class Parts:
    """The working parts of one application."""

    settings: Settings
    service: Service
    telemetry: Telemetry
    life: Lifecycle
    decoders: Decoders
    batcher: Batcher[Work, Any]
    references: References
    thumbnails: ByteCache[tuple[str, int]]


def parts_of(request: Request) -> Parts:
    """The parts of the application that a request came to."""
    return request.app.state.parts


def build(settings: Settings, service: Service, telemetry: Telemetry, life: Lifecycle) -> Parts:
    """Make all parts and start their threads."""
    limits = Limits(max_pixels=settings.max_pixels)  # uploads are bounded by their body, the gallery by its index
    decoders = Decoders(
        workers=settings.decode_workers,
        seconds=settings.decode_seconds,
        memory=settings.decode_memory_bytes,
        limits=limits,
        queue_length=settings.decode_queue,
        skipped=telemetry.skipped,
    )
    batcher = batcher_of(service, settings, telemetry)
    telemetry.watch(lambda: len(batcher), lambda: service.info().pictures)
    fetcher = Fetcher(settings.max_body_bytes, settings.fetch_seconds) if settings.fetch_urls else None
    references = References(service, decoders, fetcher, settings.uploads_bytes, telemetry)
    thumbnails: ByteCache[tuple[str, int]] = ByteCache(settings.thumbnail_cache_bytes)
    return Parts(settings, service, telemetry, life, decoders, batcher, references, thumbnails)


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start, get ready behind the open door, and end in order: no new work, the queued work done, then the rest."""
    state = app.state
    parts = state.parts = build(state.settings, state.service, state.telemetry, state.life)
    warming = asyncio.create_task(_get_ready(parts))
    try:
        yield
    finally:
        parts.life.drain()
        warming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await warming
        await asyncio.to_thread(parts.batcher.close)
        await asyncio.to_thread(parts.decoders.close)
        await asyncio.to_thread(parts.service.close)


async def _get_ready(parts: Parts) -> None:
    try:
        await asyncio.gather(parts.decoders.thumbnail(DOT, 64), parts.batcher(Warm()))
    except Exception as error:  # any at all: /readyz tells of it, and /livez goes on answering
        parts.life.failure = str(error)
        LOGGER.exception("the first encoding failed; the server will not get ready")
        return
    parts.life.ready()
    LOGGER.info("ready")
