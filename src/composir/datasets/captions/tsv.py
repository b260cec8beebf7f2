"""Captions in tab-separated files: one picture and one caption a line, with or without a line of column names."""

from __future__ import annotations

import unicodedata
from array import array
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from composir.datasets.captions.rows import hash_of
from composir.errors import ComposirError, DataError

IMAGE_NAMES = ("image", "img", "file", "filename", "filepath", "image_path", "image_file", "path")
CAPTION_NAMES = ("caption", "title", "text", "description", "sentence")
LONGEST = 1 << 20  # bytes of a line; a longer one is of another kind of file
READABLE = "a line is IMAGE<tab>CAPTION, in UTF-8; the option columns names another order, such as 'caption,image'"


class Columns(NamedTuple):
    """Where things stand in a line."""

    image: int
    caption: int
    width: int


class TsvRows:
    """The lines of some files; 8 bytes are held for each.

    The id of a picture is its path as it is written, relative to the folder of the first file.

    Args:
        files: In order.
        columns: "auto": by the names in the first line where it holds one of IMAGE_NAMES and one of CAPTION_NAMES,
            else the image first, the caption second. Or names of all columns, for files without such a line.
    """

    def __init__(self, files: Sequence[Path], columns: str = "auto") -> None:
        self._files, self._folder = tuple(files), files[0].parent
        self._given = None if columns == "auto" else _by_names(columns.split(","))
        if columns != "auto" and self._given is None:
            raise ComposirError(
                f"columns {columns!r} do not tell image from caption; name all columns in order, such as "
                f"'caption,image', the image as one of {', '.join(IMAGE_NAMES)}, the caption as one of "
                f"{', '.join(CAPTION_NAMES)}, others at will"
            )
        self._columns: list[Columns] = []
        self._first: list[int] = []  # row that each file begins with
        self._line: list[int] = []  # line that this row stands in, counted from 1
        self._starts = array("Q")

    def scan(self) -> NDArray[np.uint64]:
        """Read every line once; `DataError` names file and line of a broken one."""
        hashes = array("Q")
        self._columns, self._first, self._line, self._starts = [], [], [], array("Q")
        for path in self._files:
            self._first.append(len(hashes))
            with path.open("rb") as file:
                columns, line = self._begin(file)
                self._columns.append(columns)
                self._line.append(line)
                start = file.tell()
                while data := file.readline(LONGEST):
                    image, _ = _parse(data, columns, path, line)
                    hashes.append(hash_of(image))
                    self._starts.append(start)
                    start += len(data)
                    line += 1
            if len(hashes) == self._first[-1]:
                raise DataError(f"{path}: holds no row; {READABLE}")
        return np.frombuffer(hashes, np.uint64)

    def row(self, number: int) -> tuple[str, tuple[str, ...]]:
        """Path and caption of one line."""
        at = bisect_right(self._first, number) - 1
        with self._files[at].open("rb") as file:
            file.seek(self._starts[number])
            data = file.readline(LONGEST)
        line = self._line[at] + number - self._first[at]
        image, caption = _parse(data, self._columns[at], self._files[at], line)
        return image, (caption,)

    def path(self, image_id: str) -> Path | None:
        """The picture as it is named, in whichever Unicode form the file system has its name."""
        if _leaves(image_id):
            return None
        forms = {
            image_id: None,
            unicodedata.normalize("NFC", image_id): None,
            unicodedata.normalize("NFD", image_id): None,
        }
        return next((path for form in forms if (path := self._folder / form).is_file()), None)

    def _begin(self, file: BinaryIO) -> tuple[Columns, int]:
        """Columns, and the number of the first line with a row; the file then stands at its start."""
        head = file.readline(LONGEST)
        start = 3 if head.startswith(b"\xef\xbb\xbf") else 0
        names = head[start:].decode("utf-8", "replace").rstrip("\r\n").split("\t")
        if self._given is None and (named := _by_names(names)) is not None:
            return named, 2
        file.seek(start)
        return self._given or Columns(0, 1, 2), 1


def _by_names(names: Sequence[str]) -> Columns | None:
    plain = [name.strip().lower() for name in names]
    image = next((i for i, name in enumerate(plain) if name in IMAGE_NAMES), None)
    caption = next((i for i, name in enumerate(plain) if name in CAPTION_NAMES), None)
    return None if image is None or caption is None else Columns(image, caption, len(plain))


def _parse(data: bytes, columns: Columns, path: Path, line: int) -> tuple[str, str]:
    try:
        values = data.decode("utf-8").rstrip("\r\n").split("\t")
    except UnicodeDecodeError as error:
        if len(data) < LONGEST:
            raise DataError(f"{path}: line {line}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
        values = []
    if len(data) == LONGEST and not data.endswith(b"\n"):
        raise DataError(f"{path}: line {line}: is longer than {LONGEST:,} bytes; {READABLE}")
    if len(values) != columns.width:
        raise DataError(f"{path}: line {line}: holds {len(values)} columns, not {columns.width}; {READABLE}")
    image, caption = values[columns.image], values[columns.caption].strip()
    if not image.strip() or not caption:
        raise DataError(f"{path}: line {line}: the {'caption' if image.strip() else 'image'} is empty; {READABLE}")
    if _leaves(image):
        raise DataError(f"{path}: line {line}: image {image!r} lies elsewhere; give its path below {path.parent}")
    return image, caption


def _leaves(image: str) -> bool:
    """Whether a path leads out of the folder."""
    return image.startswith("/") or (".." in image and ".." in image.split("/")) or "\0" in image
