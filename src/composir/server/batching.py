"""Requests that arrive together are computed together: one thread, one queue of bounded length.

While a batch is being computed the next one gathers by itself; the delay only serves the first of a quiet time. A
result does not depend on the company it was computed in, and a request that fails takes no other with it.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from composir.server.errors import BusyError, UnavailableError

In = TypeVar("In")
Out = TypeVar("Out")

LONGEST_WAIT = 30  # seconds that a client is asked to wait at most


@dataclass
class _Job(Generic[In, Out]):
    item: In
    future: Future[Out] = field(default_factory=Future)
    since: float = field(default_factory=time.monotonic)


class Batcher(Generic[In, Out]):
    """Runs `run` on batches of what is submitted.

    Args:
        run: Items to results, as many and in their order; a result that is an exception is raised for its item alone.
            If `run` itself raises, every item of the batch is run again by itself.
        max_batch: Items a batch.
        max_delay: Seconds the first item waits for others.
        queue_length: Items that may wait.
        observe: Told the size of every batch.
    """

    def __init__(
        self,
        run: Callable[[Sequence[In]], Sequence[Out | Exception]],
        *,
        max_batch: int,
        max_delay: float,
        queue_length: int,
        observe: Callable[[int], None] = lambda _: None,
    ):
        self._run, self._observe = run, observe
        self._max_batch, self._max_delay, self._length = max_batch, max_delay, queue_length
        self._queue: deque[_Job[In, Out]] = deque()
        self._changed = threading.Condition()
        self._closed, self._seconds = False, 0.0
        self._thread = threading.Thread(target=self._work, name="composir-batches", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """Items that wait."""
        return len(self._queue)

    async def __call__(self, item: In) -> Out:
        """Wait for an item's result; a caller that is cancelled leaves the queue.

        Raises:
            BusyError: The queue is full.
            UnavailableError: The batcher is closed.
        """
        return await asyncio.wrap_future(self.submit(item))

    def submit(self, item: In) -> Future[Out]:
        """Queue an item; see `__call__`."""
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
        return job.future

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

    def _next(self) -> list[_Job[In, Out]] | None:
        """The next batch; None when all is done and closed."""
        with self._changed:
            while not self._queue:
                if self._closed:
                    return None
                self._changed.wait()
            full = self._queue[0].since + self._max_delay
            while len(self._queue) < self._max_batch and not self._closed:
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
            else:
                job.future.set_result(result)
