"""CIRR (Liu et al. 2021, annotations "rc2"): one caption a query, and a small set of six look-alikes for each.

    cirr/captions/cap.rc2.{train,val,test1}.json        also captions/, cirr_dataset/captions/, annotations/
    cirr/image_splits/split.rc2.{train,val,test1}.json  likewise
    train/<n>/*.png  dev/*.png  test1/*.png             also val/ and test/ (MAPNet), img_raw/, images/

Pictures are found by stem, so that the paths in the image splits need not hold. The truth of test1 is not public;
predictions go to the authors' server. Only `target_hard` counts; the standard metric ignores `target_soft`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from composir.datasets.base import Split
from composir.datasets.files import FileDataset, is_hidden
from composir.datasets.records import Record, nfc, read_json, records, unique
from composir.types import Query, Task

LABEL: Mapping[Split, str] = {"train": "train", "val": "val", "test": "test1"}
SUBSET = 6  # pictures, the reference and the target among them
METRICS = ("R@1", "R@5", "R@10", "R@50", "Rs@1", "Rs@2", "Rs@3")


class CIRR(FileDataset):
    """CIRR as files.

    Args:
        root: The folder.
        drop_reference: Whether a query's own reference is taken out of its ranking, as the benchmark does.
    """

    name: ClassVar[str] = "cirr"
    aliases: ClassVar[Mapping[str, Split]] = {"test1": "test"}
    averages: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "Avg (Bi-BLIP4CIR, PANDA, MAPNet)": ("R@5", "Rs@1"),
        "Avg (ISA)": ("R@1", "R@5", "R@10", "R@50"),
    }
    layouts: ClassVar[str] = (
        "a folder with captions/cap.rc2.{train,val,test1}.json and image_splits/split.rc2.{train,val,test1}.json, "
        "both in it or in its cirr/, cirr_dataset/ or annotations/"
    )

    remark: ClassVar[str] = "test is what its authors call test1"

    def __init__(self, root: str | Path, *, drop_reference: bool = True) -> None:
        self.drop_reference = drop_reference
        super().__init__(
            root, ("train", "dev", "val", "test1", "test", "img_raw", "images", "cirr/img_raw", "cirr_dataset")
        )

    def files_of(self, split: Split) -> tuple[Path, ...]:
        """Captions and image split."""
        return self._captions(split), self._images(split)

    def tasks(self, split: Split) -> list[Task]:
        """One task, ranked over all images of the split."""
        queries, hidden = self._queries(split)
        gallery = _names(self._images(split))
        return [
            Task("cirr", gallery, queries, METRICS, self.drop_reference, hidden, gallery_name="all images of the split")
        ]

    def triplets(self, split: Split) -> tuple[Query, ...]:
        """All queries; none where the truth is hidden."""
        queries, hidden = self._queries(split)
        return () if hidden else queries

    def _captions(self, split: Split) -> Path:
        self.check_split(split)
        return self.place(f"captions of {split}", _places("captions", f"cap.rc2.{LABEL[split]}.json"))

    def _images(self, split: Split) -> Path:
        self.check_split(split)
        return self.place(f"image split of {split}", _places("image_splits", f"split.rc2.{LABEL[split]}.json"))

    def _queries(self, split: Split) -> tuple[tuple[Query, ...], bool]:
        found = records(self._captions(split))
        hidden = is_hidden(split, found, "target_hard")
        queries = tuple(_query(record, hidden) for record in found)
        unique((query.id, record) for query, record in zip(queries, found, strict=True))
        return queries, hidden


def _places(kind: str, file: str) -> list[str]:
    folders = [f"{above}{kind}/" for above in ("cirr/", "", "cirr_dataset/", "annotations/")]
    return [f"{folder}{file}" for folder in (*folders, "annotations/", "")]


def _query(record: Record, hidden: bool) -> Query:
    number, reference, group = record.number("pairid"), record.name("reference"), record.record("img_set")
    targets, members = () if hidden else (record.name("target_hard"),), group.names("members", SUBSET)
    for role, name in [("reference", reference), *(("target_hard", target) for target in targets)]:
        if name not in members:
            raise group.error(f"key 'members' lacks the {role} {name!r}; the {SUBSET} of a subset include both")
    return Query(
        id=str(number),
        reference=reference,
        captions=(record.text("caption"),),  # one of test1 is blank, and the server wants its answer
        targets=targets,
        subset=members,
    )


def _names(path: Path) -> tuple[str, ...]:
    """The keys of an image split, a JSON object from name to path."""
    split = Record(read_json(path), path, "the whole file")
    if not split.value:
        raise split.error("names no picture; download the file again")
    for name in split.value:
        split.text(name)
    names = tuple(dict.fromkeys(nfc(name) for name in split.value))
    if len(names) != len(split.value):
        raise split.error("names one picture twice, in two Unicode spellings of its name; keep one")
    return names
