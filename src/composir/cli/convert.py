"""`composir convert`: weights in their authors' own format into a folder that composir and transformers read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="convert", help="Convert weights from their authors' own format.", no_args_is_help=True)


@app.command()
def blip(
    source: Annotated[Path, typer.Argument(help="The original file, e.g. model_base.pth, or the same as safetensors.")],
    target: Annotated[Path, typer.Argument(help="Folder to write; new or empty.")],
    image_size: Annotated[
        int | None, typer.Option(help="Side of the input in pixels, 224 or 384; the file's own if not given.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="BERT's vocab.txt; from the Hugging Face cache or hub if not given.")
    ] = None,
) -> None:
    """Convert BLIP as its authors publish it; `composir` then takes the folder wherever it takes a backbone."""
    from composir.backbones.blip_convert import convert_blip

    done = convert_blip(source, target, image_size, vocabulary)
    for kind, count in done.dropped.items():
        typer.echo(f"left out {count} {'tensor' if count == 1 else 'tensors'}: {kind}")
    typer.echo(f"{done.kept} tensors, {done.image_size} px, in {target}")
