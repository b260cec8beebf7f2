"""A file of JSON lines that is only added to: what is said last of a key counts, and a torn last line is repaired."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Hashable, Iterable
from pathlib import Path
from typing import Any

from composir.errors import DataError

LOGGER = logging.getLogger("composir.server")
SPARE = 1000  # lines that no longer count before the file is written anew

Row = dict[str, Any]


class Log:
    """The rows of such a file; the caller sees to it that nobody else writes meanwhile.

    Args:
        path: The file, which may be missing.
        key: Of a row.
        counts: Whether a row says anything; one that does not takes back what was said of its key.
    """

    def __init__(self, path: Path, key: Callable[[Row], Hashable], counts: Callable[[Row], bool]):
        self.path = path
        self._key, self._counts = key, counts
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[Hashable, Row] = {}
        self._file = self._end = self._lines = 0

    def read(self) -> list[Row]:
        """The rows that count, in the order in which their keys came; only what is new in the file is read.

        Raises:
            DataError: A whole line is no JSON object.
        """
        if not self.path.is_file():
            self._forget()
            return []
        status = self.path.stat()
        if status.st_ino != self._file or status.st_size < self._end:
            self._forget()
            self._file = status.st_ino
        with self.path.open("rb") as file:
            file.seek(self._end)
            # At line feeds alone: texts hold other characters that Python too takes for the end of a line.
            *lines, rest = file.read().split(b"\n")
        for line in lines:
            self._take(line)
        if rest:
            self._mend(rest)
        return list(self._rows.values())

    def add(self, row: Row) -> list[Row]:
        """Append a row; gives those that count then.

        Raises:
            DataError: A whole line of the file is no JSON object.
            OSError: It cannot be written.
        """
        self.read()
        with self.path.open("ab") as file:
            file.write(lines_of([row]))
            file.flush()
            os.fsync(file.fileno())
        rows = self.read()
        if self._lines > 2 * len(rows) + SPARE:
            replace(self.path, lines_of(rows))
        return rows

    def _take(self, line: bytes) -> None:
        self._lines += 1
        try:
            row = json.loads(line)
            key, counts = self._key(row), self._counts(row)
        except (ValueError, KeyError, TypeError) as error:
            told = f"{self.path}: line {self._lines} is not one of this file's; remove it, or name another folder"
            self._forget()
            raise DataError(told) from error
        self._end += len(line) + 1
        self._rows.pop(key, None) if not counts else self._rows.update({key: row})

    def _mend(self, rest: bytes) -> None:
        """A last line without its end: whole if it is JSON, for no beginning of an object is; else it was torn."""
        try:
            json.loads(rest)
        except ValueError:
            told = "%s: the last line was cut off while it was written; its %d bytes are removed, say it again"
            LOGGER.warning(told, self.path, len(rest))
            os.truncate(self.path, self._end)
            return
        with self.path.open("ab") as file:
            file.write(b"\n")
        self._take(rest)


def lines_of(rows: Iterable[Row]) -> bytes:
    """A JSON line for each row."""
    return "".join(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows).encode()


def replace(path: Path, content: bytes) -> None:
    """Write a file so that others see the old or the new one, never a part."""
    fresh = path.with_name(f".{path.name}.new")
    fresh.write_bytes(content)
    os.replace(fresh, path)
