"""A result as text: metrics down, methods across, one table for each task."""

from __future__ import annotations

from typing import Any

from composir.evaluation.gaps import caveat
from composir.evaluation.results import Result
from composir.nouns import counted

PARTIAL = " (partial)"


def table(result: Result) -> str:
    """Every metric of every method in per cent with its interval, the averages, and what to beware of."""
    stamp = PARTIAL if result.content["protocol"]["partial"] else ""
    parts = [_heading(result)]
    for place, task in enumerate(result.content["tasks"]):
        protocol = result.content["protocol"]["tasks"][place]
        scored = [result.scores(method)["tasks"][place] for method in result.methods]
        rows = [
            [_named(name, task) + stamp, *(_cell(of["metrics"][name], of["intervals"][name]) for of in scored)]
            for name in task["metrics"]
        ]
        parts.append(_grid([_title(protocol), *result.methods], rows))
    averages = [result.scores(method) for method in result.methods]
    if result.content["average"]:
        rows = [
            [name + stamp, *(_cell(of["average"][name], of["average_intervals"][name]) for of in averages)]
            for name in result.content["average"]
        ]
        parts.append(_grid(["all tasks", *result.methods], rows))
    told = _caveat(result.content["protocol"])  # in the head
    parts += [f"warning: {warning}" for warning in result.content["warnings"] if warning != told]
    return "\n\n".join(parts)


def _heading(result: Result) -> str:
    protocol = result.content["protocol"]
    method, backbone = protocol["method"], protocol["backbone"]
    told = ", ".join(f"{k} {v}" for k, v in {**method["arguments"], **protocol["controls"]}.items())
    lines = [
        f"{result.method}{f' ({told})' if told else ''} over {backbone['name']} on {protocol['data']} "
        f"{protocol['split']}; per cent, 95 % interval over queries"
    ]
    if told := _caveat(protocol):
        lines.append(told.replace("partial", "PARTIAL", 1))
    return "\n".join(lines)


def _caveat(protocol: dict[str, Any]) -> str:
    return caveat(protocol["missing"]) if protocol["partial"] else ""


def _named(metric: str, task: dict[str, Any]) -> str:
    """With the number of queries where it does not apply to all."""
    count = task["counts"][metric]
    return metric if count == task["queries"] else f"{metric} ({counted(count, 'query', 'queries')})"


def _title(protocol: dict[str, Any]) -> str:
    gallery = protocol["gallery"]
    name = f" ({gallery['name']})" if gallery["name"] else ""
    reference = "dropped" if protocol["drop_reference"] else "kept"
    what = f"gallery {gallery['size']:,}{name}, reference {reference}"
    if protocol["own_candidates"]:
        what = "each with candidates of its own, its reference never among them"
    return f"{protocol['name']}: {counted(protocol['queries'], 'query', 'queries')}, {what}"


def _cell(value: float | None, interval: list[float] | None) -> str:
    if value is None or interval is None:
        return "-"
    return f"{value:.2f} ({interval[0]:.1f}-{interval[1]:.1f})"


def _grid(head: list[str], rows: list[list[str]]) -> str:
    """The first heading on a line of its own; columns set flush."""
    cells = [["", *head[1:]], *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = [
        "  ".join(text.ljust(width) if not column else text.rjust(width) for column, (text, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in cells)
    ]
    return "\n".join([head[0], *(line.rstrip() for line in lines)])
