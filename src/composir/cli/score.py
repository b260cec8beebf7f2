"""`composir score`: prediction files, whoever made them, against the local truth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from composir.nouns import counted

if TYPE_CHECKING:
    from composir.datasets.base import Split
    from composir.submission.truth import Truth


def score(
    files: Annotated[
        list[Path], typer.Argument(help="CIRR's one or two files, CIRCO's one, FashionIQ's start-kit files.")
    ],
    *,
    data: Annotated[str, typer.Option(help="cirr, circo or fashioniq.")],
    root: Annotated[Path, typer.Option(help="The folder of its annotations; no picture is needed.")],
    split: Annotated[str, typer.Option(help="Which part was asked.")] = "val",
    category: Annotated[
        str | None, typer.Option(help="Of a FashionIQ file; found by its name or its records if not given.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="key=value, an option of the data set; may be given again.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")] = False,
) -> None:
    """Score prediction files in a benchmark's own submission format.

    The metrics and their intervals are those of `composir eval`, over rankings that anybody may have made.
    """
    from composir.cli.eval import parsed
    from composir.submission.score import result, score

    options = parsed(option or [])
    truth = open_truth(data, root, split, options)
    found = result(score(files, truth, category), truth, options)
    if json:
        from json import dumps

        typer.echo(dumps(found, indent=1, ensure_ascii=False))
    else:
        typer.echo(_as_text(found))


def open_truth(data: str, root: Path, split: str, options: dict[str, Any]) -> Truth:
    """Open a data set that has a prediction format, and read a split.

    Raises:
        UnknownNameError: It has none; no such split; an option that it does not take.
        DataError: There is no such folder, or its annotations are not usable.
    """
    from composir.evaluation.opening import open_dataset
    from composir.plugins import nearest
    from composir.submission.formats import require_format
    from composir.submission.truth import Truth

    if ":" not in data:
        require_format(data)
    dataset = open_dataset(data, root, options)
    require_format(dataset.name)
    split = dataset.split_called(split)
    if split not in dataset.splits:
        raise nearest(split, dataset.splits, f"split of {dataset.name}:")
    return Truth.of(dataset, cast("Split", split))


def _as_text(found: dict[str, Any]) -> str:
    protocol = found["protocol"]
    lines = [f"{protocol['data']} {protocol['split']}; per cent, 95 % interval over queries"]
    for task, asked in zip(found["tasks"], protocol["tasks"], strict=True):
        size, name = asked["gallery"]["size"], asked["gallery"]["name"]
        gallery = f"gallery not known ({name})" if size is None else f"gallery {size:,} ({name})"
        lines += ["", f"{task['name']}: {counted(task['queries'], 'query', 'queries')}, {gallery}"]
        lines += _rows(task["metrics"], task["intervals"])
    if found["average"]:
        lines += ["", "all tasks", *_rows(found["average"], found["average_intervals"])]
    if found["warnings"]:
        lines += ["", *(f"warning: {warning}" for warning in found["warnings"])]
    return "\n".join(lines)


def _rows(values: dict[str, float], intervals: dict[str, list[float]]) -> list[str]:
    width = max(map(len, values))
    ends = {name: f"{low:.1f}-{high:.1f}" for name, (low, high) in intervals.items()}
    return [f"  {name:<{width}}  {value:6.2f} ({ends[name]})" for name, value in values.items()]
