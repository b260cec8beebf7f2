"""What a query's reference is: a gallery picture, an upload, a web address or a tensor, made ready for the model."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable
from dataclasses import replace
from typing import Generic, TypeVar

from composir.gallery.scan import content_id
from composir.images import ImageError
from composir.server.decoding import Decoders, File, Source
from composir.server.errors import ApiError, BusyError
from composir.server.fetching import Fetcher
from composir.server.fields import ReferenceById, ReferenceByTensor, ReferenceByUrl
from composir.server.service import NotFoundError, Reference, SearchRequest, Service, StoredPicture
from composir.server.telemetry import Telemetry

Key = TypeVar("Key")
Decoded = TypeVar("Decoded")

FETCHING = 4  # web addresses read at a time
WAITING = 8  # that may wait for that
GONE = frozenset({"missing file", "changed", "unreadable"})


class ByteCache(Generic[Key]):
    """The most lately used values, up to so many bytes together; one above half of that is not kept."""

    def __init__(self, size: int):
        self._size, self._taken = size, 0
        self._kept: OrderedDict[Key, bytes] = OrderedDict()

    def get(self, key: Key) -> bytes | None:
        """What is kept, or None."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: Key, value: bytes) -> None:
        """Keep a value, at the price of the oldest."""
        if key in self._kept or 2 * len(value) > self._size:
            return
        self._kept[key] = value
        self._taken += len(value)
        while self._taken > self._size:
            self._taken -= len(self._kept.popitem(last=False)[1])


class References:
    """Finds and decodes references.

    Args:
        service: Knows the gallery and what it has encoded already.
        decoders: Decode what it has not.
        fetcher: None where web addresses are switched off.
        uploads_bytes: Of uploads kept, so that a later query can name them.
        telemetry: Told how long it takes.
    """

    def __init__(
        self, service: Service, decoders: Decoders, fetcher: Fetcher | None, uploads_bytes: int, telemetry: Telemetry
    ):
        self._service, self._decoders, self._fetcher, self._telemetry = service, decoders, fetcher, telemetry
        self._uploads: ByteCache[str] = ByteCache(uploads_bytes)
        self._fetching, self._fetches = asyncio.Semaphore(FETCHING), 0

    async def into(
        self, request: SearchRequest, given: ReferenceById | ReferenceByUrl | ReferenceByTensor | bytes | None
    ) -> SearchRequest:
        """The request with its reference; pixels are decoded only if the service does not know its encoding.

        Raises:
            ApiError: 422 for a bad tensor, 403 for a web address where they are switched off.
            BusyError: Too many web addresses, or pictures to be decoded, wait.
            NotFoundError: An id that is neither in the gallery nor uploaded lately.
            ComposirError: A picture that cannot be read.
        """
        if given is None:
            return request
        if isinstance(given, ReferenceByTensor):
            try:
                return replace(request, reference=Reference(tensor=given.tensor.array()))
            except ValueError as error:
                raise ApiError(422, str(error)) from None
        own, source = await self._find(given)
        # One state from here to the answer: the gallery's method may be another before the picture is decoded.
        request = replace(request, state=self._service.state())
        pixels = None
        if not self._service.knows(own, request):
            transform = self._service.transform(self._service.side(request), request.method, request.state)
            with self._telemetry.stage("decode"):
                pixels = await readable(self._decoders.pixels(source, transform))
        if isinstance(source, bytes):
            self._uploads.put(own, source)
        return replace(request, reference=Reference(own, pixels=pixels))

    def find(self, own: str) -> Source:
        """The picture of an id: of the gallery, or uploaded lately.

        Raises:
            NotFoundError: Neither.
        """
        try:
            return file_of(self._service.picture(own))
        except NotFoundError:
            if (data := self._uploads.get(own)) is None:
                told = f"picture {own} is neither in the gallery nor among the latest uploads; upload it again"
                raise NotFoundError(told) from None
            return data

    async def _find(self, given: ReferenceById | ReferenceByUrl | bytes) -> tuple[str, Source]:
        if isinstance(given, ReferenceById):
            return given.id, self.find(given.id)
        if isinstance(given, ReferenceByUrl):
            if self._fetcher is None:
                raise ApiError(403, "web addresses are switched off here; upload the picture", code="fetching_is_off")
            given = await self._fetch(self._fetcher, given.url)
        return content_id(given), given

    async def _fetch(self, fetcher: Fetcher, url: str) -> bytes:
        if self._fetches >= FETCHING + WAITING:
            raise BusyError("too many web addresses wait to be read", max(1, round(fetcher.seconds)))
        self._fetches += 1
        try:
            async with self._fetching:
                with self._telemetry.stage("fetch"):
                    return await asyncio.to_thread(fetcher, url)
        finally:
            self._fetches -= 1


async def readable(decoded: Awaitable[Decoded]) -> Decoded:
    """The decoded picture; one that left the gallery's folder is 404, not the client's mistake."""
    try:
        return await decoded
    except ImageError as error:
        if error.reason in GONE:
            raise NotFoundError(f"{error}") from error
        raise


def file_of(picture: StoredPicture) -> File:
    """Where the child finds a gallery picture."""
    return File(str(picture.root), picture.paths, picture.id, picture.follow_symlinks)
