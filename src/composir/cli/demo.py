"""`composir demo`: from nothing to three composed queries answered, on drawn garments."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

QUERIES = 3
TOP = 8


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures, the gallery and the contact sheet.")] = Path("demo"),
    size: Annotated[int, typer.Option(min=24, help="Garments to draw.")] = 2000,
) -> None:
    """Draw a catalogue, index it, answer three composed queries, and show how to go on."""
    import time

    start = time.perf_counter()
    pictures, gallery_path = out / "pictures", out / "gallery"
    _draw(pictures, size)
    _index(pictures, gallery_path)
    sheet = _answer(pictures, gallery_path, out / "answers.png")
    typer.echo(f"\nDone in {time.perf_counter() - start:.0f} s. Look at {sheet}: each row is a query and its {TOP} best answers.")
