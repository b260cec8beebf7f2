"""The comparisons behind a leaderboard's marks, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from composir.nouns import counted
from composir.reporting.comparison import AVERAGES, Cell, Column, Test
from composir.reporting.markup import Html, quoted, scroll, tag
from composir.reporting.runs import Entry


def evidence(found: Mapping[Column, Sequence[Cell]], entries: Sequence[Entry]) -> Html:
    """A table that unfolds: each method against the best of each column; nothing where nothing was tested."""
    rows = []
    for column, row in found.items():
        best = next((entry for entry, cell in zip(entries, row, strict=True) if cell.best), None)
        for entry, cell in zip(entries, row, strict=True):
            if cell.test is None or best is None:
                continue
            paired = cell.test.paired
            shown = [
                _signed(paired.difference),
                f"{_signed(paired.low)} to {_signed(paired.high)}",
                _chance(paired.p_randomization),
                _chance(cell.test.holm),
                _chance(paired.p_bootstrap),
                f"{paired.wins:,} / {paired.losses:,} / {paired.ties:,}",
            ]
            where = "" if column.group == AVERAGES else f"{column.group} "
            names = [quoted(f"{where}{column.name}"), quoted(entry.label), quoted(best.label)]
            rows.append(tag("tr", [tag("td", name) for name in names], [tag("td", v, class_="n") for v in shown]))
    if not rows:
        return Html("")
    heads = ["Column", "Method", "against", "Points", "95 %", "p", "p, Holm", "p, bootstrap", "won / lost / even"]
    table = tag(
        "table",
        tag(
            "thead", tag("tr", [tag("th", h, scope="col", class_="n" if i > 2 else None) for i, h in enumerate(heads)])
        ),
        tag("tbody", rows),
    )
    summary = tag("summary", f"All {counted(len(rows), 'comparison')} in numbers")
    return tag("details", summary, scroll(table, "Comparisons"), class_="numbers")


def told(test: Test) -> str:
    """One comparison in a line."""
    paired = test.paired
    return (
        f"{_signed(paired.difference)} against the best ({_signed(paired.low)} to {_signed(paired.high)}); "
        f"p = {_chance(test.holm)} after Holm"
    )


def _signed(share: float) -> str:
    """A difference of means in 0..1 as points of a per cent."""
    return f"{100 * share:+.1f}".replace("-", "−")


def _chance(p: float) -> str:
    return f"{p:.4f}" if p >= 0.0001 else "< 0.0001"
