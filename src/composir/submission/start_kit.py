"""FashionIQ's start kit: which category a file is for, and which query each of its records is.

A record has no id. It is matched by its reference and captions, by its target too where it still has one, and among
records that are alike by their order: the benchmark's captions files hold a few such.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from composir.errors import DataError
from composir.plugins import nearest
from composir.submission.formats import Answered, Prediction, StartKit
from composir.submission.truth import looks_like
from composir.types import Query, Task

Key = tuple[str, tuple[str, ...]]


def task_of(file: StartKit, tasks: Sequence[Task], category: str | None = None) -> Task:
    """The task that a file is for: the one named, else that which its name begins with, else that of its records.

    Raises:
        UnknownNameError: `category` is no task.
        DataError: Neither the name nor the records tell.
    """
    named = {task.name: task for task in tasks}
    if category is not None:
        if category not in named:
            raise nearest(category, named, "category")
        return named[category]
    first = file.path.name.partition(".")[0]
    if first in named:
        return named[first]
    shares = {name: _share(file, task) for name, task in named.items()}
    best = max(shares, key=lambda name: shares[name])
    if shares[best] <= 0.5:
        known = ", ".join(named)
        raise DataError(f"{file.path}: its records are of none of {known}; give its --category, and the right --split")
    return named[best]


def match(file: StartKit, task: Task, others: Callable[[], Mapping[str, Task]] = dict) -> Prediction:
    """Find the query of every record.

    Args:
        file: As read.
        task: What was asked.
        others: Makes the tasks that the file may be for instead, by what a message calls them; asked only if need be.

    Raises:
        DataError: A record that is no query of the task, or is there twice; what the file looks like is said too.
    """
    waiting: dict[Key, list[Query]] = defaultdict(list)
    for query in task.queries:
        waiting[_key_of(query)].append(query)
    lists: dict[str, tuple[str, ...]] = {}
    for number, record in enumerate(file.records):
        here = waiting[_key(record)]
        fits = [q for q in here if record.target is None or task.hidden or record.target in q.targets]
        if not fits:
            whose = f"record {number} (counted from 0), reference {record.candidate!r}"
            raise DataError(f"{file.path}: {whose}, {_why_not(record, here, task)}{_looks(file, task, others)}")
        here.remove(fits[0])
        lists[fits[0].id] = record.ranking
    return Prediction("start kit", lists, file.path)


def _why_not(record: Answered, waiting: Sequence[Query], task: Task) -> str:
    if waiting:
        return f"has the target {record.target!r} instead of {' or '.join(q.targets[0] for q in waiting)!r}"
    known = any(_key_of(query) == _key(record) for query in task.queries)
    return f"is there more often than in the captions file of {task.name}" if known else f"is no query of {task.name}"


def _looks(file: StartKit, task: Task, others: Callable[[], Mapping[str, Task]]) -> str:
    shares = {name: _share(file, other) for name, other in others().items()}
    if found := looks_like(_share(file, task), shares):
        return f"; these look like the records of {found}"
    return "; every record of the captions file must be there once, as it stands"


def _share(file: StartKit, task: Task) -> float:
    """How many of the records are queries of a task, 0..1."""
    known = {_key_of(query) for query in task.queries}
    return sum(_key(record) in known for record in file.records) / max(1, len(file.records))


def _key(record: Answered) -> Key:
    return record.candidate, tuple(caption.strip() for caption in record.captions)


def _key_of(query: Query) -> Key:
    return query.reference, tuple(caption.strip() for caption in query.captions)
