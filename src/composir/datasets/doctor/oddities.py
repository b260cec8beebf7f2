"""Queries that can be asked but are odd: captions without words, and queries that stand more than once.

Published files hold both (FashionIQ, CIRR, GeneCIS), and the published evaluations ask them all. So do ours; they are
told, since each moves a mean.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from composir.datasets.base import Split
from composir.datasets.doctor.annotations import Annotations
from composir.types import Query

NO_WORDS = " .?,\t\r\n"  # what is stripped from the ends of captions before they are joined, and line ends


@dataclass(frozen=True, slots=True)
class Wordless:
    """A query with a caption in which there is no word.

    Attributes:
        split: Where it stands.
        task: In which task; "triplets" where it is for training alone.
        query: Its id.
        captions: How many captions it has.
        wordless: How many of these hold no word; where all do, the text asks nothing.
    """

    split: Split
    task: str
    query: str
    captions: int
    wordless: int


@dataclass(frozen=True, slots=True)
class Repeated:
    """Queries of one task that agree in all but their ids, so that one counts as several.

    Attributes:
        split: Where they stand.
        task: In which task; "triplets" where they are for training alone.
        queries: Their ids, two or more, in file order.
    """

    split: Split
    task: str
    queries: tuple[str, ...]


def wordless(annotations: Iterable[Annotations]) -> tuple[Wordless, ...]:
    """Every query with a caption that has no word."""
    found = []
    for split, task, queries in _parts(annotations):
        for query in queries:
            count = sum(not caption.strip(NO_WORDS) for caption in query.captions)
            if count:
                found.append(Wordless(split, task, query.id, len(query.captions), count))
    return tuple(found)


def repeated(annotations: Iterable[Annotations]) -> tuple[Repeated, ...]:
    """Every group of queries with one reference, the same captions, targets and subset."""
    found = []
    for split, task, queries in _parts(annotations):
        ids = defaultdict[Hashable, list[str]](list)
        for query in queries:
            ids[query.reference, query.captions, query.targets, query.subset].append(query.id)
        found += [Repeated(split, task, tuple(same)) for same in ids.values() if len(same) > 1]
    return tuple(found)


def _parts(annotations: Iterable[Annotations]) -> Iterator[tuple[Split, str, Sequence[Query]]]:
    """The queries of each task; triplets where nothing is asked, for else they are the same once more."""
    for said in annotations:
        for task in said.tasks:
            yield said.split, task.name, task.queries
        if not said.tasks:
            yield said.split, "triplets", said.triplets
