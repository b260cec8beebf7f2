"""`composir train`: a run file in, a folder of results out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composir.cli import progress

if TYPE_CHECKING:
    from composir.training import Progress


def train(
    config: Annotated[Path, typer.Argument(help="The run file (TOML); the published ones lie in configs/.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.key=value, e.g. train.lr=5e-4; or init=runs/FIRST")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the results; runs/<name of the run file> if not given.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an unfinished run in that folder, if there is one.")
    ] = False,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out, and count, training pictures that cannot be read.")
    ] = False,
) -> None:
    """Train a method as a run file says; under torchrun on several devices."""
    from composir.config import load_config

    # Before torch is imported: a typing error costs no waiting.
    checked = load_config(config, [*(overrides or ()), *(["train.skip_bad=true"] if skip_bad else ())])
    from composir.training import run

    folder = out or Path("runs") / config.stem
    with _watched() as watch:
        report = run(checked, folder, say=typer.echo, resume=resume, watch=watch)
    if report["best"]:  # only the first of several processes knows
        typer.echo(f"best: {report['best']['val']} after {report['seconds']:.0f} s; weights in {folder}")


@contextlib.contextmanager
def _watched() -> Iterator[Callable[[Progress], None]]:
    """Show each stage of a run by a meter of its own."""
    with contextlib.ExitStack() as open_now:
        shown: dict[str, Callable[[int, int, str], None]] = {}

        def watch(now: Progress) -> None:
            if now.stage not in shown:
                open_now.close()
                shown.clear()
                shown[now.stage] = open_now.enter_context(progress._meter(now.stage))
            shown[now.stage](now.done, now.total, now.told)

        yield watch
