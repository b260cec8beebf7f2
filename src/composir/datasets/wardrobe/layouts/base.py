"""What a file layout is made of: pictures by path, annotation files by path, and how hidden truth is kept apart."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from composir.datasets.base import Split
from composir.datasets.wardrobe import Wardrobe, words
from composir.datasets.wardrobe.catalogue import FAMILY
from composir.types import Query

TRUTH = "truth"

Json = Mapping[str, object] | Sequence[object]
Sizes = Mapping[Split, int]


@dataclass(slots=True)
class Layout:
    """One data set as files.

    Attributes:
        pictures: POSIX path -> image id of the catalogue; the ending says the format.
        files: POSIX path -> JSON value; for ".jsonl" a sequence of rows, one a line.
        about: Folder for what the benchmark itself has no place for: attributes, captions, how all was made.
    """

    pictures: dict[str, str] = field(default_factory=dict)
    files: dict[str, Json] = field(default_factory=dict)
    about: str = TRUTH

    def put(self, path: str, records: Sequence[Mapping[str, object]], hidden: Sequence[str] = ()) -> None:
        """Add an annotation file; with `hidden` keys it lacks them, and lies whole under its own path in truth/."""
        self.files[path] = [_without(record, hidden) for record in records]
        if hidden:
            self.files[f"{TRUTH}/{path}"] = records


def _without(value: object, hidden: Sequence[str]) -> object:
    if not isinstance(value, Mapping):
        return value
    return {k: _without(v, hidden) for k, v in value.items() if k not in hidden}


def tenths(size: int) -> Sizes:
    """Divide `size` garments 80 / 10 / 10 in whole families; a split of too few has 0."""
    families = size // FAMILY
    tenth = max(1, families // 10)
    return {"train": max(0, families - 2 * tenth) * FAMILY, "val": tenth * FAMILY, "test": tenth * FAMILY}


def split_of_id(image_id: str) -> Split:
    """The split in an image id of the catalogue."""
    return cast("Split", image_id.partition("-")[0])


def family_of_id(image_id: str) -> tuple[int, int]:
    """Family and member in an image id of the catalogue."""
    _, family, member = image_id.split("-")
    return int(family), int(member)


def single_text(data: Wardrobe, query: Query) -> str:
    """One text that tells a query's whole change; of its own two captions each may tell but half of it."""
    rng = random.Random(f"wardrobe/single text/{data.seed}/{query.id}")
    return words.edit_text(data.garment(query.reference), data.garment(query.targets[0]), rng)
