"""Requests that arrive together are computed together: one thread, one queue of bounded length.

While a batch is being computed the next one gathers by itself; the delay only serves the first of a quiet time. A
result does not depend on the company it was computed in, and a request that fails takes no other with it. A long one is
computed in turns with the others, and given up once nobody waits for it.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from composir.server.errors import BusyError, UnavailableError

In = TypeVar("In")
Out = TypeVar("Out")

LONGEST_WAIT = 30  # seconds that a client is asked to wait at most
TURN = 0.02  # seconds for which a long computation goes on before others are looked for


@dataclass
class _Job(Generic[In, Out]):
    item: In
    future: Future[Out] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)
    left: bool = False  # whether its caller has gone while it was being computed


class Batcher(Generic[In, Out]):
    """Runs `run` on batches of what is submitted.

    Args:
        run: Items to results, as many and in their order; a result that is an exception is raised for its item alone.
            If `run` itself raises, every item of the batch is run again by itself. A result that is a generator is a
            long computation: it is gone on with between batches, and what it returns is the result.
        max_batch: Items a batch.
        max_delay: Seconds the first item waits for others.
        queue_length: Items that may wait.
        most_long: Long computations under way; the first to come is the first to be finished.
        observe: Told the size of every batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], Sequence[Out | Exception]],
        *,
        max_batch: int,
        max_delay: float,
        queue_length: int,
        most_long: int = 2,
        observe: Callable[[int], None] = lambda _: None,
    ):
        self._run, self._observe = run, observe
        self._max_batch, self._max_delay, self._length = max_batch, max_delay, queue_length
        self._queue: deque[_Job[In, Out]] = deque()
        self._long: deque[tuple[_Job[In, Out], Generator[None, None, Out]]] = deque()
        self._most_long, self._long_seconds = most_long, 0.0
        self._changed = threading.Condition()
        self._closed, self._seconds = False, 0.0
        self._thread = threading.Thread(target=self._work, name="composir-batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._queue)

    async def __call__(self, item: In) -> Out:
        """Wait for an item's result; a caller that is cancelled leaves the queue, and ends what takes long.

        Raises:
            BusyError: The queue is full, or the item takes long and as many as may are under way.
            UnavailableError: The batcher is closed.
        """
        job = self._queued(item)
        try:
            return await asyncio.wrap_future(job.future)
        finally:
            job.left = True

    def submit(self, item: In) -> Future[Out]:
        """Queue an item; see `__call__`."""
        return self._queued(item).future

    def _queued(self, item: In) -> _Job[In, Out]:
        job: _Job[In, Out] = _Job(item)
        with self._changed:
            if self._closed:
                raise UnavailableError("the server is shutting down")
            if len(self._queue) >= self._length:
                # Those who have left take no place from those who come.
                self._queue = deque(waiting for waiting in self._queue if not waiting.future.cancelled())
            if len(self._queue) >= self._length:
                raise BusyError(f"{self._length} requests are waiting already", self._wait())
            self._queue.append(job)
            self._changed.notify_all()
        return job

    def close(self) -> None:
        """Take nothing new, finish what is queued, and return when it is done."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _wait(self) -> int:
        """Whole seconds until the queue should have been worked off."""
        batches = len(self._queue) / self._max_batch
        return min(LONGEST_WAIT, max(1, math.ceil(batches * self._seconds)))

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            if jobs := [job for job in batch if job.future.set_running_or_notify_cancel()]:
                started = time.monotonic()
                self._observe(len(jobs))
                self._serve(jobs)
                self._seconds = 0.8 * self._seconds + 0.2 * (time.monotonic() - started)
            self._go_on()

    def _next(self) -> list[_Job[In, Out]] | None:
        """The next batch, empty where something long goes on meanwhile; None when all is done and closed."""
        with self._changed:
            while not self._queue:
                if self._long:
                    return []
                if self._closed:
                    return None
                self._changed.wait()
            full = self._queue[0].since + self._max_delay
            while len(self._queue) < self._max_batch and not self._closed and not self._long:
                rest = full - time.monotonic()
                if rest <= 0:
                    break
                self._changed.wait(rest)
            return [self._queue.popleft() for _ in range(min(self._max_batch, len(self._queue)))]

    def _serve(self, jobs: Sequence[_Job[In, Out]]) -> None:
        try:
            results = self._run([job.item for job in jobs])
            if len(results) != len(jobs):
                raise RuntimeError(f"{len(jobs)} requests got {len(results)} results")
        except Exception as error:  # any at all: the thread must live on
            if len(jobs) == 1:
                jobs[0].future.set_exception(error)
                return
            for job in jobs:
                self._serve([job])
            return
        for job, result in zip(jobs, results, strict=True):
            if isinstance(result, Exception):
                job.future.set_exception(result)
            elif isinstance(result, Generator):
                self._begin(job, result)
            else:
                job.future.set_result(result)

    def _begin(self, job: _Job[In, Out], steps: Generator[None, None, Any]) -> None:
        if len(self._long) < self._most_long:
            self._long.append((job, steps))
            return
        steps.close()
        wait = min(LONGEST_WAIT, max(1, math.ceil(len(self._long) * self._long_seconds)))
        job.future.set_exception(BusyError(f"{self._most_long} searches that take long are under way already", wait))

    def _go_on(self) -> None:
        """A turn of the long computation that came first."""
        if not self._long:
            return
        (job, steps), end = self._long[0], time.monotonic() + TURN
        try:
            while time.monotonic() < end:
                if job.left:
                    steps.close()
                    break
                next(steps)
            else:
                return
        except StopIteration as done:
            self._long_seconds = time.monotonic() - job.since
            job.future.set_result(done.value)
        except Exception as error:  # any at all: the thread must live on
            job.future.set_exception(error)
        self._long.popleft()
