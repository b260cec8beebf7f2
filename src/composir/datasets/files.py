"""Data sets that are files: pictures found by name in a few folders, annotation files found at any accepted place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from PIL import Image

from composir.datasets.base import Dataset, Split
from composir.datasets.records import Record, nfc
from composir.errors import AbsentError, DataError
from composir.images import ImageError, load_image
from composir.types import Pair

IMAGE_SUFFIXES = frozenset(
    {
        ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp",
    }
)  # fmt: skip
"""Endings of the files that count as pictures, whatever their case."""


def stem_of(name: str) -> str:
    """A name of a picture without its ending, if that is one of a picture; "a/b.v2" stays whole."""
    root, suffix = os.path.splitext(name)
    return root if suffix.lower() in IMAGE_SUFFIXES else name


class ImageFiles:
    """The pictures below some folders, by stem: any ending, flat or nested, names compared in Unicode's form NFC.

    The folders are walked once, when a picture is first asked for; links are followed, each real folder is entered
    once, hidden names are passed by. A pickled copy walks again: it carries the folders alone.

    Args:
        roots: Folders; those that do not exist hold nothing.
        suffixes: Endings of pictures, in lower case with their dot.
    """

    def __init__(self, roots: Sequence[Path], suffixes: Iterable[str] = IMAGE_SUFFIXES) -> None:
        self.roots = tuple(Path(root) for root in roots)
        self.suffixes = frozenset(suffixes)
        self._found: dict[str, str | list[str]] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_found": None}

    def path(self, stem: str) -> Path | None:
        """The file of a picture, or None.

        Args:
            stem: "sub/stem", relative to one of the folders, or a bare stem wherever below them it lies. Of several
                files the first in sorted order is taken, for a bare stem those right in a folder before nested ones.

        Raises:
            DataError: A folder cannot be listed.
        """
        folder, _, name = nfc(stem).rpartition("/")
        files = self._files(name)
        if not folder:
            return Path(files[0] if len(files) == 1 else self._first_flat(files)) if files else None
        return next((Path(file) for file in files if folder in self._folders(file)), None)

    def copies(self) -> dict[str, list[Path]]:
        """Stems that more than one file bears, with those files, all sorted."""
        found = self._index()
        return {s: [Path(f) for f in found[s]] for s in sorted(found) if isinstance(found[s], list)}

    def all(self) -> Iterator[tuple[str, Path]]:
        """Every picture as stem and file, sorted by stem, then by file."""
        for stem in sorted(self._index()):
            for file in self._files(stem):
                yield stem, Path(file)

    def _index(self) -> dict[str, str | list[str]]:
        """Stem -> its file, or its files, sorted, where there are several."""
        if self._found is None:
            found: dict[str, str | list[str]] = {}
            for folder, name, suffix in self._walk():
                stem, file = nfc(name[: -len(suffix)]), os.path.join(folder, name)
                other = found.setdefault(stem, file)
                if other is file:
                    continue
                if isinstance(other, str):
                    found[stem] = other = [other]
                other.append(file)
            for files in found.values():
                if isinstance(files, list):
                    files.sort()
            self._found = found
        return self._found

    def _walk(self) -> Iterator[tuple[str, str, str]]:
        """Folder, file name and its ending, of every picture."""
        seen: set[tuple[int, int]] = set()
        waiting = [str(root) for root in reversed(self.roots) if os.path.isdir(root)]
        while waiting:
            folder = waiting.pop()
            identity, entries = _entries(folder)
            if identity in seen:
                continue
            seen.add(identity)
            below = []
            for name, is_folder in entries:
                suffix = os.path.splitext(name)[1]
                if name.startswith("."):
                    continue
                if is_folder:
                    below.append(os.path.join(folder, name))
                elif suffix.lower() in self.suffixes:
                    yield folder, name, suffix
            waiting.extend(sorted(below, reverse=True))

    def _files(self, name: str) -> Sequence[str]:
        files = self._index().get(name, ())
        return [files] if isinstance(files, str) else files

    def _first_flat(self, files: Sequence[str]) -> str:
        return next((file for file in files if "" in self._folders(file)), files[0])

    def _folders(self, file: str) -> set[str]:
        """The folder of a file relative to each root that it lies below, "" right in it."""
        parents = {root: Path(file).parent for root in self.roots}
        return {
            "" if parent == root else nfc(parent.relative_to(root).as_posix())
            for root, parent in parents.items()
            if parent.is_relative_to(root)
        }


def _entries(folder: str) -> tuple[tuple[int, int], list[tuple[str, bool]]]:
    """A folder's identity, and its entries as name and whether it is a folder too."""
    try:
        status = os.stat(folder)
        with os.scandir(folder) as found:
            return (status.st_dev, status.st_ino), [(entry.name, _is_folder(entry)) for entry in found]
    except OSError as error:
        why = f"{folder}: cannot be listed ({error.strerror}), so the pictures in it cannot be found"
        raise DataError(f"{why}; make it readable, or give a root without it") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself: whatever it was to be, opening it will tell
        return False


