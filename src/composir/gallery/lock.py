"""One writer at a time: an advisory lock on a file, released by the system when its holder ends, however it ends."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from composir.errors import GalleryError


@contextlib.contextmanager
def exclusive(path: Path, otherwise: str) -> Iterator[None]:
    """Hold the lock file `path`.

    Raises:
        GalleryError: Somebody else holds it; the message is `otherwise`.
    """
    with path.open("a+b") as file:
        try:
            _lock(file)
        except OSError as error:
            raise GalleryError(otherwise) from error
        yield


def _lock(file: IO[bytes]) -> None:
    if importlib.util.find_spec("fcntl"):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
