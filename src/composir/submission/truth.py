"""What a prediction file is held against: the queries of one split, and those it may have been made for by mistake."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass

from composir.datasets.base import Dataset, Split
from composir.errors import DataError
from composir.types import Task

CIRCO_GALLERY = "COCO 2017 unlabeled"  # as datasets/circo.py calls it where the list of all its images is there


@dataclass(frozen=True, slots=True)
class Truth:
    """One split of a data set, its annotations read.

    Attributes:
        dataset: Whose.
        split: Which.
        tasks: What is asked; the targets may be hidden.
    """

    dataset: Dataset
    split: Split
    tasks: tuple[Task, ...]

    @classmethod
    def of(cls, dataset: Dataset, split: Split) -> Truth:
        """Read a split.

        Raises:
            DataError: Its annotations are missing or not usable, or there is no such split.
        """
        return cls(dataset, split, tuple(dataset.tasks(split)))

    def alike(self, task: Task) -> dict[str, Task]:
        """Other tasks that a file may be for, by what messages call them; of splits whose annotations are at hand."""
        lone = len(self.tasks) == 1
        found = {f"{other.name} (--category {other.name})": other for other in self.tasks if other is not task}
        for split in self.dataset.splits:
            if split != self.split:
                with suppress(DataError):  # only a hint is lost
                    for other in self.dataset.tasks(split):
                        found[f"{split if lone else f'{other.name} of {split}'} (--split {split})"] = other
        return found


def gallery_of(task: Task) -> frozenset[str] | None:
    """The images that a list may name; None where only some of them are known (CIRCO without COCO's list of them)."""
    return None if task.name == "circo" and task.gallery_name != CIRCO_GALLERY else frozenset(task.gallery)


def overlap(some: Collection[object], others: Collection[object]) -> float:
    """What two collections share of what either holds, 0..1."""
    return len(set(some) & set(others)) / max(1, len(set(some) | set(others)))


def looks_like(here: float, shares: Mapping[str, float]) -> str:
    """The name of what a file fits far better than what it is held against, or ""."""
    best = max(shares, key=lambda name: shares[name], default="")
    return best if best and shares[best] > max(0.5, here) else ""
