"""Who may ask, and how much: Host, Origin, API key; then bodies counted while they are read.

A web page that a user visits can send requests to that user's localhost, and by DNS rebinding even read the answers.
Hence the allow-list of hosts (a rebound name is not on it) and no cross-origin request of any kind; CORS headers are
never sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Collection

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from composir.server.errors import ApiError, UnavailableError
from composir.server.lifecycle import Lifecycle
from composir.server.pages import addresses
from composir.server.settings import Settings

WITHOUT_KEY = frozenset({"/livez", "/readyz"}) | addresses()


class Guard:
    """Refuses what is not allowed before the application sees it."""

    def __init__(self, app: ASGIApp, settings: Settings, life: Lifecycle):
        self.app, self.settings, self.life = app, settings, life
        self.keys = KeyRing(settings.api_keys)
        self.room = Room(settings.max_buffered_bytes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request that may pass."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body = Body(receive, headers, self.room, self.settings.max_body_bytes, self.settings.body_seconds)

        async def answer(message: Message) -> None:
            # Nobody waits for the rest of a body that nobody reads.
            if message["type"] == "http.response.start" and body.unread:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        try:
            check_connections(len(self.life.connections), self.settings.max_connections)
            check_host(headers, self.settings.hosts)
            check_origin(headers, scope["method"])
            if scope["path"] not in WITHOUT_KEY:
                self.keys.check(headers)
            body.check_length()
            await self.app(scope, body.receive, answer)
        except ApiError as refusal:
            await refusal.response()(scope, receive, answer)
        finally:
            body.forget()


def check_connections(count: int, most: int) -> None:
    """Refuse what comes by one connection too many, and close that: 503."""
    if count > most:
        told = f"the server has more than {most} connections, the limit; try again in 1 s"
        raise UnavailableError(told, headers={"Connection": "close"})


def check_host(headers: Headers, allowed: Collection[str]) -> None:
    """Refuse a request that was not meant for this server: 421.

    Args:
        headers: Of the request.
        allowed: Lower case, without port; IPv6 addresses in brackets.
    """
    given = headers.getlist("host")
    host = given[0].lower() if len(given) == 1 else ""
    name, _, port = host.rpartition(":") if host.rpartition("]")[2].count(":") == 1 else (host, "", "")
    if name not in allowed or (port and not port.isdecimal()):
        told = "this server is not known under the name of the Host header; its operator can allow it: --allowed-hosts"
        raise ApiError(421, told)


def check_origin(headers: Headers, method: str) -> None:
    """Refuse what another site's page sends: 403. Following a link to this server is allowed."""
    origin = headers.get("origin")
    if origin is not None:
        scheme, _, place = origin.lower().partition("://")  # "null" and the like have no place
        if scheme not in {"http", "https"} or place != headers.get("host", "").lower():
            raise ApiError(403, "the request comes from a page of another origin, which is never answered")
    site = headers.get("sec-fetch-site", "none")
    link = method in {"GET", "HEAD"} and headers.get("sec-fetch-mode") == "navigate"
    if site not in {"same-origin", "none"} and not (link and headers.get("sec-fetch-dest") == "document"):
        raise ApiError(403, f"the request comes from a {site[:20]} page, and only this server's own page may ask")


class KeyRing:
    """The API keys, as digests: all are compared, each in constant time, whatever was sent."""

    def __init__(self, keys: Collection[SecretStr]):
        self._digests = [_digest(key.get_secret_value()) for key in keys]

    def check(self, headers: Headers) -> None:
        """Refuse a request without a valid key: 401."""
        if not self._digests:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        sent, valid = _digest(given), False
        for digest in self._digests:
            valid |= hmac.compare_digest(sent, digest)
        if not valid:
            told = "an API key is needed: send Authorization: Bearer KEY, or X-API-Key: KEY"
            raise ApiError(401, told, headers={"WWW-Authenticate": "Bearer"})


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class Room:
    """Memory that all bodies share."""

    def __init__(self, size: int):
        self.size, self.taken = size, 0

    def take(self, count: int) -> None:
        """Reserve, or refuse with 503."""
        if self.taken + count > self.size:
            raise UnavailableError("too many uploads are under way; try again in 1 s")
        self.taken += count


class Body:
    """One request's body: `receive` counts its bytes and keeps its time."""

    def __init__(self, receive: Receive, headers: Headers, room: Room, most: int, seconds: float):
        self._receive, self._room, self._most, self._seconds = receive, room, most, seconds
        self._length = headers.get("content-length", "0")
        self._count, self._deadline = 0, 0.0
        self._whole = self._length == "0" and "transfer-encoding" not in headers

    @property
    def unread(self) -> bool:
        """Whether some of it may still be to come."""
        return not self._whole

    def check_length(self) -> None:
        """Refuse a body that is too large by its own account before a byte of it is read: 413."""
        length = self._length
        if not (length.isascii() and length.isdecimal()):
            raise ApiError(400, "Content-Length is no number")
        if len(length) > 18 or int(length) > self._most:
            raise self._too_large()

    async def receive(self) -> Message:
        """The next piece.

        Raises:
            ApiError: 413 at the first byte too many, 408 when the time is up, 503 without memory for it.
        """
        if self._whole:
            return await self._receive()
        now = asyncio.get_running_loop().time()
        self._deadline = self._deadline or now + self._seconds
        try:
            async with asyncio.timeout(self._deadline - now):
                message = await self._receive()
        except TimeoutError:
            told = f"the body had not arrived after {self._seconds:g} s; send less, or faster"
            raise ApiError(408, told) from None
        if message["type"] == "http.request":
            size = len(message.get("body", b""))
            if self._count + size > self._most:
                raise self._too_large()
            self._room.take(size)
            self._count += size
            self._whole = not message.get("more_body", False)
        return message

    def forget(self) -> None:
        """Give the room back."""
        self._room.taken -= self._count
        self._count = 0

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self._most:,} bytes, the limit")
