"""The decoding processes: handed ids, they write pixels into shared memory; one that dies or hangs is replaced.

They are forked from a fork server that has imported torch but never computed with it (forking a process whose thread
pool has run deadlocks), so they start in milliseconds and know nothing of transformers. Only ids and reasons travel
through pipes, never pixels, so a worker never waits for a busy encoder.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import multiprocessing
import os
import pickle
import re
import signal
import sys
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import ModuleType
from typing import Any, Generic, cast

import numpy as np
from numpy.typing import NDArray

from composir.errors import ComposirError
from composir.loading import worker as worker_side
from composir.loading.worker import STALL, Decoder, Failure, Id

Decoded = Generator[tuple[Id, NDArray[np.uint8] | Failure]]

START_PATIENCE = 120.0  # seconds until a worker must have started: importing torch from a cold disk is slow
SLACK = 2.0  # seconds the master waits for a worker's own alarm clock, which not every system has
SECRET = re.compile("KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)  # in names of environment variables


def prepare() -> Any:
    """Start the fork server ahead of need, where there is one, and return at once: it takes seconds to import torch.

    Returns:
        The multiprocessing context that workers come from.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([worker_side.__name__])
    from multiprocessing import forkserver  # not on every system

    with _interrupts_held_back():
        forkserver.ensure_running()
    return context


def prepare_without_secrets() -> None:
    """As `prepare`, and no worker will have secrets in its environment, such as API keys and a cloud's credentials.

    Whoever takes a worker over by a hostile picture can read its environment. Call it before there are threads: the
    environment, which lacks the secrets for a moment, belongs to all of them. A fork server that runs already keeps
    what it has; where there is none, workers get whatever the environment holds when they start.
    """
    held = {name: os.environ.pop(name) for name in tuple(os.environ) if SECRET.search(name)}
    try:
        prepare()
    finally:
        os.environ.update(held)


def decode_here(decoder: Decoder[Id], ids: Iterable[Id]) -> Decoded[Id]:
    """Decode in this process, one by one; the array given out is overwritten by the next picture."""
    size = decoder.transform.size
    out = np.empty((3, size, size), dtype=np.uint8)
    for position, item in enumerate(ids):
        failure = decoder(position, item, out)
        yield item, failure or out


@dataclass
class _Worker:
    """One process as its master sees it: `queue` holds the slots it was given, the one it works on first."""

    process: BaseProcess
    pipe: Connection
    since: float
    started: bool = False
    queue: deque[int] = field(default_factory=deque)

    def late(self, patience: float) -> float:
        """Seconds beyond what it may take for the present step; negative while it is in time."""
        return time.monotonic() - self.since - (patience if self.started else START_PATIENCE)