class NotFoundError(DataError):
    """No annotation file lies at any place where one is accepted.

    Attributes:
        tried: The places.
    """

    def __init__(self, message: str, tried: Sequence[Path] = ()) -> None:
        super().__init__(message)
        self.tried = tuple(tried)


class FileDataset(Dataset):
    """A data set whose pictures and annotations are files below one folder.

    Attributes:
        root: The folder.
        images: Its pictures.
        layouts: What such a folder must hold, in a sentence, for messages.
        remark: What is to be said of its splits where one is asked for that it lacks.
        root_is_folder: False where `root` may be a file or a pattern of files.
    """

    layouts: ClassVar[str]
    root_is_folder: ClassVar[bool] = True
    remark: ClassVar[str] = ""

    def __init__(self, root: str | Path, images: Sequence[str] = ()) -> None:
        """Open it.

        Args:
            root: The folder.
            images: Places of pictures below it, as glob patterns; where none exists, all of the folder is searched.

        Raises:
            DataError: `root` is no folder, or holds no split of this set.
        """
        self.root = Path(root).expanduser()
        if not os.path.isdir(self.root):
            raise DataError(f"{self.root}: there is no such folder; for {self.name} give {self.layouts}")
        there = [path for place in images for path in sorted(self.root.glob(place)) if os.path.isdir(path)]
        self.images = ImageFiles(there or [self.root])
        tried: list[Path] = []
        for split in self.splits:
            try:
                self.files_of(split)
            except NotFoundError as error:
                tried += error.tried
            else:
                return
        raise self._not_found(f"no annotations of {', '.join(self.splits)}", tried)

    def files_of(self, split: Split) -> tuple[Path, ...]:
        """The annotation files that a split is read from.

        Raises:
            DataError: One is missing; every place that was tried is named.
        """
        self.check_split(split)
        return ()

    def pairs(self, split: Split) -> Sequence[Pair]:
        """None, unless the set has captions of single pictures."""
        self.check_split(split)
        return ()

    def stems(self, image_id: str) -> tuple[str, ...]:
        """Names, without ending, that the file of a picture may bear; the id itself unless a set says otherwise."""
        return (image_id,)

    def path(self, image_id: str) -> Path | None:
        """The file of a picture, or None."""
        found = (self.images.path(stem) for stem in self.stems(image_id))
        return next((path for path in found if path is not None), None)

    def image(self, image_id: str) -> Image.Image:
        """The picture, RGB, upright.

        Raises:
            DataError: No file bears this id, or it cannot be read; path and remedy are named.
        """
        path = self.path(image_id)
        if path is None:
            others = self.stems(image_id) not in ((), (image_id,))
            names = f"named {' or '.join(map(repr, self.stems(image_id)))}" if others else "of that name"
            below = ", ".join(str(root) for root in self.images.roots)
            raise AbsentError(
                f"{self.name} has no picture {image_id!r}: no file {names}, whatever its ending, lies below "
                f"{below}; put it there (`composir data check {self.name} {self.root}` lists all that are missing)"
            )
        try:
            return load_image(path)
        except ImageError as error:
            raise DataError(f"picture {image_id!r} of {self.name} cannot be read: {error}") from error

    def missing(self, ids: Iterable[str]) -> list[str]:
        """Those of `ids` for which there is no file, in their order; told without opening any."""
        return [image_id for image_id in ids if self.path(image_id) is None]

    def place(self, what: str, places: Iterable[str]) -> Path:
        """The first of `places` below the root that is a file.

        Args:
            what: What is looked for, in messages.
            places: POSIX paths, the likeliest first.

        Raises:
            DataError: None is; every place that was tried is named.
        """
        tried = [self.root / place for place in places]
        found = next((path for path in tried if os.path.isfile(path)), None)
        if found is None:
            raise self._not_found(f"no {what}", tried)
        return found

    def check_split(self, split: str) -> None:
        """Refuse a split that the set does not have.

        Raises:
            DataError: It names the splits that there are.
        """
        if split not in self.splits:
            remark = f" ({self.remark})" if self.remark else ""
            raise DataError(f"{self.name} has no split {split!r}; there is {', '.join(self.splits)}{remark}")

    def _not_found(self, what: str, tried: Sequence[Path]) -> NotFoundError:
        looked = "".join(f"\n  {path}" for path in dict.fromkeys(tried))
        return NotFoundError(f"{self.name}: {what} at {self.root}; give {self.layouts}. Tried:{looked}", tried)


def is_hidden(split: Split, annotations: Iterable[Record], key: str) -> bool:
    """Whether the truth of a split is not public: it is the test split, and no record has the key of the target."""
    return split == "test" and not any(record.has(key) for record in annotations)


def is_number(image_id: str) -> bool:
    """Whether an id is a whole number as Python writes it: ASCII digits, no zero before others."""
    return image_id.isascii() and image_id.isdigit() and (image_id == "0" or image_id[0] != "0")
