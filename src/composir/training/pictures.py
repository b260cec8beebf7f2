"""The pictures that batches are made of: decoded bytes, or features where no step changes what reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from composir.backbones.transform import Transform
from composir.config import TrainConfig
from composir.datasets.base import Dataset
from composir.errors import DataError
from composir.features import Features, Tick, image_features, text_features
from composir.loading import Failure, pixel_batches
from composir.methods.base import Frozen
from composir.training.augment import Moves
from composir.training.room import room


@dataclass(frozen=True)
class Pixels:
    """Decoded pictures."""

    rows: UInt8[Tensor, "N 3 S S"]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: Int[Tensor, " B"]) -> UInt8[Tensor, "B 3 S S"]:
        """Some of them."""
        return self.rows[rows]


@dataclass(frozen=True)
class Pictures:
    """Pictures by id, ready for batches.

    Attributes:
        store: Their bytes or features.
        row: Where each lies.
        failed: Why others are not there.
        frozen: What reads the bytes once they are moved, where no step changes it; else they go to the method.
        device: Of `frozen`.
    """

    store: Pixels | Features
    row: Mapping[str, int]
    failed: Mapping[str, Failure] = field(default_factory=dict)
    frozen: Frozen | None = None
    device: torch.device | None = None

    @torch.no_grad()
    def take(self, ids: Sequence[str], moves: Moves) -> Tensor:
        """uint8 pixels (B, 3, S, S), moved; or features (B, ...), kept ones, or those of the moved pixels."""
        taken = self.store.take(torch.tensor([self.row[i] for i in ids], dtype=torch.int64))
        if isinstance(self.store, Features):
            return taken
        pixels = moves(taken)
        if self.frozen is None or self.frozen.transform is None:
            return pixels
        return self.frozen.run(self.frozen.transform.normalise(pixels.to(self.device)))


@dataclass(frozen=True)
class Source:
    """Where pictures come from, and how they are prepared.

    Attributes:
        dataset: Gives them.
        config: Workers, augmentation, what to do with bad ones.
        cache: Folder of features; None keeps them in memory.
        dtype: Of stored features.
        device: Where frozen towers are.
        tick: Told how many pictures of how many are done.
    """

    dataset: Dataset
    config: TrainConfig
    cache: Path | None = None
    dtype: torch.dtype = torch.float32
    device: torch.device | None = None
    tick: Tick = lambda *_: None

    def pictures(self, ids: Sequence[str], transform: Transform, frozen: Frozen | None) -> Pictures:
        """Pictures under `transform`, or what `frozen` makes of them: once for all, or of each as it is moved.

        Raises:
            DataError: A picture cannot be read and [train] skip_bad is not set; it is named.
            ComposirError: Neither memory nor disk has room for them.
        """
        unique, skip = list(dict.fromkeys(ids)), self.config.skip_bad
        moving = bool(self.config.shift or self.config.flip)
        try:
            if frozen is None or moving:
                store, kept, failed = decoded(
                    self.dataset, unique, transform, self.config.workers, self.tick, skip_bad=skip, spill=self.cache
                )
                return Pictures(Pixels(store), {i: row for row, i in enumerate(kept)}, failed, frozen, self.device)
            found, kept, failed = image_features(
                frozen, self.dataset, unique, self.cache, dtype=self.dtype, device=self.device,
                workers=self.config.workers, skip_bad=skip, tick=self.tick,
            )  # fmt: skip
        except DataError as error:
            if skip:
                raise
            told = "or leave such pictures out by --skip-bad ([train] skip_bad = true)"
            raise DataError(f"{error}, {told}") from error
        return Pictures(found, {i: row for row, i in enumerate(kept)}, failed)

    def texts(self, texts: Sequence[str], frozen: Frozen) -> Features:
        """What `frozen` makes of texts, one row each."""
        return text_features(frozen, texts, self.cache, dtype=self.dtype, tick=self.tick)


def decoded(
    dataset: Dataset,
    ids: Sequence[str],
    transform: Transform,
    workers: int,
    tick: Tick = lambda *_: None,
    *,
    skip_bad: bool = False,
    spill: Path | None = None,
) -> tuple[UInt8[Tensor, "N 3 S S"], list[str], dict[str, Failure]]:
    """All pictures as one uint8 tensor of 3 * S * S bytes each.

    Args:
        dataset: Where they are.
        ids: Without repetitions.
        transform: Its `pixels` is applied.
        workers: Decoding processes, see `pixel_batches`.
        tick: Told how many pictures of how many are done.
        skip_bad: Leave out pictures that cannot be read.
        spill: Folder for the unnamed file that holds them where memory should not, see `room`.

    Returns:
        The pixels, the ids of their rows in the order of `ids`, and why others were left out.

    Raises:
        DataError: A picture cannot be read and `skip_bad` is not said; it is named.
        ComposirError: The disk has no room for them.
    """
    store = room((len(ids), 3, transform.size, transform.size), spill)
    kept: list[str] = []
    failed: dict[str, Failure] = {}
    on_error = "collect" if skip_bad else "raise"
    for batch in pixel_batches(dataset.image, ids, transform, 256, workers=workers, on_error=on_error):
        store[len(kept) : len(kept) + len(batch.ids)] = batch.pixels
        kept += batch.ids
        failed.update(batch.failures)
        tick(len(kept) + len(failed), len(ids))
    return store[: len(kept)], kept, failed
