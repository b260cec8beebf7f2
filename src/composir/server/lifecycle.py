"""From start to end: the door opens first; ready after a real encode; SIGTERM tells, waits, finishes what is under way.

After SIGTERM `/readyz` is 503 for `drain_seconds`, in which the server still answers, so that nobody meets a closed
door; then it takes no more connections and ends, with exit code 0, when the last answer is sent. Ctrl-C, or a second
SIGTERM, skips the wait; so does a server that is not ready yet.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable, Collection
from types import FrameType
from typing import Any, Literal

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from composir.errors import ComposirError
from composir.server.service import Service
from composir.server.settings import Settings
from composir.server.telemetry import LOGGER, configure_logging


class Lifecycle:
    """Where the server stands: "starting", "ok", "draining".

    Attributes:
        error: Why the service could not be opened; a server of `run` ends by it.
        failure: Why the first encoding did not work, so that the server will not get ready.
        connections: Those that are open, as far as a `Server` tells them.
    """

    def __init__(self) -> None:
        self.state: Literal["starting", "ok", "draining"] = "starting"
        self.error: Exception | None = None
        self.failure: str | None = None
        self.connections: Collection[object] = ()

    @property
    def unready(self) -> str:
        """Why requests have to wait; "" once they need not."""
        if self.state == "draining":
            return "the server is shutting down"
        if self.error is not None:
            return "the gallery cannot be opened; see the log"
        if self.failure is not None:
            return "the first encoding failed; see the log"
        return "the gallery and the model are being loaded" if self.state == "starting" else ""

    def ready(self) -> None:
        """A picture and words have been encoded."""
        if self.state == "starting":
            self.state = "ok"

    def drain(self) -> None:
        """The end is near."""
        self.state = "draining"


class Server(uvicorn.Server):
    """uvicorn with a time of draining between the signal and the closed door."""

    def __init__(self, config: uvicorn.Config, lifecycle: Lifecycle, drain_seconds: float):
        super().__init__(config)
        self._life, self._drain_seconds = lifecycle, drain_seconds
        self._closing: float | None = None
        lifecycle.connections = self.server_state.connections

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Take a signal."""
        if sig == signal.SIGTERM and self._closing is None:
            # Before it was ready no load balancer has sent anything.
            wait = self._drain_seconds if self._life.state == "ok" else 0.0
            self._life.drain()
            self._closing = time.monotonic() + wait
        elif sig == signal.SIGTERM:
            self.should_exit = True  # not uvicorn's way, which would end with the signal again
        else:
            self._life.drain()
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether to close the door."""
        if self._life.error is not None or (self._closing is not None and time.monotonic() >= self._closing):
            self.should_exit = True
        return await super().on_tick(counter)


def connection_class(header_seconds: float) -> type[H11Protocol]:
    """A connection that sends at once, and is closed if the head of a request takes longer than `header_seconds`.

    uvicorn lets it take for ever.
    """

    class Connection(H11Protocol):
        _clock: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            # asyncio does so only for sockets that name their protocol, which accepted ones do not. Without it an
            # answer's second packet waits 40 ms for the first to be acknowledged.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._clock = self.loop.call_later(header_seconds, transport.close)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            waiting = self.conn.their_state is h11.IDLE
            if waiting and self._clock is None:
                self._clock = self.loop.call_later(header_seconds, self.transport.close)
            elif not waiting:
                self._stop_clock()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_clock()
            super().connection_lost(exc)

        def _stop_clock(self) -> None:
            if self._clock is not None:
                self._clock.cancel()
                self._clock = None

    return Connection


def run(settings: Settings, service: Service | Callable[[], Service]) -> None:
    """Serve until told to end.

    Args:
        settings: Of the server.
        service: It, or what opens it, behind the open door.

    Raises:
        ComposirError: The address cannot be listened at.
        Exception: Whatever the opening of the service raised.
    """
    from composir.server.app import create_app

    configure_logging(settings.log_format, settings.log_level)
    door = _listen(settings.host, settings.port)
    app = create_app(settings, service)
    config = uvicorn.Config(
        app,
        http=connection_class(settings.header_seconds),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=round(settings.shutdown_seconds),
    )
    host, port = door.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    LOGGER.info("listening", extra={"fields": {"url": f"http://{shown}:{port}"}})
    Server(config, app.state.life, settings.drain_seconds).run(sockets=[door])
    if app.state.life.error is not None:
        raise app.state.life.error


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2048)
    except OSError as error:
        told = f"cannot listen at {host}, port {port}: {error.strerror or error}; choose another --port or --host"
        raise ComposirError(told) from error
