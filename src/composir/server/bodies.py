"""From a request to a checked body: JSON strictly, forms leniently, since all their values are texts; and its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from typing import Any, TypeVar

from annotated_types import MaxLen
from fastapi import Request
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from starlette.requests import ClientDisconnect

from composir.server.errors import ApiError, from_validation
from composir.server.settings import Settings
from composir.server.uploads import FILE, read_form, read_whole

Model = TypeVar("Model", bound=BaseModel)
Out = TypeVar("Out")
JSON, FORM = "application/json", "multipart/form-data"


async def read_body(
    request: Request, settings: Settings, model: type[Model], form: type[BaseModel] | None = None
) -> tuple[Model | BaseModel, bytes | None]:
    """The body as `model`, or from a form, where one is taken, as `form` with its picture.

    Raises:
        ApiError: 415 for another media type, 422 for a body that is not as documented, and those of `uploads`.
    """
    given = request.headers.get("content-type", "")
    kind = given.partition(";")[0].strip().lower()
    if kind == JSON:
        try:
            return model.model_validate_json(await read_whole(request.stream()), strict=True), None
        except ValidationError as error:
            raise from_validation(error) from None
    if form is not None and kind == FORM:
        read = await read_form(given, request.stream(), most_parts(form), settings.max_field_bytes)
        if read.file is None:
            raise ApiError(422, f"the form has no file in the field {FILE!r}; without a picture, send JSON")
        try:
            return form.model_validate({n: _value(form, n, texts) for n, texts in read.fields.items()}), read.file
        except ValidationError as error:
            raise from_validation(error) from None
    raise ApiError(
        415, f"send {JSON}{f' or {FORM}' if form else ''}, not {kind[:80] or 'a body without Content-Type'!r}"
    )


def most_parts(form: type[BaseModel]) -> int:
    """Parts at which reading a form ends: twice what its model allows, so that the model tells which field is over.

    A list is sent as one part for each of its values.
    """
    parts = 1  # the picture
    for field in form.model_fields.values():
        parts += max(m.max_length for m in field.metadata if isinstance(m, MaxLen)) if _is_list(field) else 1
    return 2 * parts


def _is_list(field: FieldInfo | None) -> bool:
    return field is not None and str(field.annotation).startswith(("list", "typing.List"))


def _value(form: type[BaseModel], name: str, texts: list[str]) -> Any:
    """A list for a field that is a list, what JSON says for one that is an object, else the one text."""
    field = form.model_fields.get(name)
    kind = str(field.annotation) if field else ""
    if _is_list(field):
        return texts
    if len(texts) > 1:
        raise ApiError(422, f"{name[:80]}: the form has this field {len(texts)} times")
    if kind.startswith("dict"):
        try:
            return json.loads(texts[0])
        except (ValueError, RecursionError):
            raise ApiError(422, f"{name}: is no JSON object") from None
    return texts[0]


async def while_there(request: Request, work: Awaitable[Out]) -> Out:
    """Wait for what a client has asked for; if it hangs up, `work` is cancelled. The body must have been read.

    Raises:
        ClientDisconnect: The client has gone.
    """
    tasks = own, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if not own.done():
            raise ClientDisconnect
        return own.result()
    finally:
        own.cancel()
        gone.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
