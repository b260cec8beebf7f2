"""One shape for every error: {"error": {"code", "message", "request_id"}}; the code is stable, the message is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from composir.errors import ComposirError, ConditionError, GalleryError
from composir.images import ImageError
from composir.server.context import request_id
from composir.server.fields import MEANT
from composir.server.service import NotFoundError, StaleCursorError

CODES: dict[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    403: "cross_origin",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    421: "wrong_host",
    422: "invalid_request",
    429: "busy",
    500: "internal",
    503: "unavailable",
}
"""What each status means; beside these there are the codes of `OWN`, and some that their places name."""

OWN: dict[type[ComposirError], str] = {
    ImageError: "bad_picture",
    ConditionError: "bad_filter",
    StaleCursorError: "stale_cursor",
}
"""Of 422: what a client can do something of its own about."""

SHOWN = 5  # problems of one body that are listed
LONGEST = 2000  # characters of a message


class ApiError(HTTPException):
    """An answer other than the one asked for.

    It is starlette's HTTPException so that FastAPI lets it pass where it reads a body.

    Attributes:
        code: Stable, to branch on.
    """

    def __init__(self, status: int, message: str, *, code: str = "", headers: Mapping[str, str] | None = None):
        super().__init__(status, message, dict(headers) if headers else None)
        self.code = code or CODES[status]

    def response(self) -> JSONResponse:
        """The answer that tells it."""
        told = {"code": self.code, "message": str(self.detail)[:LONGEST], "request_id": request_id.get()}
        return JSONResponse({"error": told}, self.status_code, self.headers)


class BusyError(ApiError):
    """A queue is full: 429, come back in `seconds`."""

    def __init__(self, what: str, seconds: int):
        super().__init__(429, f"{what}; try again in {seconds} s", headers={"Retry-After": str(seconds)})


class UnavailableError(ApiError):
    """Not ready yet, or no longer: 503, come back in `seconds`."""

    def __init__(self, what: str, seconds: int = 1, headers: Mapping[str, str] = MappingProxyType({})):
        super().__init__(503, what, headers={"Retry-After": str(seconds), **headers})


def told_problems(problems: Sequence[Any]) -> str:
    """What pydantic found, by place, without repeating what was sent."""
    lines = []
    for problem in problems[:SHOWN]:
        parts = [str(part) for part in problem["loc"]]
        parts = parts[1:] if parts[:1] in (["body"], ["query"], ["path"]) else parts
        place = ".".join(part for part in parts if not part.startswith("<"))  # <…> is which of several forms it has
        message = _told(problem)
        lines.append(f"{place}: {message}" if place else message)
    more = len(problems) - SHOWN
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def _told(problem: Any) -> str:
    context, message = problem.get("ctx", {}), str(problem["msg"])
    if problem["type"] == "json_invalid":
        return f"the body is no JSON: {context['error']}"
    if problem["type"] == "string_pattern_mismatch":
        return MEANT.get(context["pattern"], message)
    return message.removeprefix("Value error, ")


def from_validation(error: ValidationError) -> ApiError:
    """422 for a body that is not as documented."""
    return ApiError(422, told_problems(error.errors(include_url=False, include_input=False)))


def from_composir(error: ComposirError) -> ApiError:
    """The client can mend it: 404 for what is not there, 409 for what the gallery cannot serve, 422 for the rest."""
    if isinstance(error, NotFoundError):
        return ApiError(404, str(error))
    if isinstance(error, GalleryError):
        return ApiError(409, str(error))
    return ApiError(422, str(error), code=next((code for kind, code in OWN.items() if isinstance(error, kind)), ""))


def install(app: FastAPI) -> None:
    """Let the application tell all its errors in the one shape; what nobody foresaw is told by `frame`."""

    async def api(_: Request, error: Any) -> JSONResponse:
        return error.response()

    async def http(_: Request, error: Any) -> JSONResponse:
        code = error.status_code if error.status_code in CODES else 400
        headers = dict(error.headers or {})
        if "GET" in headers.get("Allow", "").split(", "):
            headers["Allow"] += ", HEAD"  # see `heads`
        return ApiError(code, _PLAIN.get(code, str(error.detail)), headers=headers).response()

    async def invalid(_: Request, error: Any) -> JSONResponse:
        return ApiError(422, told_problems(error.errors())).response()

    async def mendable(_: Request, error: Any) -> JSONResponse:
        return from_composir(error).response()

    app.add_exception_handler(ApiError, api)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(ComposirError, mendable)


_PLAIN = {
    404: "there is nothing at this address; /openapi.json lists what there is",
    405: "this address does not know that method; the Allow header lists those it knows",
}
