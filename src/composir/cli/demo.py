"""`composir demo`: from nothing to three composed queries answered, on drawn garments."""

from __future__ import annotations

import json
import time
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from PIL import Image

    from composir.engine import Engine
    from composir.types import Hit

QUERIES, TOP = 3, 8
USUAL = Path("demo")  # the one that `make serve` serves


def demo(
    *,
    out: Annotated[Path, typer.Option(help="Folder for pictures, gallery and contact sheet.")] = USUAL,
    size: Annotated[int, typer.Option(min=30, help="Garments to draw.")] = 2000,
) -> None:
    """Draw a catalogue, index it, answer three composed queries, and say how to go on.

    Nothing is done twice: a second run finds the pictures and the gallery and only answers.
    """
    from composir.errors import ComposirError

    start = time.perf_counter()
    pictures, gallery = out / "pictures", out / "gallery"
    if not pictures.exists():
        _draw(pictures, size)
    asked = _queries(pictures)
    if len(asked) < QUERIES:
        raise ComposirError(f"{pictures} is there and holds no catalogue of {size} garments; give another --out")
    if (drawn := _drawn(pictures)) != size:
        told = f"{pictures} holds a catalogue of {drawn} garments, not of {size}"
        raise ComposirError(f"{told}; say --size {drawn}, or give another --out")
    engine = _engine(pictures, gallery)
    answers = [(query, _answer(engine, pictures, query)) for query in asked]
    for query, hits in answers:
        _print(query, hits)
    sheet = out / "answers.png"
    _sheet(pictures, answers).save(sheet)
    typer.echo(
        f"Done in {time.perf_counter() - start:.0f} s. {sheet} shows the same: each row a query, then its answers."
    )
    _next_steps(pictures, gallery, asked[0])


def _draw(pictures: Path, size: int) -> None:
    from composir.cli.progress import counted
    from composir.datasets.wardrobe.writers import write

    typer.echo(f"Drawing {size:,} garments into {pictures} …")
    with counted("drawing") as progress:
        write(pictures, "folder", size=size, image_size=128, progress=progress)


def _queries(pictures: Path) -> list[dict]:
    """Three of the catalogue's own queries, far apart, each with a text that says two things."""
    file = pictures / ".wardrobe" / "queries.jsonl"
    if not file.is_file():
        return []
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    families = [row for row in rows if row["task"] == "families" and " and " in row["text"]]
    return families[:: max(1, len(families) // QUERIES)][:QUERIES]


def _drawn(pictures: Path) -> int:
    """How many garments an earlier run drew here."""
    return json.loads((pictures / ".wardrobe" / "wardrobe.json").read_text(encoding="utf-8"))["size"]


def _engine(pictures: Path, path: Path) -> Engine:
    from composir.backbones import load_backbone
    from composir.cli.progress import shown
    from composir.engine import Engine
    from composir.errors import GalleryError
    from composir.gallery.store import Gallery, is_gallery
    from composir.indexing import create_gallery, index_folder
    from composir.methods import load_method

    typer.echo("Indexing …")
    method = load_method("slerp", load_backbone("wardrobe-clip"), alpha="wardrobe")
    gallery = Gallery.open(path) if is_gallery(path) else create_gallery(path, method, pictures)
    if gallery.manifest.key != method.gallery_key():  # the embedded weights change with releases
        told = f"{path} was built with another backbone, or with other weights of {method.backbone.source.name}"
        raise GalleryError(f"{told}; remove it (rm -r {quote(str(path))}) to have it built anew, or give another --out")
    with shown() as progress:
        report = index_folder(gallery, method, pictures, batch_size=128, progress=progress)
    typer.echo(f"{report.images:,} pictures in the gallery; {report.encoded:,} encoded in {report.seconds:.1f} s.\n")
    return Engine(method, gallery)


def _answer(engine: Engine, pictures: Path, query: dict) -> list[Hit]:
    return engine.search(pictures / query["reference"], query["text"], TOP)


def _print(query: dict, hits: list[Hit]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    title = Text.assemble("this picture, but ", (f"it {query['text']}", "bold"), style="not italic")
    caption = f"reference {query['reference']}; ✓ marks the one right answer"
    table = Table("rank", "score", "picture", "", title=title, caption=caption, title_justify="left", min_width=60)
    for hit in hits:
        table.add_row(str(hit.rank), f"{hit.score:.4f}", hit.path, "✓" if hit.path in query["targets"] else "")
    Console().print(table)
    typer.echo()


def _sheet(pictures: Path, answers: list[tuple[dict, list[Hit]]]) -> Image.Image:
    from composir.contact_sheet import SheetRow, contact_sheet
    from composir.images import load_image

    rows = []
    for query, hits in answers:
        found = [
            (
                load_image(pictures / hit.path),
                f"{hit.rank}   {hit.score:.3f}" + ("   right" if hit.path in query["targets"] else ""),
            )
            for hit in hits
        ]
        rows.append(SheetRow(load_image(pictures / query["reference"]), query["text"], found))
    return contact_sheet(rows)


def _next_steps(pictures: Path, gallery: Path, query: dict) -> None:
    from composir.methods.slerp import ALPHA

    where = quote(str(gallery))
    ask = f"--image {quote(str(pictures / query['reference']))} --text 'is red' --alpha {ALPHA['wardrobe']:g}"
    serve = f".venv/bin/composir serve --gallery {where}"
    if gallery.parent == USUAL:
        page = f"make serve      # or: {serve}, with the serve extra: a page to search with"
    else:
        page = f"{serve}      # with the serve extra: a page to search with"
    typer.echo(
        f"\nGo on with\n  {page}\n"
        f"  .venv/bin/composir search --gallery {where} {ask}\n"
        "  .venv/bin/composir index YOUR_PICTURES --gallery my.gallery --backbone clip-vit-b-32\n"
        "  .venv/bin/composir search --gallery my.gallery --image PICTURE --text 'is blue' --sheet answers.png\n"
        "The backbone used here has seen drawings only; for photographs name one that has seen some."
    )
