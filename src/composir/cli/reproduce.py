"""`composir reproduce`: every published number with its command, run and held against what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from composir.reproduction.matrix import Row
    from composir.reproduction.running import Outcome


def reproduce(
    rows: Annotated[list[str] | None, typer.Argument(help="Rows of the matrix; all of them if not given.")] = None,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Run them; exit code 1 if a score leaves its tolerance.")
    ] = False,
    record: Annotated[
        bool, typer.Option("--record", help="Run them, and write what they give as what is expected from now on.")
    ] = False,
    data: Annotated[Path, typer.Option(help="The folder of all data sets: data/cirr, data/fashioniq, …")] = Path(
        "data"
    ),
    matrix: Annotated[Path | None, typer.Option(help="Another matrix than the package's.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the outcomes as JSON, and nothing else.")] = False,
    device: Annotated[str, typer.Option(help="Where to encode: auto, cpu, cuda, cuda:1, mps.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures and queries encoded at once.")] = 64,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Decoding processes; one a core, 8 at most, if not given.")
    ] = None,
) -> None:
    """List the matrix of published numbers with their commands, or run it and check what comes out.

    A row whose pictures or backbone are not at hand is not run, and it is said why; that is no failure unless the row
    was named. Rows that the package alone can run always are.
    """
    from composir.errors import ComposirError
    from composir.reproduction.matrix import MATRIX, chosen, read_matrix, write_matrix

    if check and record:
        raise ComposirError("--check and --record are both given; check first, and record what is to hold from now on")
    path = matrix or MATRIX
    known = read_matrix(path)
    wanted = chosen(known, rows or ())
    if not check and not record:
        typer.echo(_listed(wanted, data, json))
        return
    outcomes = _run(wanted, data, not json, device=device, batch_size=batch_size, workers=workers)
    if record:
        from composir.reproduction.judging import recorded

        fresh = {o.row.name: recorded(o.row, o.content) for o in outcomes if o.content}
        write_matrix([fresh.get(row.name, row) for row in known], path)
        typer.echo(f"recorded {len(fresh)} of {len(known)} rows in {path}", err=True)
    if json:
        typer.echo(_as_json(outcomes, data))
    idle = [o for o in outcomes if rows and o.state == "not run"]
    if idle or any(o.state == "failed" or (check and o.wrong) for o in outcomes):
        raise typer.Exit(1)


def _run(wanted: Sequence[Row], data: Path, tell: bool, **sizes: object) -> list[Outcome]:
    from composir.cli.progress import counted
    from composir.reproduction.running import run

    outcomes = []
    try:
        for row in wanted:
            with counted(row.name) as progress:
                outcomes.append(run(row, data, progress=progress, **sizes))  # type: ignore[arg-type]
            if tell:
                typer.echo(_told(outcomes[-1]))
    except KeyboardInterrupt:
        typer.echo("\nStopped. Nothing was recorded.", err=True)
        raise typer.Exit(130) from None
    return outcomes


def _told(outcome: Outcome) -> str:
    """One line, and one more for each score that is out of its tolerance."""
    if outcome.state == "differs":
        return "\n".join([f"{outcome.row.name}: differs", *(f"  {why}" for why in outcome.why)])
    count = sum(len(own) for tasks in outcome.row.expected.values() for own in tasks.values())
    said = {"agrees": f"agrees in {count} scores"}.get(outcome.state, outcome.state)
    return ": ".join([outcome.row.name, said, *outcome.why])


def _listed(rows: Sequence[Row], data: Path, as_json: bool) -> str:
    from shlex import join

    if as_json:
        from dataclasses import asdict
        from json import dumps

        return dumps([{**asdict(row), "command": row.command(data)} for row in rows], indent=1, ensure_ascii=False)
    return "\n".join(
        f"{row.name}: {join(row.command(data))}{'' if row.expected else '  (no expected value recorded)'}"
        for row in rows
    )


def _as_json(outcomes: Sequence[Outcome], data: Path) -> str:
    from json import dumps

    from composir.reproduction.judging import scores_of

    told = [
        {
            "name": o.row.name,
            "command": o.row.command(data),
            "state": o.state,
            "why": list(o.why),
            "scores": scores_of(o.content) if o.content else {},
        }
        for o in outcomes
    ]
    return dumps(told, indent=1, ensure_ascii=False)
