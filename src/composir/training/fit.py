"""The one training loop: `fit` yields steps."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from composir.errors import ComposirError
from composir.methods.base import Method

if TYPE_CHECKING:
    from accelerate import Accelerator

Precision = Literal["no", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step: its number from 1, the learning rate used, the loss and its parts."""

    number: int
    lr: float
    losses: dict[str, float]


def warmup_cosine(step: int, steps: int, warmup: int) -> float:
    """Learning-rate factor of a step counted from 0: a linear rise over `warmup` steps, then a half cosine to 0."""
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, steps - warmup))
    return 0.5 * (1 + math.cos(math.pi * done))


def fit(
    method: Method,
    batches: Iterable[dict[str, Any]],
    *,
    steps: int,
    lr: float,
    weight_decay: float = 0.01,
    warmup: int = 0,
    betas: tuple[float, float] = (0.9, 0.98),
    clip: float = 1.0,
    precision: Precision = "no",
) -> Iterator[Step]:
    """Train in place, one optimiser step for each batch; a hook is a line in the caller's for loop.

    Args:
        method: What trains; its `parameter_groups` say which tensors.
        batches: What `method.loss` takes; must have "ids" for messages.
        steps: Length of the schedule; fitting ends with it or with the batches.
        lr: Peak learning rate.
        weight_decay: AdamW's, on matrices.
        warmup: Steps of linear rise before the cosine.
        betas: AdamW's.
        clip: Largest norm of the gradient; 0 for none.
        precision: "no" is float32; "bf16" and "fp16" run the forward pass under autocast.

    Raises:
        ComposirError: Nothing to train, a loss that is not finite (the batch's ids are named), a precision that this
            machine cannot do, or accelerate missing.
    """
    groups = [g for g in method.parameter_groups(weight_decay) if g["params"]]
    if not groups:
        raise ComposirError(f"method {method.name!r} has no trainable parameter; it trains on {method.trains_on!r}")
    accelerator = accelerator_for(precision)
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=betas)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: warmup_cosine(step, steps, warmup))
    method.train()
    wrapped, optimizer = accelerator.prepare(method, optimizer)
    trainable = [p for p in method.parameters() if p.requires_grad]
    try:
        for number, batch in enumerate(itertools.islice(batches, steps), start=1):
            with accelerator.autocast():
                losses = cast("dict[str, Tensor]", wrapped(batch))
            if not bool(torch.isfinite(losses["loss"])):
                shown = ", ".join(list(batch["ids"])[:8])
                total = losses["loss"].item()
                raise ComposirError(f"the loss is {total} at step {number}; the batch begins with {shown}")
            accelerator.backward(losses["loss"])
            if clip > 0:
                accelerator.clip_grad_norm_(trainable, clip)
            rate = float(schedule.get_last_lr()[0])
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
            yield Step(number, rate, {name: value.item() for name, value in losses.items()})
            method.train()  # the caller may have evaluated in between
    finally:
        for trace in ("forward", "_original_forward", "_is_accelerate_prepared"):  # else the next fit is not prepared
            method.__dict__.pop(trace, None)


def accelerator_for(precision: Precision) -> Accelerator:
    """Accelerate's side of a run; called early too, so that nobody waits for data to hear that it cannot train.

    Raises:
        ComposirError: accelerate is missing, or this machine cannot compute in `precision`.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
    except ImportError as error:
        raise ComposirError("training needs the train extra: pip install 'composir[train]'") from error
    # accelerate keeps the precision of a process's first Accelerator and refuses another; a second stage may differ.
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()
    try:
        return Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available())
    except ValueError as error:
        raise ComposirError(f"precision {precision!r} is not possible here: {error}") from error
