"""Building HTML and SVG from Python: whatever is not markup already is escaped, so nothing a data set holds can act."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime
from html import escape
from math import isnan

_VOID = {"br", "hr", "meta"}
# Nothing a page may hold; lone surrogates could not even be written as UTF-8.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def text(value: object) -> Html:
    """Markup that shows `value`; markup stays as it is, an iterable is strung together, None is nothing."""
    if isinstance(value, Html):
        return value
    if value is None:
        return Html("")
    if not isinstance(value, str) and isinstance(value, Iterable):
        return Html("".join(text(part) for part in value))
    return Html(escape(_FORBIDDEN.sub("\ufffd", str(value))))


def tag(name: str, /, *children: object, **attributes: object) -> Html:
    """One element.

    Args:
        name: Of HTML or SVG.
        children: Each as `text` takes it.
        attributes: `class_` and `stroke_width` become class and stroke-width; None and False are left out.
    """
    shown = "".join(
        f" {key.rstrip('_').replace('_', '-')}" + ("" if value is True else f'="{text(str(value))}"')
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Html(f"<{name}{shown}>" if name in _VOID else f"<{name}{shown}>{text(children)}</{name}>")


def quoted(value: object) -> Html:
    """Words of a data set, kept apart from ours: whatever their script or marks, they turn no text around them."""
    return tag("bdi", value)


def number(value: float | None) -> str:
    """Per cent with one digit; a dash where there is none."""
    return "–" if value is None or isnan(value) else f"{value:.1f}"


def moment(stamp: str) -> str:
    """An ISO time as people write it; as it stands where it is none."""
    try:
        time = datetime.fromisoformat(stamp)
    except ValueError:
        return stamp
    return f"{time.day} {time:%B %Y, %H:%M} {time:%Z}".strip()


def scroll(table: Html, label: str) -> Html:
    """A wide table in a box of its own, so that the page itself is never scrolled sideways."""
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label=label)
