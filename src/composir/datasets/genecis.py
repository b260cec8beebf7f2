"""GeneCIS (Vaze et al. 2023), its two object tasks: each query is ranked against some 15 candidates of its own.

    genecis/{change_object,focus_object}.json  also in the root or annotations/
    val2017/%012d.jpg                          also coco/val2017/, images/ (COCO 2017 val)

"Focus" asks for the image that shares what the condition names, "change" for one where that is new; the text is the
bare condition. The files give the target apart from the 14 others. Here the candidates are sorted by number, so that
their order tells nothing: a scorer that gives all the same score must not find the target in the first place. In one
record of change_object the target is among the others as well; it counts once, and that query has 14 candidates. The
reference is never among them. The attribute tasks, over crops of Visual Genome, are not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from composir.datasets.base import Split
from composir.datasets.files import FileDataset, is_number
from composir.datasets.records import Record, records
from composir.types import Query, Task

TASKS = ("change_object", "focus_object")
METRICS = ("R@1", "R@2", "R@3")


class GeneCIS(FileDataset):
    """GeneCIS's object tasks as files.

    Args:
        root: The folder.
    """

    name: ClassVar[str] = "genecis"
    splits: ClassVar[tuple[Split, ...]] = ("test",)
    averages: ClassVar[Mapping[str, tuple[str, ...]]] = {"mean R@1": ("R@1",)}
    layouts: ClassVar[str] = (
        "a folder with change_object.json and focus_object.json, in it or in its genecis/ or annotations/"
    )
    remark: ClassVar[str] = "it is made for evaluation alone, and its truth is public"

    def __init__(self, root: str | Path) -> None:
        super().__init__(root, ("val2017", "coco/val2017", "COCO/val2017", "coco2017/val2017", "images"))

    def files_of(self, split: Split) -> tuple[Path, ...]:
        """One file a task."""
        self.check_split(split)
        return tuple(self._file(name) for name in TASKS)

    def tasks(self, split: Split) -> list[Task]:
        """Both tasks; query ids are the places in the file."""
        self.check_split(split)
        made = []
        for name in TASKS:
            queries = tuple(self._queries(name, ""))
            gallery = tuple(sorted({i for query in queries for i in query.subset}, key=int))
            told = "each query's own candidates"
            made.append(Task(name, gallery, queries, METRICS, False, own_candidates=True, gallery_name=told))
        return made

    def triplets(self, split: Split) -> tuple[Query, ...]:
        """The queries of both tasks, ids "focus_object/17"."""
        self.check_split(split)
        return tuple(query for name in TASKS for query in self._queries(name, f"{name}/"))

    def stems(self, image_id: str) -> tuple[str, ...]:
        """Twelve digits as COCO 2017 writes them, COCO 2014's name, or the number alone."""
        if not is_number(image_id):
            return ()
        number = image_id.zfill(12)
        return (number, f"COCO_val2014_{number}", image_id)

    def _file(self, name: str) -> Path:
        return self.place(name, [f"{folder}{name}.json" for folder in ("genecis/", "", "annotations/")])

    def _queries(self, name: str, before: str) -> list[Query]:
        return [_query(record, f"{before}{number}") for number, record in enumerate(records(self._file(name)))]


def _query(record: Record, name: str) -> Query:
    reference, target = _number(record.record("reference")), _number(record.record("target"))
    others = [_number(part) for part in record.parts("gallery")]
    if not others:
        raise record.error("key 'gallery' is empty; candidates beside the target are needed")
    if len(set(others)) != len(others):
        twice = next(number for number in others if others.count(number) > 1)
        raise record.error(f"key 'gallery' holds image {twice} more than once; each is needed once")
    subset = tuple(map(str, sorted({target, *others})))
    return Query(name, str(reference), (record.words("condition"),), (str(target),), subset)


def _number(record: Record) -> int:
    return record.number("val_image_id")
