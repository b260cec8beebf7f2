"""The log as text: nothing that is told is lost, and nothing that a client sends forges a line."""

from __future__ import annotations

import logging
import re
import sys

import pytest

from composir.server.context import request_id
from composir.server.telemetry import JsonLines, TextLines, configure_logging


def record(message: str, *args: object, exc_info=None, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("composir.server", logging.INFO, __file__, 1, message, args, exc_info)
    vars(made).update(extra)
    return made


def test_a_text_line_has_the_fields_and_the_request_id():
    token = request_id.set("mine")
    try:
        line = TextLines().format(record("request", fields={"path": "/v1/search", "status": 200, "ms": 1.5}))
    finally:
        request_id.reset(token)
    assert re.fullmatch(
        r"\S+ \S+ INFO composir\.server: request path=/v1/search status=200 ms=1\.5 request_id=mine", line
    )
    line = TextLines().format(record("listening", fields={"url": "http://127.0.0.1:8000"}))
    assert line.endswith("composir.server: listening url=http://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("/a b", '"/a b"'),
        ("/a\nERROR forged", '"/a\\nERROR forged"'),
        ("\x1b[2J", '"\\u001b[2J"'),
        ("\u202eabc", '"\\u202eabc"'),
        ("/a=b", '"/a=b"'),
        ('"', r'"\""'),
        ("", '""'),
        ("/größe", "/größe"),
    ],
)
def test_a_value_cannot_forge_a_line(value, told):
    line = TextLines().format(record("request", fields={"path": value}))
    assert line.endswith(f"request path={told}")
    assert line.isprintable()


def test_a_message_and_a_traceback_cannot_either():
    assert TextLines().format(record("read %s", "a\r\nb\x1b")).endswith(r"read a\r\nb\x1b")
    try:
        raise ValueError("first\n2026-01-01 00:00:00 INFO forged\x1b")
    except ValueError:
        head, *rest = TextLines().format(record("failed", exc_info=sys.exc_info())).split("\n")
    assert head.endswith("failed")
    assert all(line.startswith("    ") and line.isprintable() for line in rest)
    assert "ValueError: first" in "\n".join(rest)


@pytest.mark.parametrize(("style", "kind"), [("text", TextLines), ("json", JsonLines)])
def test_the_style_that_is_asked_for_is_set(monkeypatch, style, kind):
    for name in ("composir", "uvicorn"):
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "disabled", False)
    configure_logging(style, "info")
    assert isinstance(logging.getLogger("composir").handlers[0].formatter, kind)
