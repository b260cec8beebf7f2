"""Ids -> pixels -> batches: pictures decoded in worker processes, in order, within bounded memory.

Used by index, evaluation and training. This is not torch's DataLoader, for one reason: when a picture kills or hangs
its worker, DataLoader ends the whole run, while here that picture is reported and a fresh worker goes on with the rest.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from composir.backbones.transform import Transform
from composir.errors import AbsentError, DataError
from composir.loading.crew import Crew, decode_here, prepare, prepare_without_secrets
from composir.loading.worker import Decoder, Failure, Id, Read

__all__ = ["Batch", "Failure", "default_workers", "pixel_batches", "prepare", "prepare_without_secrets"]

PATIENCE = 10.0  # seconds one picture may take
BATCHES_AHEAD = 2  # batches decoded in advance: one to be encoded next, one being filled


@dataclass(frozen=True, slots=True)
class Batch(Generic[Id]):
    """Decoded pictures in the order asked for.

    Attributes:
        ids: B ids.
        pixels: (B, 3, S, S) uint8, as `Transform.pixels` gives them; `Transform.normalise` comes next.
        failures: Id and failure of each picture met on the way that could not be decoded.
    """

    ids: tuple[Id, ...]
    pixels: UInt8[Tensor, "B 3 S S"]
    failures: tuple[tuple[Id, Failure], ...] = ()


def default_workers() -> int:
    """As many as cores this process may use, 8 at most: they step back behind an encoder that uses the same cores.

    One for each core rather than fewer, so that the threads of an encoder on the CPU, which wait for one another, are
    all held up by the same little.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, cores)


def pixel_batches(
    read: Read[Id],
    ids: Iterable[Id],
    transform: Transform,
    batch_size: int,
    workers: int | None = None,
    *,
    on_error: Literal["raise", "collect"] = "raise",
    patience: float = PATIENCE,
    seed: int | None = None,
) -> Iterator[Batch[Id]]:
    """Decode pictures ahead of their use; every batch but the last holds exactly `batch_size` of them.

    Args:
        read: Opens one picture; with workers it must be picklable: a module-level function, a partial, a bound method.
        ids: Read lazily, at most `BATCHES_AHEAD` batches ahead.
        transform: Its `pixels` is applied in the worker.
        batch_size: B.
        workers: Processes; None = `default_workers()`; 0 = decode here, without protection against files that hang.
        on_error: "raise" stops at the first bad picture; "collect" leaves it out and lists it in `Batch.failures`.
        patience: Seconds one picture may compute before its worker is killed and it counts as bad; six times as many
            may pass, on a busy machine or a slow disk.
        seed: Makes a random transform repeatable, whatever the number of workers; None leaves it random.

    Raises:
        DataError: A picture cannot be decoded and `on_error` is "raise"; the message names it and the reason.
    """
    workers = default_workers() if workers is None else workers
    decoder = Decoder(read, transform, seed, patience)
    slots = BATCHES_AHEAD * batch_size
    decoded = Crew(decoder, workers, slots).decode(ids) if workers else decode_here(decoder, ids)
    room, kept, failures = _room(batch_size, transform), [], []
    try:
        for item, result in decoded:
            if not isinstance(result, Failure):
                room.numpy()[len(kept)] = result
                kept.append(item)
            elif on_error == "raise":
                raise DataError(_told(item, result))
            else:
                failures.append((item, result))
            if len(kept) == batch_size:
                yield Batch(tuple(kept), room, tuple(failures))
                room, kept, failures = _room(batch_size, transform), [], []
        if kept or failures:
            yield Batch(tuple(kept), room[: len(kept)], tuple(failures))
    finally:
        decoded.close()


def _told(item: object, failure: Failure) -> str:
    """The id, the reason, and the remedy, each said once."""
    told = failure.detail or failure.reason
    whose = "" if f"'{item}'" in told else f"{item}: "
    return f"{whose}{told}" + ("" if failure.reason == AbsentError.reason else "; mend or remove the file")


def _room(batch_size: int, transform: Transform) -> Tensor:
    return torch.empty(batch_size, 3, transform.size, transform.size, dtype=torch.uint8)
