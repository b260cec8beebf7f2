"""Write submission files so that what lies under their names is whole and has passed the check."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from composir.datasets.records import read_json
from composir.errors import DataError
from composir.plugins import nearest
from composir.submission.check import Problem, load, problems, problems_alone, require, size_problems
from composir.submission.formats import CIRR, Kind, Prediction, as_json, read
from composir.submission.truth import Truth


def save(predictions: Sequence[Prediction], folder: Path, truth: Truth, overwrite: bool = False) -> list[Path]:
    """Write files into a folder under the names that the predictions bear, checked as a stranger's would be.

    All are written beside their names, read back and checked; only then do they get their names.

    Raises:
        DataError: As `require_free`; or a file that would be refused.
    """
    require_free(folder, truth, overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        fresh = []
        for prediction in predictions:
            path = folder / f"{prediction.path.name}.{os.getpid()}.writing"
            undo.callback(path.unlink, missing_ok=True)
            path.write_text(as_json(prediction), encoding="utf-8", newline="\n")
            require(check(path, truth), path)
            fresh.append((path, folder / prediction.path.name))
        for path, name in fresh:
            path.replace(name)
    return [name for _, name in fresh]


def require_free(folder: Path, truth: Truth, overwrite: bool = False) -> None:
    """Refuse a folder that cannot take the files; asked before the work, not after it.

    Raises:
        DataError: It is a file; or it holds such files and `overwrite` is not said.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name a folder for the submission")
    there = [folder / name for name in names(truth).values() if (folder / name).exists()]
    if there and not overwrite:
        raise DataError(f"{there[0]} is there already; name another folder, or pass --overwrite")


def names(truth: Truth) -> dict[Kind, str]:
    """The usual names of the files that a server takes.

    Raises:
        UnknownNameError: A data set without a server.
    """
    if truth.dataset.name == "circo":
        return {"circo": f"submission_{truth.split}.json"}
    if truth.dataset.name == "cirr":
        label = "test1" if truth.split == "test" else truth.split
        return {kind: f"{label}_pred_ranks_{kind}.json" for kind in CIRR}
    raise nearest(truth.dataset.name, ("cirr", "circo"), "data set with a server:")


def check(path: Path, truth: Truth, category: str | None = None) -> list[Problem]:
    """Everything for which a server would refuse a file.

    Raises:
        DataError: It cannot be read as such a file at all.
    """
    task, prediction = load(path, truth, category)
    return size_problems(prediction, path.stat().st_size) + problems(prediction, task, truth)


def check_alone(path: Path, data: str | None = None) -> list[Problem]:
    """Everything for which a server would refuse a file as far as it can be told without the annotations.

    Args:
        path: A file for CIRR or CIRCO.
        data: Which; told by the file if not given.

    Raises:
        DataError: It cannot be read as such a file at all.
    """
    if data is None:
        value = read_json(path)
        data = "cirr" if isinstance(value, dict) and value.keys() & {"version", "metric"} else "circo"
    prediction = read(path, data)
    if not isinstance(prediction, Prediction):
        raise DataError(f"{path}: {data} has no server to send files to; `composir score` scores them")
    return size_problems(prediction, path.stat().st_size) + problems_alone(prediction)
