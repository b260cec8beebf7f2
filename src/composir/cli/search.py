"""`composir search`: a picture, words, or both, against a gallery."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from PIL import Image

    from composir.engine import Engine
    from composir.methods.base import Method
    from composir.types import Hit

# As PostgreSQL's COPY writes them: a file's name may hold what ends a field or a line.
ESCAPED = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def search(
    *,
    gallery: Annotated[str, typer.Option(help="The gallery's path or URI, as built by `composir index`.")],
    image: Annotated[str | None, typer.Option(help="The reference: a file, or the id of a gallery picture.")] = None,
    text: Annotated[str, typer.Option(help="What should differ; alone, what to look for.")] = "",
    k: Annotated[int, typer.Option("-k", "--top", min=1, help="How many answers.")] = 10,
    alpha: Annotated[
        float | None, typer.Option(help="0 is the picture alone, 1 the words alone; for methods that take it.")
    ] = None,
    where: Annotated[
        str, typer.Option(help="Filter over the metadata, as in SQL: \"price < 50 AND brand = 'x'\".")
    ] = "",
    method: Annotated[str | None, typer.Option(help="Another method, run or checkpoint that fits the gallery.")] = None,
    reverse: Annotated[
        bool, typer.Option("--reverse", help="IMAGE is the target: find what, changed as TEXT says, leads to it.")
    ] = False,
    keep_reference: Annotated[
        bool, typer.Option("--keep-reference", help="Rank the given picture itself too, if it is in the gallery.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print a list of {rank, id, path, score}, in reverse with reverse: true.")
    ] = False,
    sheet: Annotated[Path | None, typer.Option(help="Also draw the answers into this picture (PNG or JPEG).")] = None,
) -> None:
    """Find the pictures that fit a reference picture changed as words say.

    A picture without words finds similar ones, words without a picture find what they describe.
    """
    from composir.errors import ComposirError
    from composir.gallery.store import Gallery
    from composir.opening import find_method

    opened = Gallery.open(gallery)
    if method:
        find_method(method)  # a name that nothing bears is told before anything heavy is loaded
    if sheet and sheet.suffix.lower() not in {".png", ".jpg", ".jpeg"}:
        raise ComposirError(f"a contact sheet is a .png or .jpg file, not {sheet.name!r}")
    from composir.engine import Engine

    engine = Engine.open(opened, method)
    if reverse and image and text:
        from composir.cli.progress import counted

        with counted("reading references") as progress:
            engine.prepare_reverse(progress)
    _tell_unread(engine.method, text)
    hits = engine.search(image, text, k, keep_reference=keep_reference, reverse=reverse, where=where, alpha=alpha)
    if sheet:
        _draw(engine, image, f"reverse: {text}" if reverse else text, hits, sheet)
    if json:
        from dataclasses import asdict
        from json import dumps

        told = {"reverse": True} if reverse else {}
        typer.echo(dumps([{**asdict(hit), **told} for hit in hits], indent=1))
    else:
        _print(hits, "reference" if reverse else "path")
    if not hits:
        fitting = " that the filter lets pass" if where else ""
        typer.echo(f"no answers: the gallery holds no picture{fitting}, other than the reference itself", err=True)


def _tell_unread(method: Method, text: str) -> None:
    """Say on standard error what of a text is cut."""
    if rest := method.unread(text):
        name = method.backbone.source.name
        typer.echo(f"the text is too long for backbone {name}, which does not read its end: {rest!r}", err=True)


def _print(hits: list[Hit], what: str) -> None:
    """A table for people, tab-separated lines for programs: a line a hit, whatever stands in its path."""
    if not sys.stdout.isatty():
        for hit in hits:
            typer.echo(f"{hit.rank}\t{hit.score:.4f}\t{hit.path.translate(ESCAPED)}\t{hit.id}")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("rank", "score", what, "id")
    for hit in hits:
        table.add_row(str(hit.rank), f"{hit.score:.4f}", Text(hit.path), Text(hit.id, style="dim"))
    Console().print(table)


def _draw(engine: Engine, image: str | None, text: str, hits: list[Hit], out: Path) -> None:
    from composir.contact_sheet import SheetRow, contact_sheet

    root = Path(engine.gallery.manifest.root)
    row = engine.shelf.rows.get(image or "")
    reference = (
        None if image is None else Path(image).expanduser() if row is None else root / engine.shelf.paths[row][0]
    )
    answers = [(_picture(root / hit.path), f"{hit.rank}   {hit.score:.3f}\n{Path(hit.path).name}") for hit in hits]
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet([SheetRow(_picture(reference), text, answers)]).save(out)
    typer.echo(f"drew {out}", err=True)


def _picture(path: Path | None) -> Image.Image | None:
    """The picture as it is shown; None where it is gone or broken since it was indexed."""
    from composir.contact_sheet import CELL
    from composir.images import ImageError, load_image

    try:
        return None if path is None else load_image(path, min_side=CELL)
    except ImageError:
        return None
