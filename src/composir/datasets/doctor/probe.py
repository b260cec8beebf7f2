"""Open pictures in processes that a file may kill or hang: it is named, and the rest goes on."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from composir.datasets.base import Dataset
from composir.errors import ComposirError
from composir.images import load_image

PATIENCE = 20.0  # seconds one picture may take
MEMORY_LIMIT = 2 * 2**30  # bytes a process may allocate, where the system can enforce it
CHUNK = 16  # pictures a process opens before it reports
MOST_WORKERS = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One picture.

    Attributes:
        image: Its id.
        path: Its file; None where the data set alone can open it.
        decode: Whether to decode it.
        digest: Whether to take the SHA-256 of its file.
    """

    image: str
    path: Path | None
    decode: bool
    digest: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What became of it: `reason` is "" for a sound picture, else short and stable; `detail` is a sentence."""

    image: str
    reason: str = ""
    detail: str = ""
    digest: bytes = b""


def look(dataset: Dataset, jobs: Sequence[Job], workers: int | None, progress: Progress | None) -> Iterator[Look]:
    """Do all jobs; results come in any order.

    Args:
        dataset: Opens what has no file of its own; then it must be picklable.
        jobs: What to do.
        workers: Processes; as many as cores (up to 8) if not given; 0 works here, without protection.
        progress: Called with (pictures done, pictures in all).

    Raises:
        ComposirError: The processes cannot start.
    """
    if workers is None:
        workers = min(MOST_WORKERS, _cores())
    opener = dataset if any(job.path is None for job in jobs) else None
    looks = _here(opener, jobs) if not workers or not jobs else _in_processes(opener, jobs, workers)
    for done, found in enumerate(looks, start=1):
        if progress is not None:
            progress(done, len(jobs))
        yield found


def _here(opener: Dataset | None, jobs: Sequence[Job]) -> Iterator[Look]:
    for job in jobs:
        yield _look(opener, job)


def _look(opener: Dataset | None, job: Job) -> Look:
    digest = b""
    try:
        if job.decode and job.path is not None:
            load_image(job.path)
        elif job.decode and opener is not None:
            opener.image(job.image)
        if job.digest and job.path is not None and job.path.is_file():
            with job.path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").digest()
    except Exception as error:  # any at all: the bytes come from strangers, and the report must go on
        reason = getattr(error, "reason", None) or getattr(error.__cause__, "reason", None) or type(error).__name__
        return Look(job.image, str(reason), " ".join(str(error).split()))
    return Look(job.image, digest=digest)


def _in_processes(opener: Dataset | None, jobs: Sequence[Job], workers: int) -> Iterator[Look]:
    waiting = deque(jobs[at : at + CHUNK] for at in range(0, len(jobs), CHUNK))
    while waiting:
        flying, before = dict[Future[list[Look]], Sequence[Job]](), len(waiting)
        # OSError: a process was just being added to a pool that broke.
        with _pool(opener, min(workers, before)) as pool, contextlib.suppress(BrokenProcessPool, OSError):
            while waiting or flying:
                while waiting and len(flying) < 2 * workers:
                    flying[pool.submit(_work, waiting[0])] = waiting[0]
                    waiting.popleft()
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    yield from future.result()
                    del flying[future]
        # After a process has died, one picture of all that were in work is to blame.
        suspects = list(flying.values()) or ([waiting.popleft()] if len(waiting) == before else [])
        yield from _one_by_one(opener, [job for chunk in suspects for job in chunk])


def _one_by_one(opener: Dataset | None, suspects: Sequence[Job]) -> Iterator[Look]:
    left = deque(suspects)
    while left:
        with _pool(opener, 1) as pool:
            fine = True
            while left and fine:
                began, job = time.monotonic(), left.popleft()
                try:
                    [found] = pool.submit(_work, [job]).result()
                except BrokenProcessPool:
                    fine, slow = False, time.monotonic() - began >= PATIENCE
                    detail = f"was not opened after {PATIENCE:g} s" if slow else "ended the process that opened it"
                    reason = "too slow" if slow else "crashes the decoder"
                    found = Look(job.image, reason, f"{job.path or job.image}: {detail}; leave it out")
                yield found


@contextlib.contextmanager
def _pool(opener: Dataset | None, workers: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that have started; spawned and not forked, since the caller may have threads."""
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (opener,))
    try:
        try:
            pool.submit(_ready).result()
        except BrokenProcessPool as error:
            raise ComposirError(
                "the processes that open pictures cannot start; a script needs `if __name__ == '__main__':` around "
                "its code, or workers=0"
            ) from error
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_opener: list[Dataset | None] = []  # of a working process: sent once, not with every chunk


def _begin(opener: Dataset | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which stops us in good order
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if importlib.util.find_spec("resource"):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MEMORY_LIMIT)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
    _opener[:] = [opener]


def _end_with_parent() -> None:
    """Leave no orphan behind a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _ready() -> None:
    pass


def _work(chunk: Sequence[Job]) -> list[Look]:
    return [_timed(job) for job in chunk]


def _timed(job: Job) -> Look:
    """Let the system end this process when a picture takes too long, even inside a C library."""
    if not hasattr(signal, "setitimer"):
        return _look(_opener[0], job)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    try:
        return _look(_opener[0], job)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
