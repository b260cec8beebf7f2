"""What lost pictures and annotations that point nowhere cost: queries, truths, galleries."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from composir.datasets.base import Split
from composir.datasets.doctor.annotations import Annotations
from composir.types import Query

Kind = Literal["task", "triplets", "pairs"]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one part of a split loses.

    Attributes:
        split: Which.
        kind: "task", "triplets" (for training) or "pairs".
        name: Of the task, else as `kind`.
        queries: How many queries, triplets or pairs there are.
        lost: Ids of those that cannot be asked: the reference is gone, or every target; pairs without their picture.
        fewer_targets: Ids of those that can, but some of their targets are gone.
        fewer_members: Likewise some of their subset, the reference not counted.
        gallery: Size of the gallery; 0 but for a task.
        gallery_name: Which of several it is, "" if there is but one.
        gallery_lost: Ids of its pictures that are gone.
    """

    split: Split
    kind: Kind
    name: str
    queries: int
    lost: tuple[str, ...]
    fewer_targets: tuple[str, ...] = ()
    fewer_members: tuple[str, ...] = ()
    gallery: int = 0
    gallery_name: str = ""
    gallery_lost: tuple[str, ...] = ()


@dataclass(slots=True)
class Blame:
    """What one lost picture costs by itself, each item a place such as "val dress 17".

    Attributes:
        lost: Queries that cannot be asked for want of it.
        fewer_targets: Queries of which it is one of several targets, others being there.
        fewer_members: Queries of which it is in the subset, neither the reference nor counted above.
        galleries: "val dress": those that it is missing from.
        training: Triplets and pairs that cannot be used for want of it.
    """

    lost: list[str] = field(default_factory=list)
    fewer_targets: list[str] = field(default_factory=list)
    fewer_members: list[str] = field(default_factory=list)
    galleries: list[str] = field(default_factory=list)
    training: list[str] = field(default_factory=list)


def costs(annotations: Iterable[Annotations], gone: Collection[str]) -> tuple[list[Cost], dict[str, Blame]]:
    """Count what is lost when the pictures `gone` are.

    Returns:
        The cost of each part of each split, also where that is nothing; and the blame of each picture of `gone`.
    """
    found = list[Cost]()
    blame: dict[str, Blame] = {image: Blame() for image in gone}
    for said in annotations:
        for task in said.tasks:
            gallery = set(task.gallery)
            tally = _Tally(f"{said.split} {task.name}", blame)
            for query in task.queries:
                named = (*query.targets, *query.subset)
                tally.add(query, {i for i in named if i in gone or i not in gallery or i == task.drops(query)})
            lost = tuple(image for image in task.gallery if image in gone)
            for image in lost:
                blame[image].galleries.append(tally.place)
            found.append(tally.cost(said.split, "task", task.name, (len(task.gallery), task.gallery_name, lost)))
        if said.triplets:
            # Nothing trains on val and test: there triplets are what the tasks ask, blamed for already.
            use = "train" if said.split == "train" or not said.tasks else "none"
            tally = _Tally(f"{said.split} triplets", blame, use)
            for query in said.triplets:
                tally.add(query, {i for i in (*query.targets, *query.subset) if i in gone})
            found.append(tally.cost(said.split, "triplets", "triplets"))
        if said.pairs:
            pairs = list(said.readable_pairs()) if gone else []
            for pair in pairs:
                if pair.image in gone:
                    blame[pair.image].training.append(f"{said.split} pairs {pair.id}")
            lost = tuple(pair.id for pair in pairs if pair.image in gone)
            found.append(Cost(said.split, "pairs", "pairs", len(said.pairs), lost))
    return found, blame


class _Tally:
    """The queries of one part, counted, and pictures blamed for what is lost of its use."""

    def __init__(self, place: str, blame: Mapping[str, Blame], use: Literal["ask", "train", "none"] = "ask") -> None:
        self.place, self._blame, self._use = place, blame, use
        self._count = 0
        self._ids = defaultdict[str, list[str]](list)

    def add(self, query: Query, away: Collection[str]) -> None:
        """Count a query; `away` are those of its targets and subset that cannot be ranked."""
        self._count += 1
        no_reference = query.reference in self._blame
        targets = [target for target in query.targets if target in away]
        no_target = bool(targets) and len(targets) == len(query.targets)
        members = [member for member in query.subset if member in away and member != query.reference]
        if no_reference or no_target:
            self._ids["lost"].append(query.id)
        elif targets or members:
            self._ids["fewer_targets"] += [query.id] * bool(targets)
            self._ids["fewer_members"] += [query.id] * bool(members)
        fatal = [query.reference] * no_reference + targets * no_target
        if self._use == "train":
            self._put(query, "training", fatal)
        elif self._use == "ask":
            self._put(query, "lost", fatal)
            self._put(query, "fewer_targets", targets * (not no_target))
            self._put(query, "fewer_members", [member for member in members if member not in targets])

    def cost(
        self, split: Split, kind: Kind, name: str, gallery: tuple[int, str, tuple[str, ...]] = (0, "", ())
    ) -> Cost:
        """The sum; `gallery` is its size, its name and what it loses."""
        lost, targets, members = (tuple(self._ids[key]) for key in ("lost", "fewer_targets", "fewer_members"))
        return Cost(split, kind, name, self._count, lost, targets, members, *gallery)

    def _put(self, query: Query, what: str, images: Iterable[str]) -> None:
        for image in images:
            if image in self._blame:
                getattr(self._blame[image], what).append(f"{self.place} {query.id}")
