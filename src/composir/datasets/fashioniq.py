"""FashionIQ (Wu et al. 2021): three categories, two captions a query; `candidate` is the reference.

    captions/cap.{dress,shirt,toptee}.{train,val,test}.json        also annotations/, the category's folder, the root
    image_splits/split.{dress,shirt,toptee}.{train,val,test}.json  likewise
    images/<name>.{png,jpg}                                        flat, images/<category>/ or <category>/ (MAPNet)

Two galleries are in use and must never be mixed: all images of the split (the official one), and the references and
targets of its queries alone (VAL, CoSMo), which is smaller and hence easier. Splits share pictures across categories:
1,180 of shirt's training images are also toptee's, 392 are toptee's val images. The truth of test is not public.
In 16 records (12 of train, 3 of val, 1 of test) one caption is empty; the published evaluations ask them nonetheless,
joined to the other by " and ", and so do we. Of test, 12 records repeat others; of train and val none does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import ClassVar, cast, get_args

from composir.datasets.base import Split
from composir.datasets.files import FileDataset, is_hidden
from composir.datasets.records import Record, read_names, records, require_distinct
from composir.errors import DataError
from composir.plugins import nearest
from composir.types import Join, Query, Task, Wording

CATEGORIES = ("dress", "shirt", "toptee")
METRICS = ("R@1", "R@5", "R@10", "R@50")
GALLERIES = {"original": "original split", "val": "VAL split (references and targets)"}
SEPARATE = "separate"


class FashionIQ(FileDataset):
    """FashionIQ as files.

    Args:
        root: The folder.
        gallery: "original" ranks all images of the split, "val" the references and targets of its queries alone.
        join: How a query's two captions become its text: as `Wording.join`; or "separate" (VAL, CoSMo), where each
            caption is a query of its own.
        drop_reference: Whether a query's own reference is taken out of its ranking (CoVR); the benchmark keeps it.
    """

    name: ClassVar[str] = "fashioniq"
    disjoint: ClassVar[bool] = False
    averages: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "R@10": ("R@10",),
        "R@50": ("R@50",),
        "Avg (Bi-BLIP4CIR, PANDA, MAPNet)": ("R@10", "R@50"),
    }
    layouts: ClassVar[str] = (
        "a folder with captions/cap.{dress,shirt,toptee}.{train,val,test}.json and "
        "image_splits/split.{dress,shirt,toptee}.{train,val,test}.json, or both in its annotations/"
    )

    def __init__(
        self, root: str | Path, *, gallery: str = "original", join: str = "and", drop_reference: bool = False
    ) -> None:
        if gallery not in GALLERIES:
            raise nearest(gallery, GALLERIES, "gallery of fashioniq")
        if join not in (*get_args(Join), SEPARATE):
            raise nearest(join, (*get_args(Join), SEPARATE), "join of fashioniq")
        self.gallery, self.join, self.drop_reference = gallery, join, drop_reference
        super().__init__(root, ("images", *CATEGORIES, "image_data"))

    def files_of(self, split: Split) -> tuple[Path, ...]:
        """Captions of the three categories, and their image splits where the gallery is made of these."""
        captions = [self._captions(category, split) for category in CATEGORIES]
        images = [self._images(category, split) for category in CATEGORIES if self.gallery == "original"]
        return (*captions, *images)

    def tasks(self, split: Split) -> list[Task]:
        """One task a category; query ids are the places in the file, "17", or "17/0" and "17/1" where separate."""
        self.check_split(split)
        return [self._task(category, split) for category in CATEGORIES]

    def triplets(self, split: Split) -> tuple[Query, ...]:
        """The queries of all categories with both captions each, ids "dress/17"; none where the truth is hidden."""
        self.check_split(split)
        found = []
        for category in CATEGORIES:
            queries, hidden = self._queries(category, split, f"{category}/")
            found += [] if hidden else queries
        return tuple(found)

    def _captions(self, category: str, split: Split) -> Path:
        self.check_split(split)
        return self.place(
            f"captions of {category} {split}", _places("captions", category, f"cap.{category}.{split}.json")
        )

    def _images(self, category: str, split: Split) -> Path:
        self.check_split(split)
        return self.place(
            f"image split of {category} {split}", _places("image_splits", category, f"split.{category}.{split}.json")
        )

    def _queries(self, category: str, split: Split, before: str) -> tuple[list[Query], bool]:
        found = records(self._captions(category, split))
        hidden = is_hidden(split, found, "target")
        queries = [_query(record, f"{before}{number}", hidden) for number, record in enumerate(found)]
        if split != "test":
            asked = ((query.reference, query.captions, query.targets) for query in queries)
            require_distinct(zip(asked, found, strict=True))
        return queries, hidden

    def _task(self, category: str, split: Split) -> Task:
        queries, hidden = self._queries(category, split, "")
        separate = self.join == SEPARATE
        return Task(
            name=category,
            gallery=self._gallery(category, split, queries, hidden),
            queries=tuple(chain.from_iterable(map(_separate, queries)) if separate else queries),
            metrics=METRICS,
            drop_reference=self.drop_reference,
            hidden=hidden,
            wording=Wording() if separate else Wording(cast("Join", self.join)),
            gallery_name=GALLERIES[self.gallery],
        )

    def _gallery(self, category: str, split: Split, queries: list[Query], hidden: bool) -> tuple[str, ...]:
        if self.gallery == "original":
            return read_names(self._images(category, split))
        if hidden:
            raise DataError(
                f"{self._captions(category, split)}: has no targets, of which gallery 'val' is made; "
                "for this split open fashioniq with gallery='original'"
            )
        # Sorted, so that a scorer without opinion gains nothing from the order of annotation.
        return tuple(sorted({name for query in queries for name in (query.reference, *query.targets)}))


def _places(kind: str, category: str, file: str) -> list[str]:
    return [f"{folder}{file}" for folder in (f"{kind}/", f"annotations/{kind}/", "annotations/", f"{category}/", "")]


def _query(record: Record, name: str, hidden: bool) -> Query:
    targets = () if hidden else (record.name("target"),)
    captions = record.texts("captions", 2)
    if not any(caption.strip() for caption in captions):
        raise record.error("key 'captions' holds blank texts alone; at least one that is not blank is needed")
    return Query(name, record.name("candidate"), captions, targets)


def _separate(query: Query) -> Iterator[Query]:
    for number, caption in enumerate(query.captions):
        yield Query(f"{query.id}/{number}", query.reference, (caption,), query.targets)
