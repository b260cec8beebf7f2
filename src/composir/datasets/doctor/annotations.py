"""What the annotations of a data set name, and what they say that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from composir.datasets.base import Dataset, Split
from composir.errors import DataError
from composir.types import Pair, Query, Task


@dataclass(frozen=True, slots=True)
class Fault:
    """Annotations of a split that cannot be read."""

    split: Split
    why: str


@dataclass(frozen=True, slots=True)
class Astray:
    """An annotation that points nowhere.

    Attributes:
        split: Where it stands.
        task: In the queries of which task.
        query: Id of the query.
        role: "reference", "target" or "subset".
        image: The picture it points to.
        why: What is wrong, short.
    """

    split: Split
    task: str
    query: str
    role: str
    image: str
    why: str


@dataclass(slots=True)
class Annotations:
    """All that a split says.

    Attributes:
        split: Which.
        tasks: As the data set gives them.
        triplets: Likewise; for training.
        pairs: Likewise.
        faults: Why some of it could not be read.
        notes: What is not evaluated, and why, as the data set gives it.
    """

    split: Split
    tasks: Sequence[Task] = ()
    triplets: Sequence[Query] = ()
    pairs: Sequence[Pair] = ()
    faults: list[Fault] = field(default_factory=list)
    notes: Sequence[str] = ()

    @classmethod
    def read(cls, dataset: Dataset, split: Split) -> Annotations:
        """Read them; what cannot be read is a fault."""
        found = cls(split)

        def ask(part: Callable[[Split], Any]) -> Any:
            try:
                return part(split)
            except DataError as error:
                fault = Fault(split, " ".join(str(error).split()))
                if fault not in found.faults:  # tasks and triplets are often read from one file
                    found.faults.append(fault)
                return ()

        found.tasks, found.triplets, found.pairs = ask(dataset.tasks), ask(dataset.triplets), ask(dataset.pairs)
        found.notes = ask(dataset.notes)
        if found.tasks and (unlisted := dataset.unlisted(split)):
            found.faults.append(Fault(split, unlisted))
        return found

    def images(self) -> Iterator[str]:
        """Every picture that is named, again and again; a pair that cannot be read becomes a fault."""
        for task in self.tasks:
            yield from task.gallery
        for query in (*(query for task in self.tasks for query in task.queries), *self.triplets):
            yield query.reference
            yield from query.targets
            yield from query.subset
        for pair in self.readable_pairs():
            yield pair.image

    def readable_pairs(self) -> Iterator[Pair]:
        """The pairs; one whose captions cannot be read becomes a fault."""
        known = {fault.why for fault in self.faults}
        for number in range(len(self.pairs)):
            try:
                yield self.pairs[number]
            except DataError as error:
                if (why := " ".join(str(error).split())) not in known:
                    self.faults.append(Fault(self.split, why))

    def astray(self) -> Iterator[Astray]:
        """Each annotation of a task that points outside its gallery.

        A reference may lie outside where it stays in the ranking: then it is no more than a picture to ask with.
        """
        for task in self.tasks:
            gallery = set(task.gallery)
            for query in task.queries:
                roles = [("target", target) for target in query.targets]
                roles += [("subset", member) for member in query.subset if member != query.reference]
                roles += [("reference", query.reference)] * task.drop_reference
                for role, image in roles:
                    if image not in gallery:
                        yield Astray(self.split, task.name, query.id, role, image, "is not in the gallery")
                if task.drops(query) in query.targets:
                    why = "is the reference too, which is taken out of the ranking"
                    yield Astray(self.split, task.name, query.id, "target", query.reference, why)
