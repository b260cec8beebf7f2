"""The one training loop: `for step in fit(method, batches, ...)`."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import KW_ONLY, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from composir.errors import ComposirError
from composir.methods.base import Method
from composir.training.chance import Chance, of_all, snapshot
from composir.training.recompute import recomputed
from composir.training.schedule import Schedule, factor

if TYPE_CHECKING:
    from accelerate import Accelerator

Precision = Literal["no", "bf16", "fp16"]
OPTIMIZERS = {"adamw": torch.optim.AdamW, "adam": torch.optim.Adam}
SHOWN = 8  # ids in a message
# Each halves the scale, which begins at 2^16: behind 20 it is 2^-4, and what is not finite then is so by itself.
SKIPS = 20
PATIENCE = timedelta(hours=12)  # of the other processes while the first computes features or validates
_TRACES = ("forward", "_original_forward", "_is_accelerate_prepared")  # left on a method by accelerate


@dataclass(frozen=True, slots=True)
class Step:
    """One optimiser step: its number from 1, the learning rate used, the loss and its parts (means over the step)."""

    number: int
    lr: float
    losses: dict[str, float]


class NotFiniteError(ComposirError):
    """A loss or gradient is NaN or infinite; the weights are those before the step.

    Attributes:
        step: Its number.
        ids: Of its examples, those of the processes in which the value is not finite.
        value: The loss, or the gradient's norm.
    """

    def __init__(self, what: str, value: float, step: int, ids: Sequence[str], where: str = ""):
        self.value, self.step, self.ids = value, step, list(ids)
        more = f", and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
        begins = f"the batch begins with {', '.join(self.ids[:SHOWN])}{more}"
        super().__init__(f"{what} is {value} at step {step}{where}; {begins}")


@dataclass
class fit(Iterator[Step]):  # noqa: N801  (called as `range` is)
    """Train in place, one optimiser step for each `accumulate` batches; a hook is a line in the caller's for loop.

    Args:
        method: What trains; its `parameter_groups` say which tensors, and which have rates of their own.
        batches: What `method.loss` takes; must have "ids" for messages. In a distributed run, this process's share.
        steps: Length of the schedule; fitting ends with it or with the batches.
        lr: Peak learning rate.
        optimizer: "adamw", or "adam", whose weight decay is part of the gradient.
        schedule: See `schedule.factor`.
        weight_decay: On matrices.
        warmup: Steps of rise.
        betas: The optimizer's.
        clip: Largest norm of the gradient; 0 for none.
        precision: "no" is float32; "bf16" and "fp16" run the forward pass under autocast, on a CPU too; "fp16" scales
            the loss, and leaves out steps whose gradient overflows.
        accumulate: Batches a step. The gradient is that of the mean of their losses: negatives within a batch stay its
            own, so 2 x 64 is not 128 for a contrastive loss.
        checkpointing: Compute activations again in the backward pass, where the method names modules for it.
        start: Steps already done; `batches` begin behind them.

    Attributes:
        adam: The optimizer, for what saves and restores its state.
        accelerator: accelerate's side of the run.
        done: Steps done.
        before: Where random numbers stood when the last step began.

    Raises:
        ComposirError: Nothing to train, a precision that this machine cannot do, or accelerate missing.
        NotFiniteError: While iterating: a loss or gradient that is not finite, in half precision a gradient that stays
            so for `SKIPS` steps in a row; the batch's ids are named.
    """

    method: Method
    batches: Iterable[dict[str, Any]]
    _: KW_ONLY
    steps: int
    lr: float
    optimizer: Literal["adamw", "adam"] = "adamw"
    schedule: Schedule = "cosine"
    weight_decay: float = 0.01
    warmup: int = 0
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    precision: Precision = "no"
    accumulate: int = 1
    checkpointing: bool = False
    start: int = 0
    adam: torch.optim.Optimizer = field(init=False, repr=False)
    accelerator: Accelerator = field(init=False, repr=False)
    done: int = field(init=False)
    before: Chance = field(init=False, repr=False)

    def __post_init__(self) -> None:
        groups: list[dict[str, Any]] = [g for g in self.method.parameter_groups(self.weight_decay) if g["params"]]
        if not groups:
            whose = f"method {self.method.name!r} has no trainable parameter"
            raise ComposirError(f"{whose}; it trains on {self.method.trains_on!r}")
        self.accelerator = accelerator_for(self.precision)
        self.method.to(self.accelerator.device)
        self.adam = OPTIMIZERS[self.optimizer](groups, lr=self.lr, betas=self.betas)
        self.done, self.before, self._skipped = self.start, snapshot(), 0
        self._steps = self._run()

    def __next__(self) -> Step:
        return next(self._steps)

    def close(self) -> None:
        """End early and take what stands around the method away."""
        self._steps.close()

    def _run(self) -> Generator[Step]:
        self.method.train()
        try:
            with recomputed(self.method, self.checkpointing):
                wrapped, optimizer = self.accelerator.prepare(self.method, self.adam)
                batches = iter(self.batches)
                for number in range(self.start + 1, self.steps + 1):
                    taken = list(itertools.islice(batches, self.accumulate))
                    if len(taken) < self.accumulate:
                        return
                    self.before = snapshot()
                    rate = self._set_rates(number - 1)
                    losses = self._backward(wrapped, taken, number)
                    optimizer.step()
                    self._count_skipped(optimizer.step_was_skipped, taken, number)
                    optimizer.zero_grad()
                    self.done = number
                    yield Step(number, rate, losses)
                    self.method.train()  # the caller may have evaluated in between
        finally:
            for trace in _TRACES:  # else the next fit is not prepared
                vars(self.method).pop(trace, None)

    def _set_rates(self, step: int) -> float:
        """Give every group its learning rate; returns that of the first."""
        now = self.lr * factor(self.schedule, step, self.steps, self.warmup)
        for group in self.adam.param_groups:
            group["lr"] = group.get("lr_scale", 1.0) * (self.lr if group.get("schedule") == "constant" else now)
        return float(self.adam.param_groups[0]["lr"])

    def _backward(self, wrapped: Any, taken: Sequence[dict[str, Any]], number: int) -> dict[str, float]:
        """Gradients of the mean loss over the batches of a step, clipped; returns the means of all losses."""
        totals: dict[str, Tensor] = {}
        for place, batch in enumerate(taken):
            with self.accelerator.no_sync(wrapped) if place < len(taken) - 1 else nullcontext():
                with self.accelerator.autocast():
                    losses = cast("dict[str, Tensor]", wrapped(batch))
                if not self._everywhere(torch.isfinite(losses["loss"])):
                    self._refuse("the loss", losses["loss"].item(), number, [batch])
                self.accelerator.backward(losses["loss"] / len(taken))
            for name, value in losses.items():
                totals[name] = totals.get(name, 0) + value.detach().float() / len(taken)
        norm = self._clip()
        if norm is not None and not math.isfinite(norm):
            self._refuse("the gradient's norm", norm, number, taken)
        if self.accelerator.num_processes > 1:
            totals = {name: cast(Tensor, self.accelerator.reduce(own, "mean")) for name, own in totals.items()}
        return {name: value.item() for name, value in totals.items()}

    def _clip(self) -> float | None:
        """Clip; the norm before, or None where half precision may overflow, which its scaler sees to."""
        scaler = self.accelerator.scaler
        scaled = scaler is not None and scaler.is_enabled()
        norm = None
        if self.clip > 0:
            norm = self.accelerator.clip_grad_norm_(self._trainable(), self.clip)
        elif not scaled:
            norm = self._norm()
        return None if norm is None or scaled else float(norm)

    def _norm(self) -> Tensor:
        return torch.nn.utils.get_total_norm(p.grad for p in self._trainable() if p.grad is not None)

    def _trainable(self) -> list[Tensor]:
        return [p for group in self.adam.param_groups for p in group["params"]]

    def _count_skipped(self, skipped: bool, taken: Sequence[dict[str, Any]], number: int) -> None:
        """Stop where the scaler of half precision leaves out step after step, for then it is not the scale."""
        self._skipped = self._skipped + 1 if skipped else 0
        if self._skipped == SKIPS:
            what = f"the gradient's norm, for which half precision has left out {SKIPS} steps in a row,"
            self._refuse(what, float(self._norm()), number, taken)

    def _everywhere(self, fine: Tensor) -> bool:
        """Whether it is true in all processes: one that stops alone would leave the others waiting."""
        if self.accelerator.num_processes > 1:
            return float(cast(Tensor, self.accelerator.reduce(fine.float(), "mean"))) == 1.0
        return bool(fine)

    def _refuse(self, what: str, value: float, number: int, batches: Sequence[dict[str, Any]]) -> None:
        """Raise in all processes, with the ids of those that are concerned."""
        self.adam.zero_grad()
        ids, where = [i for batch in batches for i in batch["ids"]], ""
        found = of_all((value, ids))
        count = len(found)
        if count > 1:
            bad = [rank for rank, (own, _) in enumerate(found) if not math.isfinite(own)]
            value, ids = found[bad[0]][0], [i for rank in bad for i in found[rank][1]]
            where = f" in all {count} processes"
            if len(bad) < count:
                where = f" on rank {', '.join(map(str, bad))} of {count} processes"
        raise NotFiniteError(what, value, number, ids, where)


def accelerator_for(precision: Precision) -> Accelerator:
    """Accelerate's side of a run; called early too, so that nobody waits for data to hear that it cannot train.

    Its `autocast` computes in `precision` on every device, and in "fp16" it has a scaler that is enabled.

    Raises:
        ComposirError: accelerate is missing, or this machine cannot compute in `precision`.
    """
    try:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.utils import InitProcessGroupKwargs
    except ImportError as error:
        raise ComposirError("training needs the train extra: pip install 'composir[train]'") from error
    # accelerate keeps the precision of a process's first Accelerator and refuses another; a second stage may differ.
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()
    try:
        patience = InitProcessGroupKwargs(timeout=PATIENCE)
        made = Accelerator(mixed_precision=precision, cpu=not torch.cuda.is_available(), kwargs_handlers=[patience])
    except ValueError as error:
        raise ComposirError(f"precision {precision!r} is not possible here: {error}") from error
    if precision == "fp16" and made.device.type == "cpu":
        # On a CPU accelerate computes "fp16" in float32 and says nothing; torch can do both of its parts.
        made.native_amp, made.scaler = True, torch.amp.GradScaler("cpu")
    return made
