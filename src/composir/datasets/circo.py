"""CIRCO (Baldrati et al. 2023): several right answers a query, a shared concept, one gallery for val and test.

    annotations/{val,test}.json                                            also in the root
    COCO2017_unlabeled/annotations/image_info_unlabeled2017.json           also annotations/, the root
    COCO2017_unlabeled/unlabeled2017/%012d.jpg                             also unlabeled2017/, images/

The gallery is all of COCO's 123,403 unlabeled images, as `image_info_unlabeled2017.json` lists them. Where that file is
missing it is known in part alone, as the pictures that are there and those that the annotations name: enough to score
predictions, not to rank. There is no training split, and the truth of test is not public. Image ids are COCO's
numbers without leading zeros.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from composir.datasets.base import Split
from composir.datasets.files import FileDataset, NotFoundError, is_hidden, is_number
from composir.datasets.records import Record, read_json, records, unique
from composir.errors import DataError
from composir.types import Query, Task, Wording

METRICS = (*(f"{metric}@{k}" for metric in ("mAP", "Recall") for k in (5, 10, 25, 50)), "mAP@10/*")
WITH_CONCEPT = Wording(template="find {shared_concept} but {text}")
INFO = "image_info_unlabeled2017.json"


class CIRCO(FileDataset):
    """CIRCO as files.

    Args:
        root: The folder.
        drop_reference: Whether a query's own reference is taken out of its ranking (CoVR); the benchmark keeps it.
        use_shared_concept: Whether the text is "find <shared concept> but <caption>" (MagicLens) instead of the caption
            alone.
    """

    name: ClassVar[str] = "circo"
    splits: ClassVar[tuple[Split, ...]] = ("val", "test")
    disjoint: ClassVar[bool] = False
    averages: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Avg mAP (PANDA, ISA)": ("mAP@5", "mAP@10", "mAP@25", "mAP@50"),
    }
    layouts: ClassVar[str] = (
        "a folder with annotations/{val,test}.json, and for a ranking COCO2017_unlabeled/ with annotations/"
        f"{INFO} and unlabeled2017/"
    )
    remark: ClassVar[str] = "it is made for evaluation, without any training data"

    def __init__(self, root: str | Path, *, drop_reference: bool = False, use_shared_concept: bool = False) -> None:
        self.drop_reference, self.use_shared_concept = drop_reference, use_shared_concept
        super().__init__(root, ("COCO2017_unlabeled/unlabeled2017", "unlabeled2017", "images"))

    def files_of(self, split: Split) -> tuple[Path, ...]:
        """Annotations, and the list of the gallery if it is there."""
        info = self._info()
        return (self._annotations(split), *([] if info is None else [info]))

    def tasks(self, split: Split) -> list[Task]:
        """One task, ranked over all of COCO's unlabeled images."""
        queries, hidden = self._queries(split)
        gallery, gallery_name = self._gallery()
        wording = WITH_CONCEPT if self.use_shared_concept else Wording()
        return [
            Task(
                "circo",
                gallery,
                queries,
                METRICS,
                self.drop_reference,
                hidden,
                wording=wording,
                gallery_name=gallery_name,
            )
        ]

    def triplets(self, split: Split) -> tuple[Query, ...]:
        """All queries; none where the truth is hidden."""
        queries, hidden = self._queries(split)
        return () if hidden else queries

    def unlisted(self, split: Split) -> str:  # noqa: ARG002  (one gallery serves all)
        """Says so if COCO's list of the gallery is missing."""
        if self._info() is not None:
            return ""
        return f"{INFO}, which lists the 123,403 pictures of the gallery, is not in {self.root}; put it there"

    def stems(self, image_id: str) -> tuple[str, ...]:
        """Twelve digits as COCO writes them, or the number alone."""
        return (image_id.zfill(12), image_id) if is_number(image_id) else ()

    def _annotations(self, split: Split) -> Path:
        self.check_split(split)
        return self.place(f"annotations of {split}", (f"annotations/{split}.json", f"{split}.json"))

    def _info(self) -> Path | None:
        folders = ("COCO2017_unlabeled/annotations", "annotations", "COCO2017_unlabeled", ".")
        return next((path for folder in folders if os.path.isfile(path := self.root / folder / INFO)), None)

    def _queries(self, split: Split) -> tuple[tuple[Query, ...], bool]:
        found = records(self._annotations(split))
        hidden = is_hidden(split, found, "target_img_id")
        queries = tuple(_query(record, hidden) for record in found)
        unique((query.id, record) for query, record in zip(queries, found, strict=True))
        return queries, hidden

    def _gallery(self) -> tuple[tuple[str, ...], str]:
        info = self._info()
        if info is not None:
            return _listed(info), "COCO 2017 unlabeled"
        there = (int(stem) for stem, _ in self.images.all() if stem.isascii() and stem.isdigit())
        return _in_order((*there, *self._annotated())), f"known in part: {INFO} is missing"

    def _annotated(self) -> Iterator[int]:
        """Every image that the annotations of any split name."""
        for split in self.splits:
            try:
                queries, _ = self._queries(split)
            except NotFoundError:
                continue
            for query in queries:
                yield from map(int, (query.reference, *query.targets))


def _query(record: Record, hidden: bool) -> Query:
    return Query(
        id=str(record.number("id")),
        reference=str(record.number("reference_img_id")),
        captions=(record.words("relative_caption"),),
        targets=() if hidden else _targets(record),
        shared_concept=record.text("shared_concept"),
        aspects=record.texts("semantic_aspects") if record.has("semantic_aspects") else (),
    )


def _targets(record: Record) -> tuple[str, ...]:
    """All ground truths, the single annotated one first."""
    first, truths = record.number("target_img_id"), record.numbers("gt_img_ids")
    if first not in truths:
        raise record.error(f"target_img_id {first} is not among gt_img_ids; add it there")
    return tuple(map(str, (first, *(truth for truth in truths if truth != first))))


def _listed(path: Path) -> tuple[str, ...]:
    """Ids of COCO's list of images, in its order."""
    images = Record(read_json(path), path, "the whole file").parts("images")
    ids = tuple(str(image.number("id")) for image in images)
    if not ids:
        raise DataError(f"{path}: lists no image; download the file again")
    unique(zip(ids, images, strict=True))
    return ids


def _in_order(numbers: Iterable[int]) -> tuple[str, ...]:
    return tuple(str(number) for number in sorted(set(numbers)))
