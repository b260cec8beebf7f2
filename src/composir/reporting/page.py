"""A report as one HTML file that asks nothing of any network: styles, script, charts and pictures are all in it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources

import composir
from composir.reporting.bars import category_bars
from composir.reporting.curves import recall_curves
from composir.reporting.grids import query_grids
from composir.reporting.heading import heading
from composir.reporting.leaderboard import leaderboard
from composir.reporting.markup import Html, quoted, tag
from composir.reporting.pictures import Album
from composir.reporting.runs import Section

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""Even if something of a data set came alive, the page could reach nothing."""


def page(
    sections: Sequence[Section], *, images: bool = True, worst: int = 20, best: int = 20, search: str = ""
) -> Html:
    """The whole file.

    Args:
        sections: One for each data set.
        images: Whether the queries show pictures.
        worst: How many of the first method's worst queries to show.
        best: How many of its best.
        search: Address of a search page to which each shown query links; "" for no link.
    """
    album = Album(images, search)
    bodies = [_section(section, i, album, worst, best) for i, section in enumerate(sections)]
    names = [f"{section.title} {section.data['split']}" for section in sections]
    links = [tag("li", tag("a", quoted(name), href=f"#s{i}")) for i, name in enumerate(names)]
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("title", f"{', '.join(names)}: composir report"),
        tag("style", _part("page.css")),
    )
    body = tag(
        "body",
        tag(
            "div", tag("span", "composir report"), tag("nav", tag("ul", links)) if len(links) > 1 else "", class_="top"
        ),
        tag("main", bodies),
        tag("footer", f"Made by composir {composir.__version__}. This file holds all it needs and sends nothing."),
        album.definitions(),
        tag("script", _part("page.js")),
    )
    return Html(f"<!doctype html>\n{tag('html', head, body, lang='en')}\n")


def _section(section: Section, place: int, album: Album, worst: int, best: int) -> Html:
    bars = category_bars(section)
    curves = recall_curves(section)
    grids = query_grids(section, album, worst, best)
    return tag(
        "section",
        heading(section),
        tag("h3", "Leaderboard"),
        leaderboard(section),
        [tag("h3", "R@K"), curves] if curves else None,
        [tag("h3", "By category"), bars] if bars else None,
        grids,
        id=f"s{place}",
    )


def _part(name: str) -> Html:
    return Html(resources.files("composir.reporting").joinpath(name).read_text(encoding="utf-8"))
