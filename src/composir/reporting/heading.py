"""What stands above the numbers: data set, split, runs with their protocols, and what a reader must know first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from composir.nouns import counted
from composir.reporting.leaderboard import PARTIAL
from composir.reporting.markup import Html, moment, quoted, tag
from composir.reporting.runs import Run, Section

LISTED = 20  # entries of a long list, e.g. of missing pictures
# What may differ without making two numbers of one task incomparable.
_OWN = {"name", "queries"}


def heading(section: Section) -> Html:
    """Title, the runs, and every warning."""
    data = section.data
    arguments = ", ".join(f"{key} = {value}" for key, value in section.arguments.items())
    facts = [
        [tag("b", quoted(data["split"])), " split"],
        quoted(arguments) if arguments else None,
        counted(len(section.tasks), "task"),
        counted(len(section.runs), "run"),
        counted(len(section.entries), "method"),
    ]
    shown = [fact for fact in facts if fact is not None]
    return tag(
        "header",
        tag("h2", quoted(section.title)),
        tag("p", [[" · ", fact] if i else fact for i, fact in enumerate(shown)], class_="facts"),
        tag("div", [_run(run, len(section.runs)) for run in section.runs], class_="runs"),
        notices(section),
    )


def notices(section: Section) -> Html:
    """What makes the numbers less than they seem, once each."""
    told: list[object] = []
    incomplete = [run for run in section.runs if run.partial]
    for run in incomplete:
        missing = run.protocol.get("missing") or {}
        told.append(
            [
                tag("b", "Partial: "),
                f"for {run.name}, {counted(missing.get('images', 0), 'picture')} of the benchmark could not be had and "
                f"{counted(missing.get('queries', 0), 'query', 'queries')} had to be left out. Its numbers are not the "
                "benchmark’s: in a smaller gallery a target is found more easily.",
            ]
        )
    if incomplete and len(incomplete) < len(section.runs):
        told.append(
            [
                tag("b", "Partial beside complete: "),
                "these runs do not compare. They stand in one table, but are not tested against each other.",
            ]
        )
    told += _unlike(section)
    told += list(
        dict.fromkeys(quoted(warning) for run in section.runs for warning in run.result.content.get("warnings", ()))
    )
    return tag("ul", [tag("li", each) for each in told], class_="notices") if told else Html("")


def _unlike(section: Section) -> list[object]:
    """Where the runs of a section asked one task in different ways."""
    told = []
    for task in section.tasks:
        ways: dict[str, dict[str, list[str]]] = {}
        for run in section.runs:
            asked = next((t for t in run.protocol.get("tasks", ()) if t["name"] == task), {})
            for key, value in asked.items():
                if key not in _OWN:
                    ways.setdefault(key, {}).setdefault(_plain(value), []).append(run.name)
        for key, values in ways.items():
            if len(values) > 1:
                said = "; ".join(f"{value} in {', '.join(runs)}" for value, runs in values.items())
                told.append([tag("b", "Different protocols: "), quoted(task), f", {key}: ", quoted(said)])
    return told


def _run(run: Run, among: int) -> Html:
    content, backbone = run.result.content, (run.protocol.get("backbone") or {}).get("name")
    summary = [
        tag("span", f"run {run.place}") if among > 1 else "",
        tag("b", quoted(run.result.method)),
        " ",
        PARTIAL if run.partial else "",
        tag("span", "over ", quoted(backbone)) if backbone else "",
        tag("span", quoted(run.name)),
        tag("time", moment(content["created"]), datetime=content["created"]),
        tag("span", "protocol", class_="unfold"),
    ]
    facts = tag("dl", [[tag("dt", quoted(key)), tag("dd", quoted(value))] for key, value in _flat(run.protocol)])
    return tag("details", tag("summary", summary), facts, class_="protocol")


def _flat(value: Any, at: str = "") -> list[tuple[str, str]]:
    """A protocol as lines: nested keys joined by dots, tasks by their names."""
    if isinstance(value, Mapping) and value:
        return [line for key, part in value.items() for line in _flat(part, f"{at}.{key}" if at else str(key))]
    if isinstance(value, list) and value and all(isinstance(part, Mapping) and "name" in part for part in value):
        return [
            line
            for part in value
            for line in _flat({k: v for k, v in part.items() if k != "name"}, f"{at}.{part['name']}")
        ]
    return [(at, _plain(value))]


def _plain(value: Any) -> str:
    if isinstance(value, str):
        return value or "–"
    if isinstance(value, list) and len(value) > LISTED:
        return f"{json.dumps(value[:LISTED], ensure_ascii=False)[:-1]}, and {len(value) - LISTED:,} more]"
    return json.dumps(value, ensure_ascii=False)
