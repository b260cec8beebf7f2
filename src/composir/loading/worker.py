"""The decoding side: one picture after another, each within limits of time and memory, until the pipe closes."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
import signal
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from composir.backbones.transform import Transform

Id = TypeVar("Id", bound=Hashable)
Read = Callable[[Id], Image.Image]

MEMORY_LIMIT = 2 * 2**30  # bytes one worker may allocate, where the system can enforce it
STALL = 6  # times its patience a picture may take where the machine computes other things, or a disk keeps it waiting
NICENESS = 19  # the encoder goes first: a worker takes what it leaves, and all of it when the encoder waits
DETAIL_LENGTH = 400  # characters


class Failure(NamedTuple):
    """Why a picture was not decoded: `reason` is short and stable, to count by; `detail` is one sentence, or ""."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Decoder(Generic[Id]):
    """From an id to pixels.

    Attributes:
        read: Opens a picture.
        transform: Its `pixels` is applied.
        seed: Makes a random transform repeatable; None leaves it random.
        patience: Seconds one picture may compute in a worker; `STALL` times as many may pass.
    """

    read: Read[Id]
    transform: Transform
    seed: int | None
    patience: float

    def __call__(self, position: int, item: Id, out: NDArray[np.uint8]) -> Failure | None:
        """Decode `item`, at `position` in the stream, into `out`; returns what went wrong."""
        try:
            out[:] = self._pixels(position, item)
        except Exception as error:  # any at all: the bytes come from strangers
            reason = getattr(error, "reason", None) or type(error).__name__
            return Failure(str(reason)[:DETAIL_LENGTH], str(error)[:DETAIL_LENGTH])
        return None

    def _pixels(self, position: int, item: Id) -> NDArray[np.uint8]:
        if self.seed is None:
            return self.transform.pixels(self.read(item))
        with torch.random.fork_rng(devices=[]):
            # Seeded by the place in the stream, not by the worker it falls to.
            torch.manual_seed((self.seed * 1_000_003 + position) % 2**63)
            return self.transform.pixels(self.read(item))


def work(pipe: Connection, memory: ctypes.Array[ctypes.c_uint8], shape: tuple[int, ...], decoder: Decoder) -> None:
    """Body of a worker process; it ends when the pipe closes, be it that the master was killed.

    Args:
        pipe: Tells (None, None) once ready; then each (slot, position, id) is answered by (slot, failure or None).
        memory: Shared with the master.
        shape: Of `memory`: (slots, 3, S, S).
        decoder: Fills one slot.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the master decides
    _restrict()
    slots = np.ctypeslib.as_array(memory).reshape(shape)
    with contextlib.suppress(EOFError, OSError):
        pipe.send((None, None))
        while True:
            slot, position, item = pipe.recv()
            _alarm(decoder.patience)
            failure = decoder(position, item, slots[slot])
            _alarm(0)
            pipe.send((slot, failure))


def _alarm(seconds: float) -> None:
    """Let the system end this process once it has computed so long, even inside a C library and without a master.

    What a busy machine makes it wait is not the picture's fault, so the clock on the wall is given `STALL` times as
    much. 0 calls both off.
    """
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, seconds)
        signal.setitimer(signal.ITIMER_REAL, STALL * seconds)


def _restrict() -> None:
    """Step back behind the encoder, and fail with MemoryError rather than eat the machine's memory."""
    if hasattr(os, "nice"):
        os.nice(NICENESS)
    if importlib.util.find_spec("resource"):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        limit = MEMORY_LIMIT if hard == resource.RLIM_INFINITY else min(hard, MEMORY_LIMIT)
        resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))
