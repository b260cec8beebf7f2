"""`composir compare`: two results, query by query."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from composir.evaluation.comparison import Comparison


def compare(
    a: Annotated[str, typer.Argument(metavar="A[:METHOD]", help="A folder written by `composir eval`.")],
    b: Annotated[str, typer.Argument(metavar="B[:METHOD]", help="Another, or the same for two of its methods.")],
    *,
    metric: Annotated[
        list[str] | None, typer.Option(help="e.g. R@10, or an average; may be given again. All if not given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the differences as JSON.")] = False,
) -> None:
    """Say whether A is better than B by more than chance, for each metric and average over the same queries.

    RUN:slerp names one of a folder's methods; without, it is the one that was evaluated. Results that do not measure
    the same thing are refused.
    """
    from composir.evaluation.comparison import compare as compared
    from composir.evaluation.results import load_result

    sides = [_side(named) for named in (a, b)]
    results = [load_result(folder) for folder, _ in sides]
    methods = [method or result.method for (_, method), result in zip(sides, results, strict=True)]
    found = compared(*results, method_a=methods[0], method_b=methods[1], metrics=metric or ())
    folders = [folder.resolve().name for folder, _ in sides]
    named = methods if methods[0] != methods[1] else folders if folders[0] != folders[1] else ["A", "B"]
    if json:
        from json import dumps

        told = [{"folder": str(folder), "method": own} for (folder, _), own in zip(sides, methods, strict=True)]
        typer.echo(dumps({"a": told[0], "b": told[1], **found.as_json(*named)}, indent=1, ensure_ascii=False))
    else:
        typer.echo(_as_text(found, *named))


def _side(named: str) -> tuple[Path, str | None]:
    """Folder and method; a folder may have a colon in its name, as drives have."""
    folder, colon, method = named.rpartition(":")
    if not colon or Path(named).is_dir() or not Path(folder).expanduser().is_dir():
        return Path(named).expanduser(), None
    return Path(folder).expanduser(), method


def _as_text(found: Comparison, a: str, b: str) -> str:
    """A table of all differences, then each in words."""
    head = ["task", "metric", a, b, "difference", "95 % interval", "p boot.", "p rand.", "wins/losses/ties"]
    rows = [head]
    for d in found.differences:
        test, stamp = d.test, " (partial)" if found.partial else ""
        interval = f"{test.low:+.2f} .. {test.high:+.2f}"
        counts = f"{test.wins}/{test.losses}/{test.ties}"
        chances = [f"{test.p_bootstrap:.2g}", f"{test.p_randomization:.2g}"]
        numbers = [f"{d.a:.2f}", f"{d.b:.2f}", f"{test.difference:+.2f}"]
        rows.append([d.task, d.metric + stamp, *numbers, interval, *chances, counts])
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = [
        "  ".join(text.ljust(width) if column < 2 else text.rjust(width) for column, (text, width) in enumerate(pairs))
        for pairs in (list(zip(row, widths, strict=True)) for row in rows)
    ]
    told = [d.told(a, b) for d in found.differences]
    return "\n".join([*(line.rstrip() for line in lines), "", *told, *(f"note: {note}" for note in found.notes)])
