"""LaSCo (Levy et al. 2024): 389,305 queries over COCO 2014, one text and one target each.

    lasco_{train,val}.json                     also downloads/ (as the repository has them), annotations/ (MAPNet)
    lasco_{train,val}_corpus.json              likewise; a list of {"id", "path"} or an object from id to path
    train2014/*.jpg  val2014/*.jpg             also images/, flat or nested

An image's id is the stem of its path, "COCO_val2014_000000028714": the paths of the val corpus begin with a "val/" that
those of the queries lack, and neither need hold. There is no test split. Whether the reference is taken out of its own
ranking is told nowhere; it is kept unless asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from composir.datasets.base import Split
from composir.datasets.files import FileDataset, stem_of
from composir.datasets.records import Record, is_unicode, nfc, read_json, records, told, unique
from composir.errors import DataError
from composir.types import Query, Task

METRICS = ("R@1", "R@5", "R@10", "R@50", "R@500", "R@1000")


class LaSCo(FileDataset):
    """LaSCo as files.

    Args:
        root: The folder.
        drop_reference: Whether a query's own reference is taken out of its ranking.
    """

    name: ClassVar[str] = "lasco"
    splits: ClassVar[tuple[Split, ...]] = ("train", "val")
    layouts: ClassVar[str] = (
        "a folder with lasco_{train,val}.json and lasco_{train,val}_corpus.json, in it or in its downloads/ or "
        "annotations/"
    )

    def __init__(self, root: str | Path, *, drop_reference: bool = False) -> None:
        self.drop_reference = drop_reference
        super().__init__(root, ("train2014", "val2014", "images", "train", "val"))

    def files_of(self, split: Split) -> tuple[Path, ...]:
        """Queries and corpus."""
        return self._file(split, "queries", ""), self._file(split, "corpus", "_corpus")

    def tasks(self, split: Split) -> list[Task]:
        """One task, ranked over the corpus of the split."""
        gallery = _corpus(self._file(split, "corpus", "_corpus"))
        queries = self.triplets(split)
        return [Task("lasco", gallery, queries, METRICS, self.drop_reference, gallery_name=f"{split} corpus")]

    def triplets(self, split: Split) -> tuple[Query, ...]:
        """All queries."""
        found = records(self._file(split, "queries", ""))
        stems: dict[int, str] = {}
        queries = tuple(_query(record, stems) for record in found)
        unique((query.id, record) for query, record in zip(queries, found, strict=True))
        return queries

    def _file(self, split: Split, what: str, suffix: str) -> Path:
        self.check_split(split)
        folders = ("", "downloads/", "annotations/", "annotations/downloads/")
        return self.place(f"{what} of {split}", [f"{folder}lasco_{split}{suffix}.json" for folder in folders])


def _query(record: Record, stems: dict[int, str]) -> Query:
    return Query(
        id=str(record.number("qid")),
        reference=_image(record, "query-image", stems),
        captions=(record.text("query-text"),),  # should a published one be blank, it is read, and the doctor tells
        targets=(_image(record, "target-image", stems),),
    )


def _image(record: Record, key: str, stems: dict[int, str]) -> str:
    """The stem of a [number, path]; `stems` remembers which number was whose, and holds each stem but once."""
    number, path = record.values(key, "number and path", 2)
    if type(number) is not int or not isinstance(path, str) or not is_unicode(path):
        raise record.error(f"key {key!r} holds {told(number)} and {told(path)}; a number and a path are needed")
    stem = _stem(path)
    if not stem.strip():
        raise record.error(f"key {key!r} holds {told(path)}, which is no path of a picture")
    known = stems.setdefault(number, stem)
    if known != stem:
        raise record.error(f"key {key!r} gives image {number} the name {stem!r}, which was {known!r} before")
    return known


def _stem(path: str) -> str:
    return nfc(stem_of(path.replace("\\", "/").rpartition("/")[2]))


def _corpus(path: Path) -> tuple[str, ...]:
    """Stems of a corpus file in its order."""
    stems: dict[str, str] = {}
    for place, name in _paths(path):
        stem = _stem(name)
        first = stems.setdefault(stem, place)
        if not stem or first is not place:
            why = f"{stem!r} stands in {first} too" if stem else f"{name!r} is no path of a picture"
            raise DataError(f"{path}: {place}: {why}; mend the file or download it again")
    if not stems:
        raise DataError(f"{path}: lists no image; download the file again")
    return tuple(stems)


def _paths(path: Path) -> Iterator[tuple[str, str]]:
    """Place and path of each image, of either shape of a corpus file."""
    value = read_json(path)
    if isinstance(value, dict):
        whole = Record(value, path, "the whole file")
        for number in whole.value:
            yield f"key {number!r}", whole.text(number)
        return
    if not isinstance(value, list):
        raise DataError(f"{path}: holds {told(value)}; a list of images, or an object from id to path, is needed")
    for index, item in enumerate(value):
        record = Record(item, path, index)
        record.number("id")
        yield record.place, record.text("path")
