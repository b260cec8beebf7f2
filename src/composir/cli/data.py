"""`composir data`: `wardrobe` draws garments in the file layout of a benchmark; `check` finds what a set lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from composir.cli.data_check import check

app = typer.Typer(name="data", help="Make data sets, and check those that there are.", no_args_is_help=True)
app.command()(check)


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
    from composir.cli.progress import counted
    from composir.datasets.wardrobe.writers import write

    try:
        with counted("drawing") as progress:
            options = {"size": size, "seed": seed, "image_size": image_size}
            written = write(out, layout, **options, style=style, progress=progress)
    except KeyboardInterrupt:
        typer.echo("\nStopped. Nothing was kept.", err=True)
        raise typer.Exit(130) from None
    counts = ", ".join(f"{count:,} {split}" for split, count in written.pictures.items())
    typer.echo(f"{sum(written.pictures.values()):,} pictures ({counts}) in {out}")
    for path, count in written.records.items():
        if not (written.path / path).is_relative_to(written.about):
            typer.echo(f"{count:>8,}  {path}")
    also = "queries" if layout == "folder" else "hidden truth"
    typer.echo(f"attributes, captions and {also}: {out / written.about.name}")
