"""Wardrobe: a drawn garment catalogue, the embedded data of the demo, the tests and the reproductions.

Every picture, caption and query follows from (split sizes, seed); nothing is stored and nothing is downloaded.
"""

from __future__ import annotations

import random
from typing import ClassVar

from PIL import Image

from composir.datasets.base import Dataset, Split
from composir.datasets.wardrobe import catalogue, words
from composir.datasets.wardrobe.draw import Style, check_drawable, draw
from composir.datasets.wardrobe.garment import Garment
from composir.errors import ComposirError, DataError
from composir.types import Pair, Query, Task

FAMILY_METRICS = ("R@1", "R@5", "R@10", "R@50", "Rs@1", "Rs@2", "Rs@3")
CONCEPT_METRICS = ("mAP@5", "mAP@10", "mAP@25", "mAP@50")


class Wardrobe(Dataset):
    """The catalogue with its three splits.

    Args:
        train, val, test: Garments in each split; rounded down to whole families of six, at least one family and at
            most `catalogue.LARGEST`.
        seed: Draws another catalogue; the designs of a split never leave it, whatever the seed.
        image_size: Side of the drawings in pixels, 64..512.
        style: "photo", or "synthetic" for the same garments as a picture generator might give them.

    Raises:
        ComposirError: A split smaller than a family, or larger than its designs allow.
    """

    name: ClassVar[str] = "wardrobe"

    def __init__(
        self,
        train: int = 24_000,
        val: int = 3_000,
        test: int = 3_000,
        seed: int = 0,
        *,
        image_size: int = 64,
        style: Style = "photo",
    ):
        self.sizes: dict[str, int] = {"train": train, "val": val, "test": test}
        for split, size in self.sizes.items():
            if size < catalogue.FAMILY:
                raise ComposirError(f"wardrobe: {split} has {size} garments; at least {catalogue.FAMILY} are needed")
            if size > catalogue.LARGEST[split]:
                raise ComposirError(
                    f"wardrobe: {split} has {size} garments; at most {catalogue.LARGEST[split]} are allowed, "
                    "for no two garments of a catalogue are equal and each split owns its designs"
                )
        check_drawable(image_size, style)
        self.seed, self.image_size = seed, image_size
        self.style: Style = style
        self._families: dict[str, list[list[Garment]]] = {}

    def families(self, split: Split) -> list[list[Garment]]:
        """The garments of a split in families of six; drawn once."""
        if split not in self.sizes:
            raise DataError(f"wardrobe has no split {split!r}; allowed: {', '.join(self.sizes)}")
        if split not in self._families:
            self._families[split] = catalogue.families(split, self.sizes[split] // catalogue.FAMILY, self.seed)
        return self._families[split]

    def ids(self, split: Split) -> tuple[str, ...]:
        """All image ids of a split, family by family."""
        count = len(self.families(split))
        return tuple(catalogue.name(split, f, m) for f in range(count) for m in range(catalogue.FAMILY))

    def garment(self, image_id: str) -> Garment:
        """The garment that a picture shows."""
        try:
            split, family, member = image_id.split("-")
            # The drawing is named by its id, so each has one spelling.
            if split not in self.sizes or image_id != catalogue.name(split, int(family), int(member)):
                raise ValueError(image_id)
            return self.families(split)[int(family)][int(member)]  # type: ignore[arg-type]
        except (ValueError, IndexError) as error:
            raise DataError(f"wardrobe has no image {image_id!r}; ids look like 'test-00012-3'") from error

    def image(self, image_id: str) -> Image.Image:
        """Draw the picture, RGB, (image_size, image_size)."""
        return draw(self.garment(image_id), f"{self.seed}/{image_id}", self.image_size, self.style)

    def triplets(self, split: Split) -> list[Query]:
        """Within families: six a family for training, three for the others (fewer where a family is spread wide)."""
        per_family = 6 if split == "train" else 3
        return list(catalogue.family_queries(split, self.families(split), per_family, self.seed))

    def tasks(self, split: Split) -> list[Task]:
        """Task "families" has one right target among look-alikes (CIRR's protocol), "concepts" several (CIRCO's)."""
        gallery = self.ids(split)
        concepts = catalogue.concept_queries(split, self.families(split), max(1, len(gallery) // 6), self.seed)
        # Ids do not tell what was drawn: without this, results over other drawings would seem to compare.
        drawn = f"style {self.style}, {self.image_size} px, seed {self.seed}"
        return [
            Task(name, gallery, tuple(queries), metrics, drop_reference=True, gallery_name=drawn)
            for name, queries, metrics in (
                ("families", self.triplets(split), FAMILY_METRICS),
                ("concepts", concepts, CONCEPT_METRICS),
            )
        ]

    def pairs(self, split: Split) -> list[Pair]:
        """Each picture with four captions: the first full, the others leaving out more and more."""
        made = []
        for image_id in self.ids(split):
            rng = random.Random(f"wardrobe/captions/{self.seed}/{image_id}")
            garment = self.garment(image_id)
            captions = tuple(words.caption(garment, rng, keep) for keep in (1.0, 0.7, 0.5, 0.35))
            made.append(Pair(image_id, image_id, captions))
        return made
