"""What the routes work with: made when the application starts, taken down in order when it ends."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request

from composir.images import Limits
from composir.server.batching import Batcher
from composir.server.computing import Warm, Work, batcher_of
from composir.server.decoding import Decoders
from composir.server.errors import UnavailableError
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
    """The parts of the application that a request came to.

    Raises:
        UnavailableError: The service has not been opened yet.
    """
    if (parts := request.app.state.parts) is None:
        raise UnavailableError(request.app.state.life.unready)
    return parts


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


def opened(open_it: Callable[[], Service]) -> Future[Service]:
    """Open a service in a thread that nobody waits for when the server ends first; then it is closed again."""
    future: Future[Service] = Future()

    def work() -> None:
        try:
            service = open_it()
        except BaseException as error:  # any at all: it is raised where the future is asked
            with contextlib.suppress(InvalidStateError):
                future.set_exception(error)
            return
        try:
            future.set_result(service)
        except InvalidStateError:
            service.close()

    threading.Thread(target=work, name="composir-opening", daemon=True).start()
    return future


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start, get ready behind the open door, and end in order: no new work, the queued work done, then the rest."""
    state = app.state
    state.parts = None
    if not callable(state.service):
        state.parts = build(state.settings, state.service, state.telemetry, state.life)
    warming = asyncio.create_task(_get_ready(state))
    try:
        yield
    finally:
        state.life.drain()
        warming.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await warming
        if (parts := state.parts) is not None:
            await asyncio.to_thread(parts.batcher.close)
            await asyncio.to_thread(parts.decoders.close)
            await asyncio.to_thread(parts.service.close)


async def _get_ready(state: Any) -> None:
    life = state.life
    if state.parts is None:
        try:
            service = await asyncio.wrap_future(opened(state.service))
        except Exception as error:  # any at all: `/readyz` tells of it, and `run` ends by it
            life.error = error
            LOGGER.error("the gallery cannot be opened: %s", error)
            return
        state.parts = build(state.settings, service, state.telemetry, life)
    parts = state.parts
    try:
        await asyncio.gather(parts.decoders.thumbnail(DOT, 64), parts.batcher(Warm()))
    except Exception as error:  # any at all: /readyz tells of it, and /livez goes on answering
        life.failure = str(error)
        LOGGER.exception("the first encoding failed; the server will not get ready")
        return
    life.ready()
    LOGGER.info("ready")
