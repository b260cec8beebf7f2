"""`composir eval`: a method over a benchmark, beside the baselines, with its protocol."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from composir.datasets.base import Dataset
    from composir.evaluation.results import Result
    from composir.opening import Wanted


def evaluate(
    method: Annotated[
        str, typer.Argument(help="A method, package.module:Class, a run made by `composir train`, or a checkpoint.")
    ],
    *,
    data: Annotated[str, typer.Option(help="The data set, e.g. cirr, circo, fashioniq, wardrobe.")],
    root: Annotated[Path | None, typer.Option(help="Its folder; wardrobe has none.")] = None,
    split: Annotated[
        str | None, typer.Option(help="Which part is asked; val, or test where a set has no val, if not given.")
    ] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Name, folder or org/repo@revision; wardrobe-clip if not given.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="0 is the picture alone, 1 the words alone; for methods that take it.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="key=value, an option of the data set; may be given again.")
    ] = None,
    partial: Annotated[
        bool, typer.Option("--partial", help="Evaluate without missing pictures, and say so at every number.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the content of result.json, and nothing else.")] = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder; runs/eval-<data>-<split>-<method> if not given.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a result that OUT already holds.")] = False,
    device: Annotated[str, typer.Option(help="Where to encode: auto, cpu, cuda, cuda:1, mps.")] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures and queries encoded at once.")] = 64,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Decoding processes; one a core, 8 at most, if not given.")
    ] = None,
    memory: Annotated[
        int, typer.Option(min=1, help="MiB that ranking may take beside the embeddings; numbers do not depend on it.")
    ] = 256,
) -> None:
    """Measure a method on a benchmark, by its protocol, with image-only, text-only, sum and slerp beside it.

    Every query's rank is kept in OUT, so that `composir compare` can test a difference.
    """
    from composir.evaluation.opening import open_dataset
    from composir.evaluation.results import free_folder, require_free
    from composir.opening import find_method

    options = parsed(option or [])
    controls = {} if alpha is None else {"alpha": alpha}
    dataset = open_dataset(data, root, options)
    wanted, split = find_method(method, backbone), dataset.split_called(split or dataset.asked)
    if out is not None:
        require_free(out, overwrite)
    sizes = {"batch_size": batch_size, "workers": workers, "memory": memory * 2**20}
    try:
        result = _measured(wanted, dataset, split, device, partial=partial, options=options, **sizes, **controls)
    except KeyboardInterrupt:
        typer.echo("\nStopped. Nothing was kept.", err=True)
        raise typer.Exit(130) from None
    folder = out or free_folder(Path("runs") / f"eval-{dataset.title}-{split}-{wanted.label}")
    result.save(folder, overwrite)
    _print(result, folder, json)


def _measured(wanted: Wanted, dataset: Dataset, split: str, device: str, **options: Any) -> Result:
    from composir.cli.progress import counted
    from composir.evaluation import bench
    from composir.loading import prepare
    from composir.opening import load_wanted

    # What the annotations refuse is refused before a backbone is loaded.
    bench.tasks_of(dataset, split, partial=options["partial"])
    if options["workers"] != 0:
        prepare()  # while the encoder is being loaded
    method = load_wanted(wanted, dataset.name, device)
    with counted("encoding") as progress:
        return bench.evaluate(method, dataset, split, label=wanted.label, progress=progress, **options)


def parsed(options: list[str]) -> dict[str, Any]:
    """Options given as "key=value", the value in TOML's spelling; bare words are taken as text.

    Raises:
        ComposirError: No "=".
    """
    import tomllib

    from composir.errors import ComposirError

    found = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ComposirError(f"--option {option!r} has no value; write key=value, e.g. --option join=reversed")
        try:
            found[key.strip()] = tomllib.loads(f"v = {value}")["v"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = value.strip()
    return found


def _print(result: Result, folder: Path, as_json: bool) -> None:
    if as_json:
        from json import dumps

        typer.echo(dumps(result.content, indent=1, ensure_ascii=False))
    else:
        from composir.evaluation.tables import table

        typer.echo(table(result))
    typer.echo(f"result and every query's rank: {folder}", err=True)