class Crew(Generic[Id]):
    """`workers` processes that decode into `slots` pictures' worth of shared memory."""

    def __init__(self, decoder: Decoder[Id], workers: int, slots: int):
        self._context = prepare()
        self._shape = (slots, 3, decoder.transform.size, decoder.transform.size)
        self._memory = self._context.RawArray(ctypes.c_uint8, math.prod(self._shape))
        self._pixels = np.frombuffer(self._memory, dtype=np.uint8).reshape(self._shape)
        self._decoder, self._patience = decoder, STALL * decoder.patience
        self._jobs: dict[int, tuple[int, Id]] = {}  # slot -> (position in the stream, id), as sent
        self._done: dict[int, Failure | None] = {}  # slot -> how it went
        self._suspects: set[int] = set()  # slots whose worker has died once
        self._workers: list[_Worker] = []
        self._count = min(workers, slots)

    def decode(self, ids: Iterable[Id]) -> Decoded[Id]:
        """Results in the order of `ids`; the array given out is overwritten once the next result is asked for."""
        stream, free, order = enumerate(ids), deque(range(self._shape[0])), deque[int]()
        try:
            while True:
                while free and (job := next(stream, None)) is not None:
                    order.append(free.popleft())
                    self._assign(order[-1], job)
                if not order:
                    return
                slot = order.popleft()
                while slot not in self._done:
                    self._listen()
                failure = self._done.pop(slot)
                self._suspects.discard(slot)
                yield self._jobs.pop(slot)[1], failure or self._pixels[slot]
                free.append(slot)
        finally:
            for worker in self._workers:
                _stop(worker)

    def _assign(self, slot: int, job: tuple[int, Id]) -> None:
        self._jobs[slot] = job
        if len(self._workers) < self._count and all(worker.queue for worker in self._workers):
            self._workers.append(self._start())
        self._send(min(self._workers, key=lambda worker: len(worker.queue)), slot)

    def _send(self, worker: _Worker, slot: int) -> None:
        if not worker.queue:
            worker.since = time.monotonic()
        worker.queue.append(slot)
        with contextlib.suppress(OSError):  # it has died: `_listen` will find out and give its queue to another
            worker.pipe.send((slot, *self._jobs[slot]))

    def _start(self) -> _Worker:
        mine, theirs = self._context.Pipe()
        arguments = (theirs, self._memory, self._shape, self._decoder)
        process = self._context.Process(target=worker_side.work, args=arguments, daemon=True, name="composir-decoder")
        try:
            _start_without_main(process)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise ComposirError(
                f"pictures cannot be read in worker processes: {error}; give a module-level function, or workers=0"
            ) from error
        theirs.close()
        return _Worker(process, mine, time.monotonic())

    def _listen(self) -> None:
        """Wait for news of any worker that has work; replace those that died or take too long."""
        busy = {worker.pipe: worker for worker in self._workers if worker.queue}
        rest = min(-worker.late(self._patience + SLACK) for worker in busy.values())
        for pipe in cast("list[Connection]", wait(list(busy), timeout=max(0.0, rest))):
            worker = busy.pop(pipe)
            try:
                slot, failure = worker.pipe.recv()
            except (EOFError, OSError):
                self._replace(worker, _cause(worker))
                continue
            worker.since = time.monotonic()
            if slot is None:
                worker.started = True
            else:
                worker.queue.remove(slot)
                self._done[slot] = failure
        for worker in busy.values():
            if worker.late(self._patience + SLACK) >= 0:
                self._replace(worker, None)

    def _replace(self, worker: _Worker, cause: str | None) -> None:
        """Blame the picture in work, unless its worker died at it for the first time: the picture may be innocent.

        A `cause` of None says that the worker did not die but took too long.
        """
        _stop(worker)
        if not worker.started:
            raise ComposirError(
                "decoding processes cannot start; a script that calls composir needs `if __name__ == '__main__':` "
                "around its code, or workers=0"
            )
        queue = list(worker.queue)
        if cause is None:
            spent = f"{self._decoder.patience:g} s of computing, or {self._patience:g} s in all"
            self._done[queue.pop(0)] = Failure("too slow", f"not decoded after {spent}")
        elif queue[0] in self._suspects:
            self._done[queue.pop(0)] = Failure("crashes the decoder", f"its decoding process ended with {cause}, twice")
        else:
            self._suspects.add(queue[0])
        fresh = self._start()
        self._workers[self._workers.index(worker)] = fresh
        for slot in queue:
            self._send(fresh, slot)


def _start_without_main(process: BaseProcess) -> None:
    """Spare the child the caller's script: multiprocessing would run it again, all of it if it has no main guard."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        process.start()
    except (pickle.PicklingError, AttributeError):  # the reader is defined in the script
        sys.modules["__main__"] = script
        process.start()
    finally:
        sys.modules["__main__"] = script


@contextlib.contextmanager
def _interrupts_held_back() -> Iterator[None]:
    """Let a fork server that is started here inherit that it hears no Ctrl-C; this process hears it afterwards."""
    from multiprocessing import resource_tracker  # not on every system

    resource_tracker.ensure_running()  # first: it lets SIGINT through again once it has started
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _stop(worker: _Worker) -> None:
    """Workers hold nothing worth saving, so the sure way is taken."""
    worker.pipe.close()
    if worker.process.is_alive():
        worker.process.kill()
    worker.process.join()


def _cause(worker: _Worker) -> str | None:
    """What a worker died of; None if one of its alarm clocks rang."""
    worker.process.join(timeout=SLACK)
    code = worker.process.exitcode or 0
    if -code in {getattr(signal, name, -1) for name in ("SIGALRM", "SIGPROF")}:
        return None
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
