"""Captions beside pictures: each picture has a text file of its name, one caption a line."""

from __future__ import annotations

from array import array
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from composir.datasets.captions.rows import hash_of
from composir.datasets.placed import PlacedFiles
from composir.datasets.records import nfc
from composir.errors import DataError

LONGEST = 1 << 20  # bytes of a text file


class FolderRows:
    """The text files below a folder; the path of each is held, and that of each picture asked for.

    The id of a picture is its path below the folder, without ending.

    Args:
        root: The folder.
        images: Its pictures.
    """

    def __init__(self, root: Path, images: PlacedFiles) -> None:
        self._root, self._images = root, images
        self._files: list[str] = []

    def scan(self) -> NDArray[np.uint64]:
        """List the text files; they are read when they are asked for."""
        self._files = [str(path) for _, path in PlacedFiles([self._root], (".txt",)).all()]
        if not self._files:
            raise DataError(f"{self._root}: holds no text file; each picture needs one of its name, a caption a line")
        return np.frombuffer(array("Q", (hash_of(self._id(file)) for file in self._files)), np.uint64)

    def row(self, number: int) -> tuple[str, tuple[str, ...]]:
        """Id and captions of one picture."""
        file = self._files[number]
        try:
            with open(file, "rb") as stream:
                data = stream.read(LONGEST + 1)
        except OSError as error:
            raise DataError(f"{file}: cannot be read ({error.strerror}); make it readable") from error
        if len(data) > LONGEST:
            raise DataError(f"{file}: has more than {LONGEST:,} bytes; a caption a line is needed")
        return self._id(file), captions_in(data, file)

    def path(self, image_id: str) -> Path | None:
        """The picture beside the text file."""
        return self._images.path(image_id)

    def _id(self, file: str) -> str:
        return nfc(Path(file).relative_to(self._root).with_suffix("").as_posix())


def captions_in(data: bytes, where: str) -> tuple[str, ...]:
    """Each line that is not blank.

    Raises:
        DataError: There is none, or it is not UTF-8; `where` names the file.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    captions = tuple(line.strip() for line in text.split("\n") if line.strip())
    if not captions:
        raise DataError(f"{where}: holds no caption; write one, or remove the picture and its text")
    return captions
