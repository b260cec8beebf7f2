"""Pictures decoded in child processes: one that kills, hangs or gorges its process costs a process, not the server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray

from composir.backbones.transform import Transform
from composir.images import ImageError, Limits
from composir.loading import Failure, crew, prepare
from composir.server import decoding_child
from composir.server.decoding_child import DONE, FAILED, File, Read, Source, Wanted
from composir.server.errors import BusyError, UnavailableError
from composir.server.telemetry import LOGGER

__all__ = ["Decoders", "File", "Source"]

SLACK = 2.0  # seconds the master waits for a child's own alarm clock, which not every system has
LARGEST = 512 * 2**20  # bytes of an answer


@dataclass
class _Child:
    process: BaseProcess
    pipe: Connection


class Decoders:
    """`workers` children and as many threads that wait for them.

    Args:
        workers: Children.
        seconds: One picture may take.
        memory: Bytes one child may allocate.
        limits: Of one picture.
        queue_length: Pictures that may wait.
        skipped: Told the reason of every picture that was not read.
        read: Opens a picture; a module-level function.
    """

    def __init__(
        self,
        *,
        workers: int,
        seconds: float,
        memory: int,
        limits: Limits,
        queue_length: int,
        skipped: Callable[[str], None] = lambda _: None,
        read: Read = decoding_child.read,
    ):
        self._arguments = (limits, memory, seconds, read)
        self._seconds, self._skipped = seconds, skipped
        self._room = threading.BoundedSemaphore(workers + queue_length)
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="composir-decode")
        self._idle: queue.SimpleQueue[_Child | None] = queue.SimpleQueue()
        self._starting, self._closed = threading.Lock(), False
        for _ in range(workers):
            self._idle.put(None)
        prepare()  # while the caller loads its model

    async def pixels(self, source: Source, transform: Transform) -> UInt8[NDArray, "3 S S"]:
        """A picture as the transform's encoder wants it.

        Raises:
            ImageError: It is no picture, a broken one, or one that costs too much; `reason` says which.
            BusyError: Too many wait.
        """
        data = await self._decode(source, transform)
        shape = (3, transform.size, transform.size)
        return np.frombuffer(data, dtype=np.uint8).reshape(shape)

    async def thumbnail(self, source: Source, side: int) -> bytes:
        """A JPEG without metadata whose longest side is at most `side` pixels; raises as `pixels` does."""
        return await self._decode(source, side)

    def close(self) -> None:
        """End the children; what they were at is lost."""
        self._closed = True
        self._threads.shutdown(wait=True, cancel_futures=True)
        while not self._idle.empty():
            if child := self._idle.get():
                _stop(child)

    async def _decode(self, source: Source, wanted: Wanted) -> bytes:
        if self._closed:
            raise UnavailableError("the server is shutting down")
        if not self._room.acquire(blocking=False):
            raise BusyError("too many pictures wait to be decoded", 1)
        future = self._threads.submit(self._run, source, wanted)
        future.add_done_callback(self._leave)
        result = await asyncio.wrap_future(future)
        if isinstance(result, Failure):
            self._skipped(result.reason)
            raise ImageError(result.detail or f"the picture is {result.reason}", reason=result.reason)
        return result

    def _leave(self, _: Future[bytes | Failure]) -> None:
        self._room.release()

    def _run(self, source: Source, wanted: Wanted) -> bytes | Failure:
        """One job on one child; once more on a fresh one if it died, for the picture may be innocent."""
        cause: str | None = None
        child = self._idle.get()
        try:
            for _ in range(2):
                child = child or self._start()
                answer = self._ask(child, source, wanted)
                if answer is not None:
                    return answer
                gone, child = child, None
                cause = _cause_of_end(gone)
                if cause is None:
                    return Failure("too slow", f"the picture was not decoded after {self._seconds:g} s, the limit")
        finally:
            self._idle.put(child)
        return Failure("crashes the decoder", f"the picture ended its decoding process with {cause}, twice")

    def _ask(self, child: _Child, source: Source, wanted: Wanted) -> bytes | Failure | None:
        """An answer, or None if the child is no more or too late."""
        try:
            child.pipe.send((source, wanted))
            if not child.pipe.poll(self._seconds + SLACK):
                return None
            answer = child.pipe.recv_bytes(LARGEST)
        except (EOFError, OSError):
            return None
        if answer[:1] == FAILED:
            return Failure(*json.loads(answer[1:]))
        return answer[len(DONE) :]

    def _start(self) -> _Child:
        with self._starting:  # `prepare` and the start both touch what belongs to the whole process
            context = prepare()
            mine, theirs = context.Pipe()
            arguments = (theirs, *self._arguments)
            process = context.Process(
                target=decoding_child.work, args=arguments, daemon=True, name="composir-upload-decoder"
            )
            crew._start_without_main(process)
            theirs.close()
        child = _Child(process, mine)
        with contextlib.suppress(EOFError, OSError):
            if mine.poll(crew.START_PATIENCE) and mine.recv_bytes(16) == decoding_child.READY:
                return child
        _stop(child)
        LOGGER.error("decoding processes cannot start")
        raise UnavailableError("pictures cannot be decoded at present; the log of the server tells more", 5)


def _cause_of_end(child: _Child) -> str | None:
    """What a child died of; None if it was too slow, be it that it still runs."""
    child.process.join(timeout=0.2 if child.process.is_alive() else None)
    worker = crew._Worker(child.process, child.pipe, time.monotonic())
    cause = None if child.process.is_alive() else crew._cause(worker)
    _stop(child)
    return cause


def _stop(child: _Child) -> None:
    """A child holds nothing worth saving, so the sure way is taken."""
    child.pipe.close()
    if child.process.is_alive():
        child.process.kill()
    child.process.join()
