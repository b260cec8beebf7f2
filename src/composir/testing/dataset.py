"""The contract of a data set."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import partial
from typing import cast

from PIL import Image

from composir.datasets.base import Dataset, Split
from composir.errors import DataError
from composir.testing.compare import require, require_raises
from composir.types import Pair, Query, Task

METRIC = re.compile(r"(R|Rs|Recall|mAP)@[1-9][0-9]*(/\*)?")
NOBODY = "no such image"


def check_dataset(dataset: Dataset, *, images: int | None = 64) -> None:
    """Assert what composir expects of a data set.

    Ids are unique; what tasks, triplets and pairs name has a picture, RGB, the same each time; tasks agree with their
    own protocol; splits share no picture where that is claimed; an unknown id or split is a DataError that names it;
    a pickled copy, as worker processes get it, is the same data set.

    Args:
        dataset: An opened one.
        images: How many pictures of each split are opened, spread evenly over it; None for all.

    Raises:
        AssertionError: It breaks the contract; the message says where.
    """
    require(bool(dataset.splits), f"{dataset.name}: has no split")
    try:
        copy: Dataset = pickle.loads(pickle.dumps(dataset))
    except Exception as error:  # pickle raises many kinds
        raise AssertionError(f"{dataset.name}: cannot be pickled, as worker processes need it ({error})") from error
    seen: dict[str, str] = {}
    for split in dataset.splits:
        where = f"{dataset.name} {split}"
        tasks, triplets, pairs = dataset.tasks(split), dataset.triplets(split), dataset.pairs(split)
        _check_unique([t.name for t in tasks], f"{where}: task names")
        for task in tasks:
            _check_task(task, f"{where} {task.name}")
        _check_unique([q.id for q in triplets], f"{where}: triplet ids")
        for query in triplets:
            _check_query(query, f"{where}: triplet {query.id}")
            require(bool(query.targets), f"{where}: triplet {query.id} has no target")
        _check_pairs(pairs, where)
        ids = _images(tasks, triplets, pairs)
        require(bool(ids), f"{where}: names no picture")
        step = 1 if images is None else max(1, len(ids) // images)
        for image_id in ids[::step]:
            _check_image(dataset, copy, image_id, where)
        _check_disjoint(dataset, ids, split, seen)
        same = (copy.tasks(split), list(copy.triplets(split)), list(copy.pairs(split)))
        require(same == (tasks, list(triplets), list(pairs)), f"{where}: a pickled copy gives other annotations")
    _check_unknown(dataset)


def _check_unique(values: Sequence[str], what: str) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    require(not twice, f"{what} are not unique: {', '.join(twice[:3])}")


def _check_task(task: Task, where: str) -> None:
    """A task against its own protocol."""
    require(bool(task.gallery), f"{where}: the gallery is empty")
    require(bool(task.queries), f"{where}: has no query")
    _check_unique(task.gallery, f"{where}: gallery ids")
    _check_unique([q.id for q in task.queries], f"{where}: query ids")
    require(bool(task.metrics), f"{where}: names no metric")
    for metric in task.metrics:
        require(
            METRIC.fullmatch(metric) is not None,
            f"{where}: metric {metric!r} is not spelled R@K, Rs@K, Recall@K or mAP@K",
        )
    gallery = set(task.gallery)
    for query in task.queries:
        told = f"{where}: query {query.id}"
        _check_query(query, told)
        require(bool(query.targets) != task.hidden, f"{told} has {len(query.targets)} targets, hidden={task.hidden}")
        for target in query.targets:
            require(target in gallery, f"{told} has target {target!r}, which is not in the gallery")
        if task.drop_reference:
            require(query.reference in gallery, f"{told} drops reference {query.reference!r}, not in the gallery")
            require(query.reference not in query.targets, f"{told} has its own reference, which it drops, as a target")
        if any(metric.startswith("Rs@") for metric in task.metrics):
            require(bool(query.subset), f"{told} has no subset, but Rs@K is asked")
            require(query.reference in query.subset, f"{told}: the reference is not in the subset")
        if task.own_candidates:
            require(bool(query.subset), f"{told} has no candidates of its own")
        for member in query.subset:
            require(member in gallery, f"{told} has subset member {member!r}, which is not in the gallery")
        if query.subset and query.targets:
            require(query.targets[0] in query.subset, f"{told}: the target is not in the subset")


def _check_query(query: Query, told: str) -> None:
    """One query for itself."""
    require(bool(query.captions) and all(c.strip() for c in query.captions), f"{told} has an empty caption")
    require(query.weight >= 0, f"{told} has weight {query.weight}; 0 or more is allowed")
    _check_unique(query.targets, f"{told}: targets")
    _check_unique(query.subset, f"{told}: subset members")


def _check_pairs(pairs: Sequence[Pair], where: str) -> None:
    _check_unique([p.id for p in pairs], f"{where}: pair ids")
    for pair in pairs:
        fine = bool(pair.captions) and all(c.strip() for c in pair.captions)
        require(fine, f"{where}: pair {pair.id} has an empty caption")


def _images(tasks: Iterable[Task], triplets: Iterable[Query], pairs: Iterable[Pair]) -> list[str]:
    """Every picture that is named, sorted."""
    named = {pair.image for pair in pairs}
    for task in tasks:
        named.update(task.gallery)
    for query in (*triplets, *(q for task in tasks for q in task.queries)):
        named.update((query.reference, *query.targets, *query.subset))
    return sorted(named)


def _check_image(dataset: Dataset, copy: Dataset, image_id: str, where: str) -> None:
    try:
        image = dataset.image(image_id)
    except Exception as error:
        raise AssertionError(f"{where}: image {image_id!r} is named, but cannot be had ({error})") from error
    require(isinstance(image, Image.Image), f"{where}: image {image_id!r} is a {type(image).__name__}, not a picture")
    require(image.mode == "RGB", f"{where}: image {image_id!r} is in mode {image.mode}; RGB is expected")
    require(min(image.size) > 0, f"{where}: image {image_id!r} has size {image.size}")
    again = copy.image(image_id)
    same = image.size == again.size and image.tobytes() == again.tobytes()
    require(same, f"{where}: image {image_id!r} is not the same picture the second time")


def _check_disjoint(dataset: Dataset, ids: Iterable[str], split: str, seen: dict[str, str]) -> None:
    for image_id in ids:
        other = seen.setdefault(image_id, split)
        fine = other == split or not dataset.disjoint
        require(
            fine, f"{dataset.name}: image {image_id!r} is in {other} and in {split}; set disjoint = False if it may be"
        )


def _check_unknown(dataset: Dataset) -> None:
    require_raises(lambda: dataset.image(NOBODY), DataError, f"{dataset.name}: unknown image id", naming=NOBODY)
    nowhere = cast(Split, "nowhere")
    for name in ("tasks", "triplets", "pairs"):
        told = f"{dataset.name}: {name} of an unknown split"
        require_raises(partial(getattr(dataset, name), nowhere), DataError, told, naming=nowhere)
