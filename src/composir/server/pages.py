"""The page: files of this package, served as they are.

They are read once, and a request names one of them by its whole address: no path of a request ever reaches the disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Annotated

from fastapi import APIRouter, Header, Response

from composir.server.errors import ApiError

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
INDEX = "index.html"

router = APIRouter(include_in_schema=False)
Known = Annotated[str | None, Header(alias="If-None-Match")]


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file as it travels; `tag` is its ETag."""

    content: bytes
    type: str
    tag: str


@cache
def page_files() -> Mapping[str, PageFile]:
    """All files of the page, by name."""
    found = {}
    for file in resources.files("composir.server").joinpath("page").iterdir():
        kind = TYPES.get(PurePosixPath(file.name).suffix)
        if kind and file.is_file():
            content = file.read_bytes()
            found[file.name] = PageFile(content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
    return MappingProxyType(found)


def addresses() -> frozenset[str]:
    """Where the page lies: open without an API key, for a browser has none to send before the page asks for it."""
    return frozenset({"/", *(f"/page/{name}" for name in page_files())})


@router.get("/")
async def index(known: Known = None) -> Response:
    """The page itself."""
    return _answer(INDEX, known)


@router.get("/page/{name}")
async def part(name: str, known: Known = None) -> Response:
    """A style sheet, a script or a drawing of the page."""
    return _answer(name, known)


def _answer(name: str, known: str | None) -> Response:
    if (file := page_files().get(name)) is None:
        raise ApiError(404, "the page has no such file")
    headers = {"ETag": file.tag, "Cache-Control": "no-cache"}
    if known and {file.tag, "*"} & {tag.strip().removeprefix("W/") for tag in known.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.type, headers=headers)
