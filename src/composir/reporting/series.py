"""How a method looks in every chart of a report: its colour, its mark, its line."""

from __future__ import annotations

from collections.abc import Sequence

from composir.reporting.markup import Html, quoted, tag
from composir.reporting.runs import Entry

SERIES = 8  # colours in page.css; further methods take them again, their lines dashed


def colour(place: int) -> str:
    """The class that gives a method its colour, in light and in dark."""
    return f"c{place % SERIES}"


def legend(entries: Sequence[Entry]) -> Html:
    """The methods with their colours and marks."""
    items = [
        tag(
            "li",
            tag("svg", line([(1, 6), (27, 6)], place), mark(14, 6, place), viewBox="0 0 28 12", aria_hidden="true"),
            quoted(entry.name),
            data_series=place,
        )
        for place, entry in enumerate(entries)
    ]
    return tag("ul", items, class_="series")


def line(points: Sequence[tuple[float, float]], place: int) -> Html:
    """A curve through points; dashed where its colour stands for an earlier method already."""
    dash = (None, "7 4", "2 4")[min(place // SERIES, 2)]
    path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return tag("path", d=path, class_=f"line {colour(place)}", stroke_dasharray=dash)


def mark(x: float, y: float, place: int) -> Html:
    """Shapes beside colours, for eyes and printers that see none."""
    shapes = (
        "M-3.4 0a3.4 3.4 0 1 0 6.8 0a3.4 3.4 0 1 0-6.8 0z",
        "M-3-3h6v6h-6z",
        "M0-4L4 3H-4z",
        "M0-4.4L4.4 0L0 4.4L-4.4 0z",
        "M0 4L4-3H-4z",
        "M-4-1.2h2.8V-4h2.4v2.8H4v2.4H1.2V4h-2.4V1.2H-4z",
    )
    shape = shapes[place % len(shapes)]
    return tag("path", d=shape, transform=f"translate({x:.1f} {y:.1f})", class_=f"mark {colour(place)}")
