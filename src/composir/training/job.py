"""A run, built: everything that a run file names, decoded and computed as far as training needs it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from composir.config import RunConfig
from composir.datasets import load_dataset
from composir.datasets.base import Dataset
from composir.features import cache_folder
from composir.methods.base import Method
from composir.training.batches import Batches, Share
from composir.training.build import build_method
from composir.training.pairs import pair_batches
from composir.training.pictures import Source
from composir.training.triplets import triplet_batches
from composir.training.validate import Validation

if TYPE_CHECKING:
    from accelerate import Accelerator

NAMED = 8  # pictures in a message


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: "preparing" pictures and texts or "training" steps, how many of how many, the latest loss."""

    stage: str
    done: int
    total: int
    told: str = ""


Say = Callable[[str], None]
Watch = Callable[[Progress], None]


@dataclass
class Job:
    """A run, ready for its first step.

    Attributes:
        config: The run file.
        method: On its device.
        batches: Of training.
        validation: Ready in the first process; the others do not validate.
        sizes: How many of what there are, for the card.
        say, watch: The caller's ears.
        start: When it began, on the clock of `time.perf_counter`; a resumed run began as much earlier as it had run.
        best: The row of the best validation so far.
    """

    config: RunConfig
    method: Method
    batches: Batches[Any]
    validation: Validation
    sizes: dict[str, int]
    say: Say
    watch: Watch
    start: float
    best: dict[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.batches.steps * self.config.train.epochs

    @property
    def seconds(self) -> float:
        """That it has taken."""
        return round(time.perf_counter() - self.start, 1)


def prepared(config: RunConfig, accelerator: Accelerator, say: Say, watch: Watch) -> Job:
    """Build what the run file names; in every process, the first one ahead where features are computed.

    Raises:
        ComposirError: Something does not fit what it names, or the data cannot be read.
    """
    start = time.perf_counter()
    dataset = load_dataset(config.data.name, **config.data.arguments)
    _seed(config.train.seed)
    method = build_method(config, dataset)
    method.to(accelerator.device)
    source = Source(
        dataset=dataset,
        config=config.train,
        cache=cache_folder(config.features.folder),
        dtype=getattr(torch, config.features.dtype),
        device=accelerator.device,
        tick=lambda done, total: watch(Progress("preparing", done, total)),
    )
    validation = Validation(method, source, config.eval.metric)
    share = Share(accelerator.process_index, accelerator.num_processes)
    with accelerator.main_process_first():
        count, batches = _batches(method, dataset, source, share)
    if accelerator.is_main_process:
        validation.prepare()
    if config.train.compile:
        # Best with attention = "eager": on CPUs the flash kernel's backward pass is slow and does not fuse.
        method.backbone.image.compile()
    sizes = {f"training {batches.what}": len(batches.items)}
    if batches.failed:
        shown = "; ".join(f"{i}: {failure.detail or failure.reason}" for i, failure in _first(batches.failed))
        say(
            f"left out {count - len(batches.items)} of {count} training {batches.what}, for {len(batches.failed)} "
            f"pictures cannot be read: {shown}"
        )
        sizes["pictures left out"] = len(batches.failed)
    job = Job(config, method, batches, validation, sizes, say, watch, start)
    # Anew, for what was drawn in between depends on what this process had imported. Others drop out other units.
    _seed(config.train.seed * 1_000_003 + 1 + accelerator.process_index)
    say(f"{len(batches.items)} training {batches.what} ready after {job.seconds:.0f} s")
    return job


def _batches(method: Method, dataset: Dataset, source: Source, share: Share) -> tuple[int, Batches[Any]]:
    """How many training examples there are, and batches of those that can be read."""
    if method.trains_on == "pairs":
        pairs = dataset.pairs("train")
        return len(pairs), pair_batches(method, pairs, source, share)
    triplets = dataset.triplets("train")
    return len(triplets), triplet_batches(method, triplets, source, share)


def _first(failed: dict[str, Any]) -> list[tuple[str, Any]]:
    return list(failed.items())[:NAMED]


def _seed(seed: int) -> None:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)
