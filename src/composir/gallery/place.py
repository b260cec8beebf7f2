"""Where a gallery lies: in a folder, or under a prefix of an object store, named by a URI.

A place keeps small texts by name; the tables beside them are LanceDB's, which opens the same URI itself.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

from composir.errors import GalleryError
from composir.gallery.lock import exclusive

STORES = ("s3", "gs", "az")
ODD = frozenset("?#@%*\\ \t\n")  # in no name of a bucket, and asking for trouble in that of an object
Held = Callable[[], None]
"""Raises where the lock was lost meanwhile."""


class Place(ABC):
    """A folder, or what an object store has in the place of one.

    Attributes:
        name: Its last part.
        shelves: The local folder that `composir.gallery.kept` keeps the gallery's shelf in.
        apart: Whether that is somewhere else than the place itself.
    """

    name: str
    shelves: Path
    apart: bool

    @abstractmethod
    def __str__(self) -> str:
        """Path or URI, as LanceDB and `composir` take it."""

    @abstractmethod
    def __truediv__(self, name: str) -> Place:
        """A place within, there or not."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Place) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @abstractmethod
    def read(self, name: str) -> str | None:
        """A text; None where there is none.

        Raises:
            GalleryError: It cannot be read, or the place cannot be reached.
        """

    @abstractmethod
    def replace(self, name: str, text: str) -> None:
        """Keep a text: it is the old or the new one at every moment."""

    @abstractmethod
    def holds(self, name: str) -> bool:
        """Whether there is a text, or anything within a place, of that name."""

    @abstractmethod
    def within(self) -> list[str]:
        """Names of the places directly within, ascending; hidden ones are left out."""

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Bytes of every file, by its path from here."""

    @abstractmethod
    def exclusive(self, otherwise: str, name: str = "lock") -> AbstractContextManager[Held]:
        """Hold the place for one writer.

        Args:
            otherwise: What is told where another holds it.
            name: Of the lock; each is a lock of its own.

        Raises:
            GalleryError: Another holds it.
        """

    @abstractmethod
    def building(self) -> AbstractContextManager[Place]:
        """A place to fill, which is this one if it was left without an error.

        Raises:
            GalleryError: There is something here already.
        """


class Folder(Place):
    """A place on disk."""

    apart = False

    def __init__(self, path: Path):
        self.path = self.shelves = path.expanduser().absolute()
        self.name = self.path.name

    def __str__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Folder:
        return Folder(self.path / name)

    def read(self, name: str) -> str | None:
        """See `Place.read`."""
        file = self.path / name
        try:
            # What is no text is told as damaged by whoever reads it.
            return file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except NotADirectoryError as error:
            message = f"{self.path} is a file and no gallery; name the folder that composir index made"
            raise GalleryError(message) from error
        except OSError as error:
            raise GalleryError(f"{file} cannot be read ({error.strerror}); mend its access rights") from error

    def replace(self, name: str, text: str) -> None:
        """See `Place.replace`."""
        fresh = self.path / f"{name}.new"
        with fresh.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.path / name)

    def holds(self, name: str) -> bool:
        """See `Place.holds`."""
        return (self.path / name).exists()

    def within(self) -> list[str]:
        """See `Place.within`."""
        if not self.path.is_dir():
            return []
        return sorted(own.name for own in self.path.iterdir() if own.is_dir() and not own.name.startswith("."))

    def sizes(self) -> dict[str, int]:
        """See `Place.sizes`."""
        files = (file for file in self.path.rglob("*") if file.is_file())
        return {file.relative_to(self.path).as_posix(): file.stat().st_size for file in files}

    @contextmanager
    def exclusive(self, otherwise: str, name: str = "lock") -> Iterator[Held]:
        """See `Place.exclusive`; the lock ends with the process, however it ends."""
        with exclusive(self.path / name, otherwise):
            yield lambda: None

    @contextmanager
    def building(self) -> Iterator[Folder]:
        """See `Place.building`."""
        path = self.path
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise GalleryError(f"{path} exists and is no gallery; name a path that does not exist yet")
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent))
        try:
            yield Folder(fresh)
            fresh.chmod(0o777 & ~_umask())
            if path.exists():
                path.rmdir()
            fresh.rename(path)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)  # nothing is there any more where all went well


def place_of(where: Place | Path | str) -> Place:
    """The place of a path, or of a URI: file://, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX.

    Raises:
        GalleryError: Another scheme, no prefix, or the scale extra is missing, which object stores need.
    """
    if isinstance(where, Place):
        return where
    told = str(where)
    if "://" not in told:
        return Folder(Path(where))
    scheme, _, rest = told.partition("://")
    scheme = scheme.lower()
    if scheme == "file":
        return Folder(Path(unquote(urlsplit(told).path)))
    if scheme not in STORES:
        allowed = ", ".join(f"{own}://" for own in ("file", *STORES))
        raise GalleryError(f"{told!r} is no place for a gallery: {scheme}:// is none of {allowed}; or name a folder")
    bucket, _, prefix = rest.rstrip("/").partition("/")
    if not prefix:
        raise GalleryError(
            f"{told!r} names no place in the bucket; name one, e.g. {scheme}://{bucket or 'BUCKET'}/shop"
        )
    for part in (bucket, *prefix.split("/")):
        if part in ("", ".", "..") or set(part) & ODD:
            raise GalleryError(
                f"{told!r}: {part!r} can be no part of a place; name it with letters, digits, '.', '_', '-'"
            )
    from composir.gallery.bucket import Bucket

    return Bucket(f"{scheme}://{bucket}/{prefix}")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
