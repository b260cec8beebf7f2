"""Bars by category: the aspects of a task's queries, or a data set's tasks, each with its 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from composir import metrics
from composir.nouns import counted
from composir.reporting.markup import Html, number, quoted, tag, text
from composir.reporting.runs import Section
from composir.reporting.series import colour

WIDTH, ROW, BAR = 340, 22, 12
LETTER, LONGEST = 6.5, 22  # of a method's name: width of a letter in pixels, and how many there may be
FIGURE = 34  # room for the number at the right
PREFERRED = ("R@10", "mAP@10")


@dataclass(frozen=True)
class _Bar:
    place: int
    name: str
    label: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class _Category:
    name: str
    queries: int
    bars: tuple[_Bar, ...]


def category_bars(section: Section) -> Html:
    """A small chart for each aspect or task, all to one scale; nothing where there is but one task and no aspect."""
    blocks = [
        _block(f"{metric} of {task} by aspect", _by_aspect(section, task, metric))
        for task in section.tasks
        for metric in _aspect_metrics(section, task)
    ]
    if len(section.tasks) > 1:
        metric = _common(section)
        blocks.insert(0, _block(f"{metric} by task", _by_task(section, metric)))
    return text(blocks)


def _aspect_metrics(section: Section, task: str) -> list[str]:
    names = [name for entry in section.entries if task in entry.tasks for name in entry.tasks[task].metrics]
    return list(dict.fromkeys(name.partition("/")[0] for name in names if "/" in name))


def _by_aspect(section: Section, task: str, metric: str) -> list[_Category]:
    found: dict[str, list[_Bar]] = {}
    counts: dict[str, int] = {}
    for place, entry in enumerate(section.entries):
        scores = entry.tasks.get(task)
        for key, value in scores.metrics.items() if scores else ():
            stem, slash, aspect = key.partition("/")
            if not slash or stem != metric or value is None or scores is None:
                continue
            low, high = scores.intervals.get(key) or (None, None)
            found.setdefault(aspect, []).append(_Bar(place, entry.name, entry.short(LONGEST), value, low, high))
            if key in scores.values:
                counts.setdefault(aspect, int((~np.isnan(scores.values[key])).sum()))
    return [_Category(aspect, counts.get(aspect, 0), tuple(bars)) for aspect, bars in found.items()]


def _common(section: Section) -> str:
    """A metric that every task has, else R@10: that follows from the ranks."""
    tasks = [scores for entry in section.entries for scores in entry.tasks.values()]
    common = [m for m in tasks[0].metrics if "/" not in m and all(m in scores.metrics for scores in tasks)]
    return next((m for m in (*PREFERRED, *common) if m in common), "R@10")


def _by_task(section: Section, metric: str) -> list[_Category]:
    made = []
    for task in section.tasks:
        bars = []
        for place, entry in enumerate(section.entries):
            scores = entry.tasks.get(task)
            if scores is None:
                continue
            value, interval = scores.metrics.get(metric), scores.intervals.get(metric)
            if metric not in scores.metrics and scores.ranks.any():
                hits = scores.hits(10)
                value, (low, high) = 100 * float(hits.mean()), metrics.bootstrap_interval(hits)
                interval = (100 * low, 100 * high)
            if value is not None:
                bars.append(_Bar(place, entry.name, entry.short(LONGEST), value, *(interval or (None, None))))
        queries = next(entry.tasks[task].queries for entry in section.entries if task in entry.tasks)
        made.append(_Category(task, queries, tuple(bars)))
    return made


def _block(title: str, categories: Sequence[_Category]) -> Html:
    bars = [bar for category in categories for bar in category.bars]
    if not bars:
        return Html("")
    highest = max(bar.high if bar.high is not None else bar.value for bar in bars)
    ceiling = min(100.0, max(1.0, 10 * math.ceil(highest / 10) if highest > 10 else math.ceil(highest)))
    charts = [_figure(category, ceiling, title) for category in categories]
    return text([tag("h4", quoted(title)), tag("div", charts, class_="bars")])


def _figure(category: _Category, ceiling: float, title: str) -> Html:
    left = LETTER * max(len(bar.label) for bar in category.bars) + 10 if category.bars else 0
    scale = (WIDTH - FIGURE - left) / ceiling
    height = ROW * len(category.bars)
    rows = [_row(bar, number_ * ROW, left, scale) for number_, bar in enumerate(category.bars)]
    zero = tag("line", x1=f"{left:.1f}", x2=f"{left:.1f}", y1=0, y2=height, class_="zero")
    told = "; ".join(
        f"{bar.name} {number(bar.value)}" + ("" if bar.low is None else f" ({number(bar.low)} to {number(bar.high)})")
        for bar in category.bars
    )
    return tag(
        "figure",
        tag("figcaption", quoted(category.name), tag("small", counted(category.queries, "query", "queries"))),
        tag(
            "svg",
            tag("title", f"{title}: {category.name}"),
            tag("desc", told),
            rows,
            zero,
            viewBox=f"0 0 {WIDTH} {height}",
            role="img",
            class_="chart",
        ),
    )


def _row(bar: _Bar, top: float, left: float, scale: float) -> Html:
    middle = top + ROW / 2
    end = left + bar.value * scale
    made = [
        tag("text", bar.label, x=f"{left - 8:.1f}", y=middle, dy="0.33em", text_anchor="end", class_="axis"),
        tag(
            "rect",
            x=f"{left:.1f}",
            y=middle - BAR / 2,
            width=f"{max(0.0, end - left):.1f}",
            height=BAR,
            class_=f"bar {colour(bar.place)}",
        ),
    ]
    reach = end
    if bar.low is not None and bar.high is not None:
        low, high = left + bar.low * scale, left + bar.high * scale
        path = f"M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 3}v6M{high:.1f} {middle - 3}v6"
        made += [tag("path", d=path, class_="halo"), tag("path", d=path, class_="whisker")]
        reach = max(reach, high)
    made.append(tag("text", number(bar.value), x=f"{reach + 5:.1f}", y=middle, dy="0.33em", class_="reading"))
    return tag("g", made, data_series=bar.place)
