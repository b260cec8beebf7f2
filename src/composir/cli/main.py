"""The `composir` command: verbs are functions that import what is heavy only when they run."""

from __future__ import annotations

import errno
import sys
from typing import Annotated

import typer

from composir.cli.bench import app as bench
from composir.cli.compare import compare
from composir.cli.convert import app as convert
from composir.cli.data import app as data
from composir.cli.demo import demo
from composir.cli.eval import evaluate
from composir.cli.gallery import app as gallery
from composir.cli.index import index
from composir.cli.report import report
from composir.cli.reproduce import reproduce
from composir.cli.score import score
from composir.cli.search import search
from composir.cli.serve import CONTEXT, serve
from composir.cli.submit import submit
from composir.cli.train import train
from composir.errors import ComposirError

app = typer.Typer(
    name="composir",
    help="Composed image retrieval: this picture, but changed as these words say.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(index)
app.command()(search)
app.command()(train)
app.command(name="eval")(evaluate)
app.command()(compare)
app.command()(score)
app.command()(submit)
app.command()(report)
app.command()(reproduce)
app.command(context_settings=CONTEXT)(serve)
app.command()(demo)
app.add_typer(gallery)
app.add_typer(bench)
app.add_typer(convert)
app.add_typer(data)


def _print_version(wanted: bool) -> bool:
    if wanted:
        import composir

        typer.echo(f"composir {composir.__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


def run() -> None:
    """Entry point: a problem that the user can mend is one red line on standard error and exit code 1."""
    try:
        app()
    except ComposirError as error:
        typer.secho(f"error: {' '.join(str(error).split())}", fg=typer.colors.RED, err=True)
        sys.exit(1)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # Pillow, for one, writes without saying where
        if (error.filename is None and not full) or isinstance(error, BrokenPipeError):
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        remedy = "check the path, its access rights and the room on the disk"
        typer.secho(f"error: {where}{error.strerror}; {remedy}", fg=typer.colors.RED, err=True)
        sys.exit(1)
