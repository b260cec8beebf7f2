"""`composir train`: a run file in, a folder of results out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    config: Annotated[Path, typer.Argument(help="The run file (TOML); the published ones lie in configs/.")],
    overrides: Annotated[list[str] | None, typer.Argument(help="section.key=value, e.g. train.lr=5e-4")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; runs/<name of the run file> if not given.")
    ] = None,
) -> None:
    """Train a method as a run file says."""
    from composir.config import load_config

    checked = load_config(config, overrides or ())  # before torch is imported: a typing error costs no waiting
    from composir.training import run

    folder = out or Path("runs") / config.stem
    report = run(checked, folder, say=typer.echo)
    typer.echo(f"best: {report['best']['val']} after {report['seconds']:.0f} s; weights in {folder / 'backbone'}")
