"""Where the files of a tar archive lie: plain headers are read here, several times faster; all others by `tarfile`."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import NamedTuple

from composir.errors import DataError

BLOCK = 512
BROKEN = (tarfile.TarError, OSError, EOFError, ValueError)


class Member(NamedTuple):
    """A file in an archive: its name, where its bytes begin, and how many there are."""

    name: str
    start: int
    size: int


def members(path: Path) -> Iterator[Member]:
    """Every regular file of an uncompressed archive, in order; folders and links are passed by.

    Raises:
        DataError: It is no tar archive, is compressed, or ends too early.
    """
    try:
        with path.open("rb", buffering=0) as file:
            yield from _walk(file)
    except BROKEN as error:
        raise DataError(f"{path}: is no whole, uncompressed tar file ({error}); download it again") from error


def _walk(file: FileIO) -> Iterator[Member]:
    end, at = os.fstat(file.fileno()).st_size, 0
    while at < end:  # of a whole one the end is blocks of zeros
        file.seek(at)
        head = file.read(BLOCK)
        member = _plain(head, at)
        if member is None:
            file.seek(at)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                found = archive.next()
            if found is None:
                return
            if found.sparse is not None:
                raise ValueError(f"{found.name} is sparse, pack it as a plain file")
            member = Member(found.name if found.isreg() else "", found.offset_data, found.size if found.isreg() else 0)
        at = member.start + -(-member.size // BLOCK) * BLOCK
        if member.start + member.size > end:
            raise EOFError(f"it ends within {member.name}")
        if member.name:
            yield member
    raise EOFError("it lacks the end of an archive")


def _plain(head: bytes, at: int) -> Member | None:
    """What a header of 512 bytes at `at` says of a regular file with a short name; None if it is anything else."""
    kind, magic = head[156:157], head[257:265]
    if kind not in (b"0", b"\0") or magic not in (b"ustar\x0000", b"ustar  \0"):
        return None
    name, size = head[:100].partition(b"\0")[0], head[124:136].rstrip(b" \0")
    if magic == b"ustar\x0000" and head[345:346] != b"\0":
        name = head[345:500].partition(b"\0")[0] + b"/" + name
    if not name or name.endswith(b"/") or not size.isdigit():
        return None
    if sum(head) - sum(head[148:156]) + 8 * 32 != int(head[148:156].partition(b"\0")[0], 8):
        return None
    return Member(name.decode("utf-8"), at + BLOCK, int(size, 8))
