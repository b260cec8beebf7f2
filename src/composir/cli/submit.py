"""`composir submit`: rankings of a hidden test split in the form that the benchmark's server takes, and their check."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from composir.opening import Wanted
    from composir.submission.check import Problem
    from composir.submission.formats import Prediction
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
    data: Annotated[str | None, typer.Option(help="cirr or circo; a check tells it by the file.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Its folder; a check needs the annotations alone, or checks the form alone.")
    ] = None,
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
    from composir.opening import find_method

    if check and root is None:
        _check_alone([Path(name) for name in what], data)
        return
    if data is None or root is None:
        raise ComposirError("the benchmark is not named; say --data cirr or circo, and --root FOLDER")
    truth = open_truth(data, root, split, parsed(option or []))
    if check:
        _check([Path(name) for name in what], truth)
        return
    if len(what) != 1:
        raise ComposirError(f"{len(what)} methods are named; name one, or say --check to check files")
    if out is None:
        raise ComposirError("the folder for the files is not named; say -o FOLDER")
    wanted = find_method(what[0], backbone)
    controls = {} if alpha is None else {"alpha": alpha}
    make = _maker(wanted, truth, device, batch_size=batch_size, workers=workers, **controls)
    _send(make, out, truth, overwrite)


def _maker(
    wanted: Wanted, truth: Truth, device: str, workers: int | None, **options: Any
) -> Callable[[], list[Prediction]]:
    """What ranks a split by a method."""

    def make() -> list[Prediction]:
        from composir.cli.progress import counted
        from composir.loading import prepare
        from composir.opening import load_wanted
        from composir.submission.rank import predict

        if workers != 0:
            prepare()  # while the encoder is being loaded
        method = load_wanted(wanted, truth.dataset.name, device)
        with counted("encoding") as progress:
            return predict(method, truth, workers=workers, progress=progress, **options)

    return make


def _send(make: Callable[[], list[Prediction]], out: Path, truth: Truth, overwrite: bool) -> None:
    """Write what `make` gives, and say where it goes."""
    from composir.submission.files import require_free, save

    require_free(out, truth, overwrite)
    try:
        paths = save(make(), out, truth, overwrite)
    except KeyboardInterrupt:
        typer.echo("\nStopped. Nothing was kept.", err=True)
        raise typer.Exit(130) from None
    for path in paths:
        typer.echo(f"{path}: {path.stat().st_size:,} bytes, checked")
    if any(task.hidden for task in truth.tasks):
        typer.echo(f"send to {SERVERS[truth.dataset.name]}", err=True)


def _check(files: list[Path], truth: Truth) -> None:
    from composir.submission.files import check
    from composir.submission.truth import gallery_of

    failed = _told(files, lambda file: check(file, truth), f"good for {truth.dataset.name} {truth.split}")
    if gallery_of(truth.tasks[0]) is None:
        typer.echo("image ids were not checked: image_info_unlabeled2017.json, their list, is not there", err=True)
    if failed:
        raise typer.Exit(1)


FORM_ONLY = "its form is good; queries, references and images were NOT checked: for that give --data and --root"


def _check_alone(files: list[Path], data: str | None) -> None:
    from composir.submission.files import check_alone

    failed = _told(files, lambda file: check_alone(file, data), FORM_ONLY)
    if failed:
        raise typer.Exit(1)


def _told(files: list[Path], check: Callable[[Path], list[Problem]], good: str) -> int:
    """Tell of each file what is wrong with it; how many are bad."""
    from composir.errors import DataError

    failed = 0
    for file in files:
        try:
            found = [f"{file}: {problem}" for problem in check(file)]
        except DataError as error:  # which names the file
            found = [str(error)]
        for problem in found[:LISTED]:
            typer.secho(f"error: {problem}", fg=typer.colors.RED, err=True)
        if len(found) > LISTED:
            typer.secho(f"error: {file}: and {len(found) - LISTED:,} more", fg=typer.colors.RED, err=True)
        if not found:
            typer.echo(f"{file}: {good}")
        failed += bool(found)
    return failed
