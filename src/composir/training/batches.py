"""What batches of pairs and of triplets have in common: their order, which depends on (seed, epoch, place) alone."""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from composir.config import TrainConfig
from composir.errors import ComposirError
from composir.loading import Failure

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Share:
    """Which part of every batch is a process's own: the `rank`-th of `count` equal parts."""

    rank: int = 0
    count: int = 1


ALONE = Share()


def chance(*place: object) -> torch.Generator:
    """A generator that depends on `place` alone, such as ("batch", seed, epoch, number)."""
    digest = hashlib.blake2b("/".join(map(str, place)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


class Batches(ABC, Generic[T]):
    """Shuffled epochs over training examples; all that is drawn follows from (seed, epoch, number of the batch).

    Args:
        items: The examples, in the data set's order.
        config: Batch size, epochs, accumulation, seed, augmentation, blocks.
        share: What of each batch this process gets; draws are those of the whole batch.

    Attributes:
        steps: Optimiser steps an epoch, each over `config.accumulate` batches.
        failed: Pictures that could not be read, and why; examples that need them are not among `items`.

    Raises:
        ComposirError: A step needs more examples than there are, or processes cannot share a batch evenly.
    """

    what: str  # "pairs", for messages

    def __init__(self, items: Sequence[T], config: TrainConfig, share: Share):
        per_step = config.batch_size * config.accumulate
        if per_step > len(items):
            times = f" x accumulate {config.accumulate}" if config.accumulate > 1 else ""
            remedy = "make it smaller, or give more data"
            raise ComposirError(
                f"batch_size {config.batch_size}{times} is larger than the data ({len(items)} {self.what}); {remedy}"
            )
        if config.batch_size % share.count:
            raise ComposirError(
                f"batch_size {config.batch_size} cannot be shared by {share.count} processes; give a multiple of it"
            )
        self.items, self.config, self.share = items, config, share
        self.steps = len(items) // per_step
        self.failed: dict[str, Failure] = {}

    @abstractmethod
    def batch(self, chosen: Sequence[int], mine: slice, generator: torch.Generator) -> dict[str, Any]:
        """The batch of the examples `chosen[mine]`; as much is drawn from `generator` as for all that are chosen."""

    def order(self, generator: torch.Generator, blocks: bool) -> Tensor:
        """A permutation of all examples; with `blocks` neighbours in the data stay neighbours."""
        n, block = len(self.items), self.config.block if blocks else 1
        starts = torch.randperm(math.ceil(n / block), generator=generator) * block
        order = (starts[:, None] + torch.arange(block)).flatten()
        return order[order < n]

    def epoch(self, number: int, first: int = 0) -> Iterator[dict[str, Any]]:
        """The batches of one epoch from the `first` on; the rest of the data that fills no step is left out."""
        size = self.config.batch_size // self.share.count
        mine = slice(self.share.rank * size, (self.share.rank + 1) * size)
        for chosen, generator in self.drawn(number, first):
            yield self.batch(chosen, mine, generator)

    def drawn(self, number: int, first: int = 0) -> Iterator[tuple[list[int], torch.Generator]]:
        """Of each batch of an epoch from the `first` on, all its examples' places and the generator for `batch`."""
        c = self.config
        generator = torch.Generator().manual_seed(c.seed * 100_003 + number)
        blocks = float(torch.rand((), generator=generator)) < c.block_share
        order = self.order(generator, blocks)[: self.steps * c.accumulate * c.batch_size]
        for place, chosen in enumerate(order.split(c.batch_size)):
            if place >= first:
                yield chosen.tolist(), chance("batch", c.seed, number, place)

    def after(self, step: int) -> Iterator[dict[str, Any]]:
        """The batches that follow the first `step` optimiser steps, through all configured epochs."""
        epoch, inside = divmod(step, self.steps)
        for number in range(epoch, self.config.epochs):
            yield from self.epoch(number, inside * self.config.accumulate if number == epoch else 0)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All configured epochs, one after the other."""
        return self.after(0)
