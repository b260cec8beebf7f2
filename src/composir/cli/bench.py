"""`composir bench`: how fast search is on this machine, beside what one would use instead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from composir.benching import Report

app = typer.Typer(name="bench", help="Measure this machine.", no_args_is_help=True)


@app.command()
def search(
    *,
    n: Annotated[int, typer.Option(min=1, help="Vectors.")] = 1_000_000,
    dim: Annotated[int, typer.Option(min=1, help="Their width.")] = 256,
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="Answers asked for.")] = 50,
    queries: Annotated[int, typer.Option(min=1, help="Queries, each asked alone.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of vectors and queries.")] = 0,
    system: Annotated[
        list[str] | None, typer.Option(help="One to measure; several times for several. All, if not given.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Time exact and approximate search beside numpy, torch, faiss and LanceDB: one query at a time, in one run.

    The vectors are a seeded mixture of clusters. Ratios are against the first system, numpy if not said otherwise.
    """
    from composir.benching import measure

    report = measure(
        n, dim, k, count=queries, seed=seed, systems=system or (), tell=lambda what: typer.echo(what, err=True)
    )
    if json:
        from dataclasses import asdict
        from json import dumps

        typer.echo(dumps(asdict(report), indent=2))
    else:
        _print(report)


@app.command()
def serve(
    url: Annotated[str, typer.Argument(help="A running server.")] = "http://127.0.0.1:8000",
    *,
    clients: Annotated[int, typer.Option(min=1, help="Clients at once.")] = 64,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long.")] = 60.0,
    key: Annotated[str, typer.Option(envvar="COMPOSIR_API_KEY", help="An API key of the server.")] = "",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Let many clients search a running server at once; exit code 1 if a request failed (429 is no failure)."""
    from composir.benching.load import load

    seen = load(url, clients=clients, seconds=seconds, key=key)
    if json:
        from dataclasses import asdict
        from json import dumps

        typer.echo(dumps(asdict(seen), indent=2))
    else:
        counts = ", ".join(f"{count:,} x {status or 'broken'}" for status, count in seen.statuses.items())
        typer.echo(
            f"{seen.clients} clients, {seen.seconds:g} s: {counts}\n{seen.rate:.1f} answers a second, "
            f"p50 {seen.p50:.0f} ms, p99 {seen.p99:.0f} ms, {seen.batch:.1f} requests a batch"
        )
    if any(status not in (200, 429) for status in seen.statuses):
        raise typer.Exit(1)


def _print(report: Report) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{report.n:,} x {report.dim}, top {report.k}, {report.queries} queries one by one")
    for name in ("system", "p50 ms", "p99 ms", f"/ {report.baseline}", "recall@10", "recall@50", "build s", "MB", ""):
        table.add_column(name, justify="left" if name in ("system", "") else "right")
    for row in report.rows:
        recall = [f"{row.recall[cut]:.4f}" if cut in row.recall else "" for cut in ("recall@10", "recall@50")]
        grown = "" if row.megabytes is None else f"{row.megabytes:,.0f}"
        shown = (f"{row.p50:.2f}", f"{row.p99:.2f}", f"{row.ratio:.2f}", *recall, f"{row.seconds_to_build:.1f}", grown)
        table.add_row(row.name, *shown, row.note)
    console = Console(width=max(120, Console().width))
    console.print(table)
    console.print(
        f"a filter that 1 % pass: {report.filter_ms:.2f} ms to evaluate, {report.filtered_ms:.2f} ms to search what it "
        f"leaves, recall {report.filtered_recall:.4f}"
    )
