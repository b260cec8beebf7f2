"""Methods against metrics, each number with its interval and its distance from the best."""

from __future__ import annotations

from collections.abc import Sequence

from composir.nouns import counted
from composir.reporting.comparison import AVERAGES, DRAWS, LEVELS, Cell, Column, cells, columns
from composir.reporting.evidence import evidence, told
from composir.reporting.markup import Html, number, quoted, scroll, tag, text
from composir.reporting.runs import Entry, Section
from composir.reporting.series import colour

PARTIAL = tag("span", "partial", class_="partial", title="pictures were missing: not comparable with complete results")


def leaderboard(section: Section) -> Html:
    """The table, its legend, and every comparison behind its marks."""
    shown = columns(section)
    found = {column: cells(column, section.entries) for column in shown}
    body = [
        tag(
            "tr",
            _method(entry, place),
            [
                _cell(cell, entry, starts)
                for cell, starts in zip((found[c][place] for c in shown), _starts(shown), strict=True)
            ],
            data_series=place,
        )
        for place, entry in enumerate(section.entries)
    ]
    table = tag(
        "table",
        tag("thead", _groups(shown, section), _heads(shown)),
        tag("tbody", body),
        class_="board",
    )
    how = tag(
        "p", "Per cent, with the 95 % interval below. Press the name of a column to sort by it.", class_="quiet how"
    )
    return text([how, scroll(table, "Leaderboard"), _legend(found), evidence(found, section.entries)])


def _starts(shown: Sequence[Column]) -> list[bool]:
    """Which columns begin a group."""
    return [i == 0 or column.group != shown[i - 1].group for i, column in enumerate(shown)]


def _groups(shown: Sequence[Column], section: Section) -> Html:
    made = []
    for column, starts in zip(shown, _starts(shown), strict=True):
        if starts:
            width = sum(other.group == column.group for other in shown)
            heading = ["Averages"] if column.group == AVERAGES else [quoted(column.group), _size(section, column.group)]
            made.append(tag("th", heading, colspan=width, scope="colgroup", class_="starts"))
    return tag("tr", tag("td"), made, class_="groups")


def _size(section: Section, task: str) -> Html:
    scores = next(entry.tasks[task] for entry in section.entries if task in entry.tasks)
    among = "own candidates" if scores.shared_gallery is None else f"gallery {scores.gallery:,}"
    return tag("small", f"{counted(scores.queries, 'query', 'queries')} · {among}")


def _heads(shown: Sequence[Column]) -> Html:
    first = tag("th", tag("button", "Method", type="button"), scope="col", data_sort="text")
    rest = [
        tag(
            "th",
            tag("button", quoted(column.name), type="button"),
            scope="col",
            data_sort="number",
            class_="starts" if starts else None,
        )
        for column, starts in zip(shown, _starts(shown), strict=True)
    ]
    return tag("tr", first, rest)


def _method(entry: Entry, place: int) -> Html:
    said = ", ".join(f"{key} {value}" for key, value in entry.settings.items())
    kind = ", ".join(part for part in ("baseline" if entry.baseline else "", said) if part) or entry.run.name
    beneath = [PARTIAL, " "] if entry.partial else []
    return tag(
        "th",
        tag("i", class_=f"swatch {colour(place)}", aria_hidden="true"),
        quoted(entry.label),
        tag("small", beneath, quoted(kind)),
        scope="row",
        data_value=entry.label.lower(),
    )


def _cell(cell: Cell, entry: Entry, starts: bool) -> Html:
    if cell.value is None:
        return tag("td", "–", class_="starts" if starts else None)
    even = cell.best or (cell.test is not None and not cell.test.mark)
    classes = [name for name, holds in (("best", cell.best), ("even", even), ("starts", starts)) if holds]
    low, high = cell.interval or (None, None)
    return tag(
        "td",
        tag("b" if cell.best else "span", number(cell.value), class_="value"),
        tag("sup", _mark(cell)),
        tag("small", "" if low is None else f"{number(low)}–{number(high)}"),
        PARTIAL if entry.partial else None,
        class_=" ".join(classes) or None,
        data_value=f"{cell.value:.6f}",
        title=told(cell.test) if cell.test else None,
    )


def _mark(cell: Cell) -> str:
    if not cell.compared:
        return "†"
    return cell.test.mark if cell.test else "‡" if _untested(cell) else ""


def _untested(cell: Cell) -> bool:
    return cell.value is not None and cell.compared and not cell.best and cell.test is None


def _legend(found: dict[Column, list[Cell]]) -> Html:
    everything = [cell for row in found.values() for cell in row]
    stars = ", ".join(f"{mark}\u00a0p\u00a0<\u00a0{level:g}" for level, mark in reversed(LEVELS))
    said: list[object] = [tag("b", "Bold"), ": the highest of its column. "]
    if any(cell.test for cell in everything):
        said += [
            tag("span", "Tinted", class_="even"),
            f": not told apart from it by these queries. Stars: told apart from it, {stars}. The test is a two-sided "
            "paired randomization test over the queries (signs of the differences flipped at random, "
            f"{DRAWS:,} times), each method against the best of the column, p corrected by Holm’s method for all "
            "comparisons of that column. ",
        ]
    if any(_untested(cell) for cell in everything):
        said.append("‡: not tested, because it is not known what every query adds to it. ")
    if any(not cell.compared for cell in everything):
        said.append(
            "†: measured on other queries or pictures than the best of its column, or on an incomplete set, and so not "
            "compared with it. "
        )
    return tag(
        "p",
        said,
        "Intervals are percentile bootstraps over queries; Wilson's where all score 0, or all 1.",
        class_="legend",
    )
