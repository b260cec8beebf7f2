"""The progress of long work, on standard error: a bar where somebody looks, a line now and then where nobody does."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composir.indexing import Progress

LINE_SECONDS = 10.0
_Tell = Callable[[int, int, str], None]  # done, total, what else is to be said


@contextlib.contextmanager
def shown() -> Iterator[Callable[[Progress], None]]:
    """Give the function to be told of an indexing run's progress."""
    rate = _Rate()
    with _meter("indexing") as tell:
        yield lambda p: tell(p.done, p.total, f"{rate.of(p.encoded):.1f} images/s, {p.skipped:,} skipped")


@contextlib.contextmanager
def counted(what: str) -> Iterator[Callable[[int, int], None]]:
    """Give the function to be told how many of how many things are done."""
    rate = _Rate()
    with _meter(what) as tell:
        yield lambda done, total: tell(done, total, f"{rate.of(done):.1f}/s")


@contextlib.contextmanager
def _meter(what: str) -> Iterator[_Tell]:
    if not sys.stderr.isatty():
        yield _Lines(what)
        return
    from rich import progress
    from rich.console import Console

    bar = progress.Progress(
        progress.TextColumn(what),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[told]}"),
        progress.TimeRemainingColumn(compact=True),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None, told="")
        yield lambda done, total, told: bar.update(task, completed=done, total=total, told=told)


class _Rate:
    """Things a second since the first were heard of: loading the encoder does not count."""

    def __init__(self) -> None:
        self._began: float | None = None

    def of(self, count: int) -> float:
        now = time.monotonic()
        self._began = self._began or now
        return count / (now - self._began) if now > self._began else 0.0


class _Lines:
    """One plain line every `LINE_SECONDS`."""

    def __init__(self, what: str) -> None:
        self._what, self._rate, self._last = what, _Rate(), time.monotonic()

    def __call__(self, done: int, total: int, told: str) -> None:
        speed = self._rate.of(done)
        if time.monotonic() - self._last < LINE_SECONDS:
            return
        self._last = time.monotonic()
        left = f"{(total - done) / speed:.0f} s left" if speed else "time left unknown"
        words = ", ".join(part for part in (f"{self._what}: {done:,} of {total:,}", told, left) if part)
        print(words, file=sys.stderr, flush=True)
