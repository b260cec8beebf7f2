"""Pictures with captions, of any number: tab-separated files, tar shards, or a text file beside each picture.

rows.py   pairs that stay on disk, splits by hash      tsv.py      lines of IMAGE<tab>CAPTION
tar.py    shards of KEY.jpg with KEY.txt or KEY.json   folder.py   NAME.jpg with NAME.txt
"""

from __future__ import annotations

import glob
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

from PIL import Image

from composir.datasets.base import Split
from composir.datasets.captions.folder import FolderRows
from composir.datasets.captions.rows import Index, Pairs
from composir.datasets.captions.tar import TarRows
from composir.datasets.captions.tsv import TsvRows
from composir.datasets.files import FileDataset
from composir.datasets.placed import PlacedFiles
from composir.errors import AbsentError, ComposirError, DataError
from composir.plugins import nearest
from composir.types import Query, Task

FORMATS = ("auto", "tsv", "tar", "txt")


class Captions(FileDataset):
    """Image-caption pairs for pre-training; nothing is asked of them, so there is no task and no triplet.

    Of each row of a TSV file and each picture of a shard only a few numbers are held, of each picture of a folder its
    path, so more than a million belong in shards. No text is held, it is read anew each time. Opening is instant; the
    first use of `pairs` reads all of a TSV file, or the headers of the shards.

    Attributes:
        format: "tsv", "tar" or "txt".
    """

    name: ClassVar[str] = "captions"
    root_is_folder: ClassVar[bool] = False
    layouts: ClassVar[str] = (
        "a .tsv file of IMAGE<tab>CAPTION lines, .tar shards of KEY.jpg with KEY.txt or KEY.json, or a folder of "
        "pictures with a .txt file of the same name each"
    )

    # Not that of the base class, which asks for splits that such a set need not have.
    def __init__(
        self,
        root: str | Path,
        *,
        format: str = "auto",
        columns: str = "auto",
        val: float = 0.0,
        test: float = 0.0,
    ) -> None:
        """Open it.

        Args:
            root: A folder (with .tsv files right in it, or .tar files or pictures and .txt files anywhere below it),
                a single .tsv or .tar file, or a pattern of .tar files such as "shards/0*.tar".
            format: "auto" goes by what is there.
            columns: Of TSV files: "auto" goes by the first line, else the image comes first; or the names of all
                columns, such as "caption,image".
            val: Share of the pictures in val, 0..1.
            test: Share in test. A hash of a picture's id decides, so it stays where it is when others are added.

        Raises:
            DataError: There is nothing of this format, or of several.
            ComposirError: A format, columns or shares outside what is allowed.
        """
        if format not in FORMATS:
            raise nearest(format, FORMATS, "format")
        if val < 0 or test < 0 or val + test > 1:
            raise ComposirError(f"val={val} and test={test} are no shares; 0 or more each and at most 1 together")
        self.root = Path(root).expanduser()
        self.format, files = _find(self.root, format)
        self._shares = (val, test)
        # What exists depends on the shares; only here is it more than the class says.
        self.splits = tuple(s for s in self._possible() if s)  # pyright: ignore[reportAttributeAccessIssue]
        folder = self.root if self.root.is_dir() else self.root.parent
        self.images = placed = PlacedFiles(() if self.format == "tar" else [folder])
        if columns != "auto" and self.format != "tsv":
            raise ComposirError(f"columns are of TSV files; {self.root} is read as {self.format}")
        self._rows = {
            "tsv": lambda: TsvRows(files, columns),
            "tar": lambda: TarRows(_shard_names(self.root, files)),
            "txt": lambda: FolderRows(folder, placed),
        }[self.format]()

    def __getstate__(self) -> dict[str, object]:
        # Worker processes want pictures, not captions; in shards those too are found by the index, so it goes along.
        left_out = () if self.format == "tar" else ("_index",)
        return {key: value for key, value in self.__dict__.items() if key not in left_out}

    def tasks(self, split: Split) -> list[Task]:
        """None: captions ask nothing."""
        self.check_split(split)
        return []

    def triplets(self, split: Split) -> Sequence[Query]:
        """None: captions compose nothing."""
        self.check_split(split)
        return []

    def pairs(self, split: Split) -> Pairs:
        """Each picture with all its captions, in file order, read when it is asked for.

        Raises:
            DataError: A broken row, by file and line, at once where its form is wrong; or a split without pictures.
        """
        self.check_split(split)
        found = Pairs(self._rows, self._index.pictures(split))
        if not found:
            val, test = self._shares
            raise DataError(f"{self.root}: at val={val} and test={test} no picture falls to {split}; give other shares")
        return found

    def files_of(self, split: Split) -> tuple[Path, ...]:
        """The tables or the shards, the same for every split; none where each picture has a text of its own."""
        self.check_split(split)
        return tuple(_find(self.root, self.format)[1])

    def stems(self, image_id: str) -> tuple[str, ...]:
        """The id itself; none where a table names its files by their paths."""
        return () if self.format == "tsv" else (image_id,)

    def path(self, image_id: str) -> Path | None:
        """The file of a picture; None too for one in a shard."""
        return self._rows.path(image_id)

    def image(self, image_id: str) -> Image.Image:
        """The picture, RGB, upright; out of its shard where there are shards.

        Raises:
            DataError: There is none of this id, or it cannot be read.
        """
        if not isinstance(self._rows, TarRows):
            return super().image(image_id)
        number = self._in_shards(image_id)
        if number is None:
            raise AbsentError(
                f"{self.name} has no picture {image_id!r}: no shard of {self.root} holds it as SHARD/KEY; put it there"
            )
        return self._rows.image(number)

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of `ids` without a file, or in no shard, in their order; none is opened."""
        if self.format != "tar":
            return super().missing(ids)
        return [image_id for image_id in ids if self._in_shards(image_id) is None]

    def _in_shards(self, image_id: str) -> int | None:
        number = self._index.find(image_id)
        rows = self._rows
        return number if number is not None and isinstance(rows, TarRows) and rows.id(number) == image_id else None

    def _possible(self) -> Iterable[Split | None]:
        val, test = self._shares
        return ("train" if val + test < 1 else None, "val" if val else None, "test" if test else None)

    @cached_property
    def _index(self) -> Index:
        return Index(self._rows.scan(), *self._shares)


def _find(root: Path, format: str) -> tuple[Literal["tsv", "tar", "txt"], list[Path]]:
    """The format, and the files of it, in order."""
    if root.is_file():
        there: dict[str, list[Path]] = {kind: [root] for kind in ("tsv", "tar") if root.suffix.lower() == f".{kind}"}
    elif root.is_dir():
        tsv = [path for path in sorted(root.iterdir()) if path.suffix.lower() == ".tsv" and path.is_file()]
        there = {"tsv": tsv, "tar": sorted(root.rglob("*.tar"))}
    else:
        shards = sorted(Path(path) for path in glob.glob(str(root)))
        there = {"tar": [path for path in shards if path.suffix.lower() == ".tar"]}
    there = {kind: files for kind, files in there.items() if files}
    if root.is_dir() and (format == "txt" or not there):
        there["txt"] = []
    wanted = list(there) if format == "auto" else [kind for kind in there if kind == format]
    if not wanted:
        told = "nothing of that kind is there" if root.exists() or there else "there is no such file or folder"
        raise DataError(f"{root}: {told} (format {format!r}); for {Captions.name} give {Captions.layouts}")
    if len(wanted) > 1:
        raise DataError(f"{root}: holds {' and '.join(wanted)} files; say which by format={wanted[0]!r}")
    return wanted[0], there[wanted[0]]  # type: ignore[return-value]


def _shard_names(root: Path, files: Sequence[Path]) -> dict[str, Path]:
    """What each shard is called in the ids of its pictures: its path below `root`, or its name, without ending."""
    names: dict[str, Path] = {}
    for path in files:
        name = (path.relative_to(root) if root.is_dir() else Path(path.name)).with_suffix("").as_posix()
        if name in names:
            raise DataError(
                f"{names[name]} and {path} are two shards called {name!r}; rename one, or name their folder"
            )
        names[name] = path
    return names
