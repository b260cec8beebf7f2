"""Image-caption pairs as training batches: every picture is decoded or drawn once and kept as bytes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from composir.backbones.transform import Transform
from composir.config import TrainConfig
from composir.datasets.base import Dataset
from composir.errors import ComposirError
from composir.loading import pixel_batches
from composir.types import Pair


def decoded(
    dataset: Dataset,
    ids: Sequence[str],
    transform: Transform,
    workers: int,
    tick: Callable[[int], None] = lambda _: None,
) -> UInt8[Tensor, "N 3 S S"]:
    """All pictures as one uint8 tensor of 3 * S * S bytes each; `tick` hears how many are done.

    Raises:
        ComposirError: A picture cannot be read; it is named.
    """
    store = torch.empty(len(ids), 3, transform.size, transform.size, dtype=torch.uint8)
    done = 0
    for batch in pixel_batches(dataset.image, ids, transform, 256, workers=workers):
        store[done : done + len(batch.ids)] = batch.pixels
        done += len(batch.ids)
        tick(done)
    return store


def shifted(
    pixels: UInt8[Tensor, "B 3 S S"], reach: int, flip: bool, generator: torch.Generator
) -> UInt8[Tensor, "B 3 S S"]:
    """Move each picture by up to `reach` pixels each way (edges repeat) and mirror every second one if `flip`."""
    b, _, s, _ = pixels.shape
    offsets = torch.randint(-reach, reach + 1, (2, b, 1), generator=generator)
    rows, columns = ((torch.arange(s) + o).clamp(0, s - 1) for o in offsets)
    if flip:
        mirrored = torch.rand(b, 1, generator=generator) < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    batch = torch.arange(b).view(b, 1, 1, 1)
    return pixels[batch, torch.arange(3).view(1, 3, 1, 1), rows.view(b, 1, s, 1), columns.view(b, 1, 1, s)]


class PairBatches:
    """Endless shuffled epochs over pairs, one caption of each drawn anew every time.

    Args:
        pairs: The training pairs, in catalogue order.
        pixels: Their pictures in the same order.
        config: Batch size, seed, augmentation, blocks.

    Raises:
        ComposirError: A batch larger than the data.
    """

    def __init__(self, pairs: Sequence[Pair], pixels: UInt8[Tensor, "N 3 S S"], config: TrainConfig):
        if config.batch_size > len(pairs):
            raise ComposirError(f"batch_size {config.batch_size} is larger than the data ({len(pairs)} pairs)")
        self.pairs, self.pixels, self.config = pairs, pixels, config
        self.steps = len(pairs) // config.batch_size

    def order(self, generator: torch.Generator, blocks: bool) -> Tensor:
        """A permutation of all pairs; with `blocks` neighbours in the data stay neighbours."""
        n, block = len(self.pairs), self.config.block if blocks else 1
        starts = torch.randperm(math.ceil(n / block), generator=generator) * block
        order = (starts[:, None] + torch.arange(block)).flatten()
        return order[order < n]

    def epoch(self, number: int) -> Iterator[dict[str, Any]]:
        """The batches of one epoch, the same for equal (seed, number); the rest that fills no batch is left out."""
        c = self.config
        generator = torch.Generator().manual_seed(c.seed * 100_003 + number)
        blocks = float(torch.rand((), generator=generator)) < c.block_share
        order = self.order(generator, blocks)
        for chosen in order[: self.steps * c.batch_size].split(c.batch_size):
            pairs = [self.pairs[i] for i in chosen.tolist()]
            draws = torch.rand(len(pairs), generator=generator).tolist()
            yield {
                "ids": [p.id for p in pairs],
                "texts": [p.captions[int(u * len(p.captions))] for p, u in zip(pairs, draws, strict=True)],
                "pixels": shifted(self.pixels[chosen], c.shift, c.flip, generator),
            }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """All configured epochs, one after the other."""
        for number in range(self.config.epochs):
            yield from self.epoch(number)
