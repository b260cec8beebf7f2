"""Recall curves: R@K of every method over K, by task, as SVG that is written by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass

from composir.reporting.markup import Html, number, quoted, scroll, tag, text
from composir.reporting.runs import Section
from composir.reporting.series import colour, legend, line, mark

WIDTH, HEIGHT = 420, 300
TOP, BOTTOM, LEFT = 26, 30, 30
LETTER, LONGEST = 7.0, 22  # of a direct label: width of a letter in pixels, and how many there may be
LINE = 14  # height of a direct label
TICKS = (1, 2, 5, 10, 20, 50)

_WHAT = tag("p", "R@K: the share of queries that have a target among the first K answers.", class_="quiet how")


@dataclass(frozen=True)
class _Plane:
    """Where the numbers of one chart lie on it."""

    cutoff: int
    ceiling: float
    right: float
    bottom: float

    def x(self, k: int) -> float:
        return LEFT + (self.right - LEFT) * math.log(k) / math.log(self.cutoff)

    def y(self, value: float) -> float:
        return TOP + (self.bottom - TOP) * (1 - value / self.ceiling)


def recall_curves(section: Section) -> Html:
    """One chart for each task whose truth is known, and a legend for all of them."""
    charts = [chart for task in section.tasks if (chart := _figure(section, task))]
    return text([_WHAT, legend(section.entries), tag("div", charts, class_="charts")]) if charts else Html("")


def _figure(section: Section, task: str) -> Html | None:
    shown = [
        (i, entry) for i, entry in enumerate(section.entries) if task in entry.tasks and entry.tasks[task].ranks.any()
    ]
    if not shown:
        return None
    last = max(int(entry.tasks[task].ranks.max()) for _, entry in shown)
    cutoff = min(50, max(3, last))
    curves = {i: [100 * float(entry.tasks[task].hits(k).mean()) for k in range(1, cutoff + 1)] for i, entry in shown}
    names = {i: entry.name for i, entry in shown}
    labels = {i: entry.short(LONGEST) for i, entry in shown}
    return tag(
        "figure",
        tag("figcaption", quoted(task)),
        _chart(curves, names, labels, task),
        _table(curves, names, cutoff),
    )


def _chart(curves: dict[int, list[float]], names: dict[int, str], labels: dict[int, str], task: str) -> Html:
    cutoff = len(next(iter(curves.values())))
    longest = max(map(len, labels.values()))
    top = max(10 * math.ceil(max(map(max, curves.values())) / 10), 10)
    bottom = max(HEIGHT - BOTTOM, TOP + LINE * len(curves))  # room for every name
    plane = _Plane(cutoff, float(top), WIDTH - 26 - LETTER * longest, bottom)
    series = []
    for place, values in sorted(curves.items(), reverse=True):  # the first method lies on top
        points = [(plane.x(k), plane.y(value)) for k, value in enumerate(values, 1)]
        marks = [mark(*points[k - 1], place) for k in TICKS if k < cutoff]  # the last stands at the name
        series.append(tag("g", line(points, place), marks, data_series=place))
    told = "; ".join(
        f"{names[i]}: {number(v[0])} at 1, {number(v[min(10, cutoff) - 1])} at 10" for i, v in curves.items()
    )
    return tag(
        "svg",
        tag("title", f"R@K of {task}"),
        tag("desc", f"Per cent of the queries whose target is among the first K, K from 1 to {cutoff}. {told}"),
        _grid(plane),
        series,
        _labels(curves, labels, plane),
        viewBox=f"0 0 {WIDTH} {bottom + BOTTOM}",
        role="img",
        class_="chart",
    )


def _grid(plane: _Plane) -> Html:
    step = next(s for s in (2, 5, 10, 20, 25) if plane.ceiling / s <= 5)
    levels = range(0, int(plane.ceiling) + 1, step)
    made = [tag("text", "R@K, per cent", x=LEFT, y=12, class_="axis")]
    for level in levels:
        y = f"{plane.y(level):.1f}"
        made.append(tag("line", x1=LEFT, x2=f"{plane.right:.1f}", y1=y, y2=y, class_="zero" if level == 0 else "rule"))
        made.append(tag("text", level, x=LEFT - 6, y=y, dy="0.33em", text_anchor="end", class_="axis"))
    for k in [k for k in TICKS if k <= plane.cutoff]:
        x = f"{plane.x(k):.1f}"
        made.append(
            tag(
                "text",
                f"K = {k}" if k == 1 else k,
                x=x,
                y=f"{plane.bottom + BOTTOM - 10:.0f}",
                text_anchor="middle",
                class_="axis",
            )
        )
    return tag("g", made)


def _labels(curves: dict[int, list[float]], labels: dict[int, str], plane: _Plane) -> list[Html]:
    """Names at the curves' ends, moved apart where they would touch."""
    order = sorted(curves, key=lambda i: (-curves[i][-1], i))
    places: list[float] = []
    for i in order:
        places.append(max(plane.y(curves[i][-1]), places[-1] + LINE if places else TOP))
    floor = plane.bottom
    for place in reversed(range(len(places))):
        places[place] = min(places[place], floor)
        floor = places[place] - LINE
    x = plane.right + 14
    return [
        tag(
            "g",
            tag(
                "path",
                d=f"M{plane.right:.1f} {plane.y(curves[i][-1]):.1f}L{x:.1f} {y:.1f}",
                class_=f"leader {colour(i)}",
            ),
            mark(x, y, i),
            tag("text", labels[i], x=f"{x + 8:.1f}", y=f"{y:.1f}", dy="0.33em", class_="name"),
            data_series=i,
        )
        for i, y in zip(order, places, strict=True)
    ]


def _table(curves: dict[int, list[float]], names: dict[int, str], cutoff: int) -> Html:
    shown = [k for k in TICKS if k <= cutoff]
    head = tag("tr", tag("th", "R@K", scope="col"), [tag("th", k, scope="col", class_="n") for k in shown])
    rows = [
        tag("tr", tag("th", quoted(names[i]), scope="row"), [tag("td", number(v[k - 1]), class_="n") for k in shown])
        for i, v in curves.items()
    ]
    table = tag("table", tag("thead", head), tag("tbody", rows))
    return tag("details", tag("summary", "In numbers"), scroll(table, "R@K in numbers"), class_="numbers")
