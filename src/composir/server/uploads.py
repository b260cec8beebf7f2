"""Forms within limits: one file, few fields, small fields; refused at the first that is too many, not at the last."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from composir.server.errors import ApiError

FILE = "image"  # the field that holds the file
LONGEST_NAME = 64  # bytes of a field's name


@dataclass
class Form:
    """What a form held: texts by field, in the order sent, and the bytes of its file."""

    fields: dict[str, list[str]] = field(default_factory=dict)
    file: bytes | None = None


async def read_whole(stream: AsyncIterator[bytes]) -> bytes:
    """A body in one piece; its size is bounded by `guard.Body`."""
    return b"".join([piece async for piece in stream])


async def read_form(content_type: str, stream: AsyncIterator[bytes], max_fields: int, max_field_bytes: int) -> Form:
    """Read a multipart/form-data body.

    Args:
        content_type: The header, which names the boundary.
        stream: The body; its size is bounded by `guard.Body`.
        max_fields: Parts, the file included.
        max_field_bytes: Of a part that is not a file.

    Raises:
        ApiError: 400 for a body that is no form, 413 for one with too many or too large fields, 422 for a second file
            or a file in another field than `image`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise ApiError(400, "the Content-Type of the form names no boundary")
    reader = _Reader(max_fields, max_field_bytes)
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        async for piece in stream:
            parser.write(piece)
    except FormParserError:
        raise ApiError(400, "the body is no well-formed multipart/form-data") from None
    if not reader.ended:
        raise ApiError(400, "the form ends before its closing boundary")
    return reader.form


class _Reader:
    """Collects the parts as the parser meets them."""

    def __init__(self, max_fields: int, max_field_bytes: int):
        self.form, self.ended = Form(), False
        self._max_fields, self._max_bytes = max_fields, max_field_bytes
        self._parts = 0
        self._header, self._value, self._disposition = bytearray(), bytearray(), b""
        self._name, self._is_file, self._data = "", False, bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._open,
            "on_part_data": self._take,
            "on_part_end": self._close,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > self._max_fields:
            raise ApiError(413, f"the form has more than {self._max_fields} fields, the limit")
        self._disposition, self._data = b"", bytearray()

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _open(self) -> None:
        kind, options = parse_options_header(self._disposition)
        name = options.get(b"name", b"")
        if kind != b"form-data" or not name or len(name) > LONGEST_NAME:
            raise ApiError(400, f"a part of the form has no name of 1 to {LONGEST_NAME} bytes")
        self._name = _text(name, "the name of a field")
        self._is_file = b"filename" in options or self._name == FILE
        if self._is_file and self._name != FILE:
            raise ApiError(422, f"a file belongs in the field {FILE!r}")
        if self._is_file and self.form.file is not None:
            raise ApiError(422, "the form has more than one file; send one picture a request")

    def _take(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file and len(self._data) + end - start > self._max_bytes:
            raise ApiError(413, f"a field of the form is larger than {self._max_bytes:,} bytes, the limit")
        self._data += data[start:end]

    def _close(self) -> None:
        if self._is_file:
            self.form.file = bytes(self._data)
        else:
            self.form.fields.setdefault(self._name, []).append(_text(bytes(self._data), "a field"))
        self._data = bytearray()

    def _end(self) -> None:
        self.ended = True


def _text(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise ApiError(400, f"{what} is not UTF-8") from None
