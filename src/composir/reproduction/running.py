"""A row of the matrix run by what `composir eval` runs, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from composir.errors import ComposirError
from composir.reproduction.judging import differences
from composir.reproduction.matrix import Row

if TYPE_CHECKING:
    from composir.datasets.base import Dataset
    from composir.evaluation.passes import Progress
    from composir.methods.base import Method

State = Literal["agrees", "differs", "no expected value recorded", "not run", "failed"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row.

    Attributes:
        row: Which.
        state: "not run" is no failure: what it takes is not at hand. "failed" is: it was and is damaged, or the package
            holds it all.
        why: In words: why it was not run, what failed, or each score that is out of its tolerance.
        content: Of the result; empty where there is none.
    """

    row: Row
    state: State
    why: tuple[str, ...] = ()
    content: Mapping[str, Any] = field(default_factory=dict)

    @property
    def wrong(self) -> bool:
        """Whether a check must fail for it."""
        return self.state in ("differs", "failed")


def run(
    row: Row,
    data: Path,
    *,
    device: str = "auto",
    batch_size: int = 64,
    workers: int | None = None,
    progress: Progress = lambda *_: None,
) -> Outcome:
    """Evaluate a row where what it takes is at hand, and hold the scores against it.

    Args:
        row: What to run.
        data: The folder of all data sets.
        device: auto, cpu, cuda, cuda:1, mps.
        batch_size: Of encoding and composing.
        workers: Decoding processes, see `pixel_batches`.
        progress: Told (pictures done, pictures in all) after each batch.
    """
    from composir.evaluation.bench import evaluate

    try:
        method, dataset = _at_hand(row, data, device)
    except _AbsentError as error:
        return Outcome(row, "failed" if row.needs_nothing else "not run", (_one_line(error),))
    except ComposirError as error:
        return Outcome(row, "failed", (_one_line(error),))
    controls: dict[str, Any] = {} if row.alpha is None else {"alpha": row.alpha}
    sizes: dict[str, Any] = {"batch_size": batch_size, "workers": workers}
    try:
        content = evaluate(
            method, dataset, row.split, options=row.options, progress=progress, **sizes, **controls
        ).content  # fmt: skip
    except ComposirError as error:
        return Outcome(row, "failed", (_one_line(error),))
    found = tuple(differences(row, content))
    state: State = "no expected value recorded" if not row.expected else "differs" if found else "agrees"
    return Outcome(row, state, found, content)


class _AbsentError(ComposirError):
    """What a row takes is not on this machine. What is there and broken is another matter: that is a failure."""


def _at_hand(row: Row, data: Path, device: str) -> tuple[Method, Dataset]:
    """The method and the data set, its pictures known to be there; refused before weights are read, where possible.

    Raises:
        _AbsentError: The folder of the data set is missing or empty, or the method or its backbone cannot be had.
        ComposirError: The data are there and damaged.
    """
    from composir.evaluation.bench import tasks_of
    from composir.evaluation.gaps import missing_images, needed_images, refuse
    from composir.evaluation.opening import open_dataset
    from composir.opening import find_method, load_wanted

    root = None if row.root is None else data / row.root
    if root is not None and not (root.is_dir() and any(root.iterdir())):
        raise _AbsentError(f"{root} is {'empty' if root.is_dir() else 'not there'}")
    dataset = open_dataset(row.data, root, row.options)
    tasks = tasks_of(dataset, row.split)
    gone = dict.fromkeys(missing_images(dataset, tasks), "no file")
    refuse(dataset, row.split, gone, len(needed_images(tasks)), partial="")
    try:
        return load_wanted(find_method(row.method, row.backbone), row.data, device), dataset
    except ComposirError as error:
        raise _AbsentError(str(error)) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
