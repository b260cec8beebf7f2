"""`composir submit`: rankings of a hidden test split in the form that the benchmark's server takes, and their check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from composir.submission.truth import Truth

LISTED = 20  # problems of a file named on the screen
SERVERS = {"cirr": "https://cirr.junjie.au or http://cirr.cecs.anu.edu.au", "circo": "https://circo.micc.unifi.it"}


def submit(
    what: Annotated[
        list[str],
        typer.Argument(
            metavar="METHOD|FILE", help="A method as `composir eval` takes it; with --check, files to be checked."
        ),
    ],
    *,
    data: Annotated[str, typer.Option(help="cirr or circo.")],
    root: Annotated[Path, typer.Option(help="Its folder; a check needs the annotations alone.")],
    split: Annotated[str, typer.Option(help="Which part is asked.")] = "test",
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Folder for the files.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Check files instead of making them.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that OUT already holds.")] = False,
    backbone: Annotated[
        str | None, typer.Option(help="Name, folder or org/repo@revision; wardrobe-clip if not given.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="0 is the picture alone, 1 the words alone; for methods that take it.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="key=value, an option of the data set; may be given again.")
    ] = None,
    device: Annotated[str, typer.Option(help="Where to encode: auto, cpu, cuda, cuda:1, mps.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures and queries encoded at once.")] = 64,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Decoding processes; one a core, 8 at most, if not given.")
    ] = None,
) -> None:
    """Rank a benchmark's hidden test split and write the files for its server, or check files before they are sent.

    The files are checked before they get their names; a file that is there has passed.
    """
    from composir.cli.eval import parsed
    from composir.cli.score import open_truth
    from composir.errors import ComposirError
    from composir.submission.files import require_free

    truth = open_truth(data, root, split, parsed(option or []))
    if check:
        _check([Path(name) for name in what], truth)
        return
    if len(what) != 1:
        raise ComposirError(f"{len(what)} methods are named; name one, or say --check to check files")
    if out is None:
        raise ComposirError("the folder for the files is not named; say -o FOLDER")
    require_free(out, truth, overwrite)
    controls = {} if alpha is None else {"alpha": alpha}
    try:
        paths = _make(
            what[0], backbone, truth, out,
            device=device, overwrite=overwrite, batch_size=batch_size, workers=workers, controls=controls,
        )  # fmt: skip
    except KeyboardInterrupt:
        typer.echo("\nStopped. Nothing was kept.", err=True)
        raise typer.Exit(130) from None
    for path in paths:
        typer.echo(f"{path}: {path.stat().st_size:,} bytes, checked")
    if any(task.hidden for task in truth.tasks):
        typer.echo(f"send to {SERVERS[truth.dataset.name]}", err=True)


def _make(
    method: str,
    backbone: str | None,
    truth: Truth,
    out: Path,
    *,
    device: str,
    overwrite: bool,
    batch_size: int,
    workers: int | None,
    controls: dict[str, float],
) -> list[Path]:
    """Rank and write."""
    from composir.cli.progress import counted
    from composir.evaluation.opening import find_method, load_wanted

    wanted = find_method(method, backbone)
    from composir.loading import prepare
    from composir.submission.files import save
    from composir.submission.rank import predict

    if workers != 0:
        prepare()  # while the encoder is being loaded
    built = load_wanted(wanted, truth.dataset.name, device)
    with counted("encoding") as progress:
        made = predict(built, truth, batch_size=batch_size, workers=workers, progress=progress, **controls)
    return save(made, out, truth, overwrite)


def _check(files: list[Path], truth: Truth) -> None:
    """Tell of each file what is wrong with it; exit code 1 if anything is."""
    from composir.errors import DataError
    from composir.submission.files import check
    from composir.submission.truth import gallery_of

    failed = 0
    for file in files:
        try:
            found = [f"{file}: {problem}" for problem in check(file, truth)]
        except DataError as error:  # which names the file
            found = [str(error)]
        for problem in found[:LISTED]:
            typer.secho(f"error: {problem}", fg=typer.colors.RED, err=True)
        if len(found) > LISTED:
            typer.secho(f"error: {file}: and {len(found) - LISTED:,} more", fg=typer.colors.RED, err=True)
        if not found:
            typer.echo(f"{file}: good for {truth.dataset.name} {truth.split}")
        failed += bool(found)
    if gallery_of(truth.tasks[0]) is None:
        typer.echo("image ids were not checked: image_info_unlabeled2017.json, their list, is not there", err=True)
    if failed:
        raise typer.Exit(1)
