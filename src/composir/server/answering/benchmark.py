"""A benchmark's annotated queries, told in ids of the gallery that holds its pictures."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from composir.datasets.base import Dataset, Split
from composir.datasets.files import FileDataset
from composir.errors import DataError
from composir.gallery.search import Shelf
from composir.server.service import KnownQuery
from composir.types import Query


@dataclass(frozen=True, eq=False)
class Benchmark:
    """The queries whose reference and at least one target the gallery holds.

    Attributes:
        name: Data set and split, as told to clients.
        queries: In the order of the tasks.
    """

    name: str
    queries: Sequence[KnownQuery]

    @classmethod
    def of(cls, dataset: Dataset, split: Split, shelf: Shelf, root: Path) -> Benchmark:
        """Match a data set to a gallery by the places of its pictures.

        Args:
            dataset: Its files lie below `root`.
            split: With public targets.
            shelf: The gallery.
            root: The indexed folder.

        Raises:
            DataError: A data set without picture files, or one of whose queries the gallery holds none.
        """
        if not isinstance(dataset, FileDataset):
            raise DataError(f"data set {dataset.name!r} is drawn by code; write it with `composir data` and index that")
        places = {path: own for own, paths in zip(shelf.ids, shelf.paths, strict=True) for path in paths}
        told = [(task, query) for task in dataset.tasks(split) for query in task.queries]
        found = {name: _id_of(dataset, name, places, root) for _, query in told for name in _names(query)}
        known = [own for task, query in told if (own := _known(task.name, query, found)) is not None]
        if not known:
            raise DataError(
                f"the gallery of {root} holds the pictures of none of the {len(told)} queries of {dataset.name} "
                f"{split}; index the folder that its images lie in"
            )
        return cls(f"{dataset.name} {split}", known)


def _names(query: Query) -> tuple[str, ...]:
    return (query.reference, *query.targets, *query.subset)


def _id_of(dataset: FileDataset, name: str, places: Mapping[str, str], root: Path) -> str | None:
    path = dataset.images.path(name)
    return None if path is None else places.get(Path(os.path.relpath(path.resolve(), root.resolve())).as_posix())


def _known(task: str, query: Query, found: Mapping[str, str | None]) -> KnownQuery | None:
    reference = found[query.reference]
    targets = _found(query.targets, found)
    if reference is None or not targets:
        return None
    return KnownQuery(f"{task}/{query.id}", reference, query.text, targets, _found(query.subset, found))


def _found(names: Sequence[str], found: Mapping[str, str | None]) -> tuple[str, ...]:
    return tuple(own for own in map(found.get, names) if own is not None)
