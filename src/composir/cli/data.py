"""`composir data`: data sets to try things on; `wardrobe` draws garments in the file layout of a benchmark."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer

LINE_SECONDS = 10.0

app = typer.Typer(name="data", help="Make data sets.", no_args_is_help=True)


@app.callback()
def _group() -> None:  # without a callback typer drops the name of a lone verb
    pass


@app.command()
def wardrobe(
    out: Annotated[Path, typer.Argument(help="The folder to make; it must not exist yet, or be empty.")],
    *,
    layout: Annotated[
        str, typer.Option("--format", help="folder (pictures to index), fashioniq, cirr, circo or lasco.")
    ] = "folder",
    size: Annotated[
        int,
        typer.Option(
            help="Garments in all: of the test split (folder), or in whole families of six over train / val / test: "
            "80 / 10 / 10 % (fashioniq, cirr), 80 / 20 / 0 (lasco), 0 / 50 / 50 (circo, one gallery)."
        ),
    ] = 2000,
    seed: Annotated[int, typer.Option(help="Draws another catalogue; equal seeds give equal files.")] = 0,
    image_size: Annotated[int, typer.Option(help="Side of the pictures in pixels, 64 to 512.")] = 256,
    style: Annotated[str, typer.Option(help="photo, or synthetic: as a picture generator might give them.")] = "photo",
) -> None:
    """Draw garments with captions and composed queries, plain or in the file layout of a benchmark.

    What a benchmark hides, and the attributes of all pictures, lies apart: OUT/truth, or for folder OUT/.wardrobe.
    """
    from composir.datasets.wardrobe.writers import write

    try:
        with _shown() as progress:
            written = write(
                out, layout, size=size, seed=seed, image_size=image_size, style=style, progress=progress
            )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("\nStopped. Nothing was kept.", err=True)
        raise typer.Exit(130) from None
    counts = ", ".join(f"{count:,} {split}" for split, count in written.pictures.items())
    typer.echo(f"{sum(written.pictures.values()):,} pictures ({counts}) in {out}")
    for path, count in written.records.items():
        if not (written.path / path).is_relative_to(written.about):
            typer.echo(f"{count:>8,}  {path}")
    typer.echo(
        f"attributes, captions and {'queries' if layout == 'folder' else 'hidden truth'}: {out / written.about.name}"
    )


@contextlib.contextmanager
def _shown() -> Iterator[Callable[[int, int], None]]:
    """Give the function to be told of progress: a bar where somebody looks, a line now and then where nobody does."""
    if not sys.stderr.isatty():
        yield _lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("drawing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(compact=True))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines() -> Callable[[int, int], None]:
    last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            typer.echo(f"{done}/{total} pictures", err=True)

    return show
