"""What pictures with the same bytes cost: every method scores them alike, and galleries count them twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from composir.datasets.doctor.annotations import Annotations


@dataclass(frozen=True, slots=True)
class Twins:
    """Pictures whose files hold the same bytes.

    Attributes:
        images: Their ids, sorted.
        tied: "val dress 17": queries that have one of them as a target while another, no target, is ranked beside it.
            Both scores are equal, and the gallery's order decides which comes first.
        galleries: "val dress": those that hold more than one of them.
    """

    images: tuple[str, ...]
    tied: tuple[str, ...]
    galleries: tuple[str, ...]


def twins(annotations: Sequence[Annotations], groups: Iterable[Sequence[str]]) -> tuple[Twins, ...]:
    """Count what each group of equal pictures costs in the tasks of some splits."""
    found = []
    for group in groups:
        tied, galleries = list[str](), list[str]()
        for said in annotations:
            for task in said.tasks:
                ranked = set(task.gallery).intersection(group)
                if len(ranked) < 2:
                    continue
                place = f"{said.split} {task.name}"
                galleries.append(place)
                for query in task.queries:
                    there = ranked.intersection(query.subset) if task.own_candidates else ranked
                    there = there.difference({task.drops(query)})
                    if not there.isdisjoint(query.targets) and not there <= set(query.targets):
                        tied.append(f"{place} {query.id}")
        found.append(Twins(tuple(group), tuple(tied), tuple(galleries)))
    return tuple(found)
