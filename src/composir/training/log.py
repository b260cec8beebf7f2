"""log.jsonl, one JSON object a line, and the same numbers as TensorBoard events where they are asked for."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from composir.errors import ComposirError


class Log:
    """The log of a run, open for writing; every row reaches the file at once.

    Args:
        path: log.jsonl.
        keep: Bytes of it that stand; what a killed run wrote behind its last state is cut off.
        tensorboard: Folder of event files, or None.
        step: From which on events are written anew.

    Raises:
        ComposirError: TensorBoard is asked for and missing.
    """

    def __init__(self, path: Path, keep: int = 0, tensorboard: Path | None = None, step: int = 0):
        self._events = None if tensorboard is None else event_writer()(str(tensorboard), purge_step=step + 1)
        self._file = path.open("r+b" if keep else "wb")
        self._file.truncate(keep)
        self._file.seek(0, os.SEEK_END)

    def write(self, row: Mapping[str, Any], step: int | None = None) -> None:
        """One row; with `step`, its numbers become events too, those of an inner mapping under "outer/inner"."""
        self._file.write((json.dumps(row, ensure_ascii=False) + "\n").encode())
        self._file.flush()
        if self._events is not None and step is not None:
            for name, value in _numbers(row):
                self._events.add_scalar(name, value, step)

    def position(self) -> int:
        """Bytes written so far, on disk when this returns."""
        os.fsync(self._file.fileno())
        return self._file.tell()

    def close(self) -> None:
        """Close all files."""
        self._file.close()
        if self._events is not None:
            self._events.close()


def event_writer() -> Any:
    """TensorBoard's writer class.

    Raises:
        ComposirError: It is missing.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ComposirError(
            "[train] tensorboard = true needs TensorBoard: pip install tensorboard, or leave it out; log.jsonl has the "
            "same numbers"
        ) from error
    return SummaryWriter


def _numbers(row: Mapping[str, Any]) -> list[tuple[str, float]]:
    found = []
    for name, value in row.items():
        if isinstance(value, Mapping):
            found += [(f"{name}/{inner}", number) for inner, number in _numbers(value)]
        elif isinstance(value, int | float) and name not in ("step", "number"):
            found.append((name, float(value)))
    return found
