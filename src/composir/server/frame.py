"""Around everything: a request id, the headers of every answer, one log line, and the 500 that tells nothing."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from composir.server.context import request_id
from composir.server.errors import ApiError
from composir.server.telemetry import LOGGER, Telemetry

SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
CLIENT_GONE = 499  # nginx's number; it is logged and counted, nobody receives it

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Frame:
    """The outermost middleware; no exception of a request passes it."""

    def __init__(self, app: ASGIApp, telemetry: Telemetry):
        self.app, self.telemetry = app, telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        own = given if SANE_ID.fullmatch(given) else secrets.token_hex(8)
        token = request_id.set(own)
        started, status = time.perf_counter(), 0

        async def framed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-ID"] = own
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            await self.app(scope, receive, framed)
        except ClientDisconnect:
            status = CLIENT_GONE
        except Exception:  # any at all: what is left is told in the one shape of errors
            LOGGER.exception("a request failed unforeseen")
            if not status:
                told = "the server failed at this request; its log has the details under this request_id"
                await ApiError(500, told).response()(scope, receive, framed)
            status = 500
        finally:
            self._account(scope, status or CLIENT_GONE, time.perf_counter() - started)
            request_id.reset(token)

    def _account(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self.telemetry.request(route, scope["method"], status, seconds)
        fields = {
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "ms": round(seconds * 1000, 2),
            "client": (scope.get("client") or ("", 0))[0],
        }
        quiet = route in {"/livez", "/readyz", "/metrics", "/page/{name}"}
        LOGGER.log(logging.DEBUG if quiet else logging.INFO, "request", extra={"fields": fields})
