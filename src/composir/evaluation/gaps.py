"""What an incomplete data set leaves of a task: refused by default, told with every number where it is wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from composir.datasets.base import Dataset
from composir.errors import DataError
from composir.nouns import counted
from composir.types import Task

NAMED = 5  # missing pictures named in a message


@dataclass(frozen=True, slots=True)
class Left:
    """A task without the pictures that are gone.

    Attributes:
        task: What can be asked of the rest; the targets of a query stand as they were annotated.
        places: Of its queries among those of the whole task.
        asked: How many queries the whole task has; those left out have lost their reference or all of their targets.
        whole: Whether nothing is gone, be it from the gallery, the queries, their targets or their subsets.
    """

    task: Task
    places: tuple[int, ...]
    asked: int
    whole: bool


def missing_images(dataset: Dataset, tasks: Sequence[Task]) -> list[str]:
    """Pictures that the tasks need and for which there is no file, galleries first."""
    return dataset.missing(needed_images(tasks))


def needed_images(tasks: Sequence[Task]) -> list[str]:
    """Pictures that the tasks need, each once, galleries first."""
    needed = dict.fromkeys(i for task in tasks for i in task.gallery)
    return list(needed | dict.fromkeys(query.reference for task in tasks for query in task.queries))


PARTIAL = "; --partial (partial=True) evaluates without them and stamps every number"


def refuse(dataset: Dataset, split: str, gone: Mapping[str, str], needed: int, *, partial: str = PARTIAL) -> None:
    """Refuse to evaluate without the pictures `gone`, each with its reason.

    Args:
        dataset: For the message, as `split`.
        split: Of the data set.
        gone: Picture -> why it cannot be had.
        needed: How many pictures there should be.
        partial: The way to go on without them, if the caller has one.

    Raises:
        DataError: There are any; how many, the first few, and the remedy are named.
    """
    if not gone:
        return
    first = ", ".join(f"{image_id} ({why})" for image_id, why in list(gone.items())[:NAMED])
    more = " and others" if len(gone) > NAMED else ""
    raise DataError(
        f"{len(gone):,} of {needed:,} pictures that {dataset.name} {split} needs cannot be had: {first}{more}. "
        f"`composir data check {dataset.name} {getattr(dataset, 'root', 'ROOT')}` lists them all"
        f"{partial}"
    )


def all_of(task: Task) -> Left:
    """The task as it is."""
    return Left(task, tuple(range(len(task.queries))), len(task.queries), whole=True)


def lacking(missing: Mapping[str, Any]) -> str:
    """What a partial evaluation went without, in words."""
    images, queries = missing["images"], missing["queries"]
    left_out = counted(queries, "query was left out", "queries were left out")
    told = f"{counted(images, 'picture is missing', 'pictures are missing')} and {left_out}"
    return f"{told}; {missing['unlisted']}" if missing.get("unlisted") else told


def caveat(missing: Mapping[str, Any]) -> str:
    """What to beware of in partial numbers."""
    return f"partial: {lacking(missing)}; these numbers do not compare with complete ones"


def without(task: Task, gone: Collection[str]) -> Left:
    """The task without some pictures, and without what its annotations name outside its gallery or what is taken out.

    Raises:
        DataError: No query or no gallery is left.
    """
    gallery = tuple(i for i in task.gallery if i not in gone)
    known = set(gallery)
    places, queries = [], []
    whole = len(gallery) == len(task.gallery)
    for place, query in enumerate(task.queries):
        subset = tuple(i for i in query.subset if i in known)
        targets = tuple(target for target in query.targets if target != task.drops(query))
        there = [target for target in targets if target in known]
        whole &= len(there) == len(query.targets) and len(subset) == len(query.subset) and query.reference not in gone
        if query.reference not in gone and (there or task.hidden):
            places.append(place)
            queries.append(replace(query, subset=subset, targets=targets))
    if not queries:
        raise DataError(
            f"{task.name}: of {counted(len(task.queries), 'query', 'queries')} none is left without "
            f"{counted(len(gone), 'missing picture')}; `composir data check` lists them"
        )
    return Left(replace(task, gallery=gallery, queries=tuple(queries)), tuple(places), len(task.queries), whole)
