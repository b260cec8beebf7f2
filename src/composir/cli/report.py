"""`composir report`: evaluations as one HTML file that needs nothing beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RESULT = "result.json"


def report(
    runs: Annotated[list[Path], typer.Argument(help="Folders that `composir eval` has written, or a folder of such.")],
    *,
    out: Annotated[Path, typer.Option("-o", "--out", help="The file to write; an older one is replaced.")] = Path(
        "report.html"
    ),
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Put small pictures of the shown queries into the file.")
    ] = True,
    worst: Annotated[int, typer.Option(min=0, help="How many of the worst queries to show.")] = 20,
    best: Annotated[int, typer.Option(min=0, help="How many of the best queries to show.")] = 20,
    page: Annotated[
        str,
        typer.Option(metavar="URL", help="A search page, e.g. http://127.0.0.1:8000: each query shown links to it."),
    ] = "",
) -> None:
    """Compare runs on one page: leaderboard with intervals and tests, recall curves, best and worst queries.

    Runs over the same data stand in one table; the queries shown are those of the first run's method.
    """
    from composir.errors import ComposirError

    if out.is_dir():
        raise ComposirError(f"{out} is a folder; name a file, e.g. -o {out / 'report.html'}")
    from composir.reporting import write_report

    runs = _expanded(runs)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_report(runs, out, images=images, worst=worst, best=best, search=page)
    needs = f"its links lead to {page}" if page else "it needs no network"
    typer.echo(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB); open it in any browser, {needs}")


def _expanded(runs: list[Path]) -> list[Path]:
    """Each run as given; of a folder that is none, those in it."""
    found: list[Path] = []
    for folder in runs:
        inside = [] if (folder / RESULT).is_file() else sorted(file.parent for file in folder.glob(f"*/{RESULT}"))
        found += inside or [folder]
    return found
