"""What lies in a folder: its files, told apart by content; nothing is decoded here and nothing is ever changed.

A picture is its bytes: its id is the beginning of their SHA-256, so a rename changes nothing and a copy is the same
picture. Size and times say whether the bytes need reading again.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

ID_LENGTH = 32  # hex digits: 128 of the 256 bits, `sha256sum FILE | cut -c1-32`
UNSETTLED = 2.0  # seconds; a file changed so lately could change again within one tick of the file system's clock
GALLERY = frozenset({"gallery.json", "images.lance"})  # a folder that holds these is a gallery, not pictures


@dataclass(frozen=True, slots=True)
class Stamp:
    """What the file system says of a file; equal stamps mean equal bytes.

    The time of the last inode change is part of it: it catches an editor that puts the old modification time back,
    at the price of reading a file again after a chmod or a move. `settled` is False where a later change could leave
    the stamp as it is; such a stamp proves nothing.
    """

    size: int
    modified_ns: int
    changed_ns: int
    settled: bool = True

    def same_as(self, other: Stamp) -> bool:
        """Whether the bytes are surely those that `other` was taken of."""
        return self.settled and other.settled and self == other


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file.

    Attributes:
        path: Relative to the root, POSIX style.
        id: Of its content; None if its bytes were not read.
        stamp: Taken before they were read.
        reason: Why it was skipped, short; "" if it is indexed.
        detail: The same in a sentence, or "".
    """

    path: str
    id: str | None
    stamp: Stamp
    reason: str = ""
    detail: str = ""


@dataclass(slots=True)
class Scan:
    """One walk over a folder.

    Attributes:
        files: POSIX path relative to the folder -> stamp, in walking order (sorted within each folder).
        refused: The paths that cannot be indexed by their very name or link, with the reason; keys are printable.
        closed: Folders that could not be listed, with the reason: nothing is known of what is in them.
        links: Number of symbolic links passed by.
        hidden: Number of files and folders passed by because their names begin with a dot.
        special: Number of pipes, sockets and devices passed by.
    """

    files: dict[str, Stamp] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    closed: dict[str, str] = field(default_factory=dict)
    links: int = 0
    hidden: int = 0
    special: int = 0

    def hides(self, path: str) -> bool:
        """Whether `path` lies in a folder that could not be listed: its absence here says nothing."""
        return any(folder in {"", "."} or path.startswith(f"{folder}/") for folder in self.closed)


def walk(root: Path, *, follow_symlinks: bool = False) -> Scan:
    """List the regular files under `root`; hidden names and galleries are left out.

    Args:
        root: An existing folder.
        follow_symlinks: Go through symbolic links too; each real folder is entered once, so links may form loops.
    """
    scan = Scan()
    now = time.time()
    seen: set[tuple[int, int]] = set()
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        below = []
        for name, entry in _entries(root, folder, seen, scan):
            path = f"{folder}/{name}" if folder else name
            try:
                if entry.is_symlink() and not follow_symlinks:
                    scan.links += 1
                elif entry.is_dir():
                    below.append(path)
                else:
                    _add_file(scan, path, entry, now)
            except OSError as error:  # a link to nothing, a link to itself
                scan.refused[printable(path)] = f"cannot be reached: {error.strerror}"
        waiting.extend(reversed(below))
    return scan


def _entries(root: Path, folder: str, seen: set[tuple[int, int]], scan: Scan) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Visible entries of a folder, sorted by name; none of a gallery or of a folder that was entered before."""
    try:
        status = os.stat(root / folder)
        with os.scandir(root / folder) as found:
            entries = sorted((entry.name, entry) for entry in found)
    except OSError as error:
        scan.closed[printable(folder) or "."] = f"cannot be listed: {error.strerror}"
        return
    identity = (status.st_dev, status.st_ino)
    if GALLERY.issubset(name for name, _ in entries) or (status.st_ino and identity in seen):
        return
    seen.add(identity)
    visible = [(name, entry) for name, entry in entries if not name.startswith(".")]
    scan.hidden += len(entries) - len(visible)
    yield from visible


def _add_file(scan: Scan, path: str, entry: os.DirEntry[str], now: float) -> None:
    status = entry.stat()
    if not stat.S_ISREG(status.st_mode):
        scan.special += 1  # reading it could block for ever
        return
    if path != printable(path):
        scan.refused[printable(path)] = "its name is not valid Unicode; rename it"
        return
    latest = max(status.st_mtime, status.st_ctime)
    settled = latest < now - UNSETTLED
    scan.files[path] = Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns, settled)


def printable(path: str) -> str:
    r"""`path` with bytes that are no Unicode written as \xNN; such a path cannot be stored or sent as it is."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def content_id(data: bytes) -> str:
    """Id of a picture given by its bytes."""
    return hashlib.sha256(data).hexdigest()[:ID_LENGTH]


def file_id(path: Path) -> str:
    """Id of a picture given by its file, read piece by piece.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:ID_LENGTH]


def looks_like_id(text: str) -> bool:
    """Whether `text` has the form of an id."""
    return len(text) == ID_LENGTH and all(c in "0123456789abcdef" for c in text)
