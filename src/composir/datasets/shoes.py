"""Shoes (Guo et al. 2018): one relative caption a query over the shoes of the Attribute Discovery data.

    relative_captions_shoes.json               in the root or dataset/ (as the repository has them), annotations/
    train_im_names.txt  eval_im_names.txt      likewise; they make the splits, by the target
    captions_shoes.json                        likewise, may be missing: captions of single pictures
    womens_*/{0,1}/img_womens_*.jpg            also attributedata/womens_*/, images/

The gallery is all images of the split and the reference stays in it (VAL). The evaluation list is the split "test";
there is no val. The PANDA paper's "4,658 validation queries" are the images of that gallery; its queries are 1,761.
In 27 records, one of them of test, reference and target are one image. An image's id is the stem of its name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from composir.datasets.base import Split
from composir.datasets.files import FileDataset, stem_of
from composir.datasets.records import read_lines, records, require_distinct
from composir.errors import DataError
from composir.types import Pair, Query, Task

METRICS = ("R@1", "R@10", "R@50")
LISTS: Mapping[Split, str] = {"train": "train_im_names.txt", "test": "eval_im_names.txt"}
RELATIVE = "relative_captions_shoes.json"
PLAIN = "captions_shoes.json"


class Shoes(FileDataset):
    """Shoes as files.

    Args:
        root: The folder.
        drop_reference: Whether a query's own reference is taken out of its ranking; the benchmark keeps it.
    """

    name: ClassVar[str] = "shoes"
    splits: ClassVar[tuple[Split, ...]] = ("train", "test")
    layouts: ClassVar[str] = f"a folder with {RELATIVE}, {LISTS['train']} and {LISTS['test']}, in it or in its dataset/"
    remark: ClassVar[str] = "its evaluation list is test, a val split was never made"

    def __init__(self, root: str | Path, *, drop_reference: bool = False) -> None:
        self.drop_reference = drop_reference
        super().__init__(root, ("womens_*", "attributedata/womens_*", "images"))

    def files_of(self, split: Split) -> tuple[Path, ...]:
        """Relative captions and both lists of names, and the captions of single pictures if they are there."""
        self.check_split(split)
        needed = [self._file(name) for name in (RELATIVE, *LISTS.values())]
        plain = self._plain()
        return (*needed, *([] if plain is None else [plain]))

    def tasks(self, split: Split) -> list[Task]:
        """One task, ranked over all images of the split; query ids are the places in the file."""
        gallery = tuple(self._names(split))
        queries = self.triplets(split)
        name = "all images of the split"
        return [Task("shoes", gallery, queries, METRICS, self.drop_reference, gallery_name=name)]

    def triplets(self, split: Split) -> tuple[Query, ...]:
        """The queries whose target is in the split's list of names."""
        mine, others = self._names(split), self._names("test" if split == "train" else "train")
        for name in mine.keys() & others.keys():
            places = [self._file(name) for name in LISTS.values()]
            raise DataError(f"{places[0]}: names {name!r}, which is in {places[1]} too; keep it in one")
        found, said = [], []
        for number, record in enumerate(records(self._file(RELATIVE))):
            target, reference = stem_of(record.name("ImageName")), stem_of(record.name("ReferenceImageName"))
            caption = record.words("RelativeCaption")
            said.append(((target, reference, caption), record))
            if target not in mine and target not in others:
                raise record.error(f"ImageName {target!r} is in neither {' nor '.join(LISTS.values())}; add it to one")
            if target in mine:
                found.append(Query(str(number), reference, (caption,), (target,)))
        require_distinct(said)
        if not found:
            raise DataError(f"{self._file(RELATIVE)}: no target is in {LISTS[split]}; download both files again")
        return tuple(found)

    def pairs(self, split: Split) -> tuple[Pair, ...]:
        """Pictures of the split with the captions that tell of them alone; none where their file is missing."""
        mine, path = self._names(split), self._plain()
        captions: dict[str, tuple[str, ...]] = {}
        said = []
        for record in [] if path is None else records(path):
            name, caption = stem_of(record.name("ImageName")), record.words("Caption")
            said.append(((name, caption), record))
            if name in mine:
                captions[name] = (*captions.get(name, ()), caption)
        require_distinct(said)
        return tuple(Pair(name, name, texts) for name, texts in captions.items())

    def _file(self, name: str) -> Path:
        return self.place(name, _places(name))

    def _plain(self) -> Path | None:
        return next((path for place in _places(PLAIN) if os.path.isfile(path := self.root / place)), None)

    def _names(self, split: Split) -> dict[str, None]:
        """Ids of a split, in the order of its list."""
        self.check_split(split)
        path = self._file(LISTS[split])
        names = read_lines(path)
        found = dict.fromkeys(map(stem_of, names))
        if len(found) != len(names):
            raise DataError(f"{path}: names one picture twice, with two endings; keep one")
        return found


def _places(name: str) -> list[str]:
    return [f"{folder}{name}" for folder in ("", "dataset/", "annotations/")]
