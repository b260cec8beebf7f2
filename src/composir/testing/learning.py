"""The part of a method's contract that is about training."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

from composir.config import TrainConfig
from composir.datasets import load_dataset
from composir.errors import ComposirError
from composir.methods.base import FrozenSide, Method
from composir.testing.compare import own_chance, require, require_raises
from composir.training.fit import fit
from composir.training.pairs import pair_batches
from composir.training.pictures import Source
from composir.training.triplets import triplet_batches

STEPS = 10
LR = 1e-3


SIDES: dict[str, tuple[FrozenSide, ...]] = {
    "pairs": ("image", "text"),
    "triplets": ("reference", "target", "text", "reversed_text"),
}


def wardrobe_batches(method: Method, batch_size: int = 12) -> list[dict[str, Any]]:
    """The batches of one epoch over a few drawn garments, as `composir train` would feed them to the method."""
    dataset = load_dataset("wardrobe", train=24, val=6, test=6)
    source = Source(dataset, TrainConfig(epochs=1, batch_size=batch_size, lr=LR, workers=0), device=_device(method))
    if method.trains_on == "pairs":
        return list(pair_batches(method, dataset.pairs("train"), source))
    return list(triplet_batches(method, dataset.triplets("train"), source))


def _device(method: Method) -> torch.device:
    return next(method.parameters()).device


def check_training(method: Method, batches: Sequence[dict[str, Any]] = ()) -> None:
    """Assert what `check_method` says of training; a method that trains on nothing must say so when asked for a loss.

    Args:
        method: In any mode; it is left as it is.
        batches: What its `loss` takes; made from Wardrobe where none are given.

    Raises:
        AssertionError: It breaks the contract; the message says where.
    """
    method = copy.deepcopy(method)
    if method.trains_on == "nothing":
        require(not method.tuned, f"tuned names {method.tuned}, but the method trains on nothing")
        require_raises(lambda: method.loss({}), ComposirError, "loss of a method that trains on nothing")
        return
    if not batches:
        with own_chance():
            batches = wardrobe_batches(method)
    _check_modes(method)
    _check_groups(method)
    _check_gradients(method, batches[0])
    _check_fit(method, batches[0])


def _check_modes(method: Method) -> None:
    """train() leaves frozen parts in eval mode, eval() everything."""
    method.train()
    require(method.training, "train() leaves the method in eval mode")
    for name, module in method.named_modules():
        parameters = list(module.parameters())
        if parameters:
            trains = any(p.requires_grad for p in parameters)
            told = f"after train() the {'trainable' if trains else 'frozen'} part {name!r} is in the wrong mode"
            require(module.training == trains, told)
    method.eval()
    require(not any(module.training for module in method.modules()), "eval() leaves a part in training mode")


def _check_groups(method: Method) -> None:
    """What the optimiser gets, and what a checkpoint must hold."""
    given = [id(p) for group in method.parameter_groups(0.1) for p in group["params"]]  # type: ignore[attr-defined]
    trainable = {name: p for name, p in method.named_parameters() if p.requires_grad}
    require(bool(trainable), f"it trains on {method.trains_on}, but no parameter requires a gradient")
    require(len(given) == len(set(given)), "parameter_groups gives a parameter twice")
    same = set(given) == {id(p) for p in trainable.values()}
    require(same, "parameter_groups does not give exactly the parameters that require a gradient")
    for name in trainable:
        told = f"{name!r} is trainable, but `tuned` does not name it or `kept` leaves it out, so it would not be saved"
        require(method.kept(name), told)


def _check_gradients(method: Method, batch: dict[str, Any]) -> None:
    method = copy.deepcopy(method).train()
    with own_chance():
        losses = method(batch)
    require("loss" in losses, f"loss() gives {sorted(losses)}; the total must be named 'loss'")
    for name, value in losses.items():
        require(value.numel() == 1, f"loss() gives {name!r} of shape {tuple(value.shape)}, not one number")
    require(bool(torch.isfinite(losses["loss"])), f"the loss is {losses['loss'].item()}")
    losses["loss"].backward()
    for name, parameter in method.named_parameters():
        if parameter.requires_grad:
            gradient = parameter.grad
            require(gradient is not None, f"{name!r} is declared trainable, but no gradient reaches it")
            require(gradient is not None and bool(gradient.isfinite().all()), f"the gradient of {name!r} is not finite")
        else:
            require(parameter.grad is None, f"{name!r} is frozen, but a gradient reaches it")
    require(any(p.grad is not None and bool(p.grad.any()) for p in method.parameters()), "every gradient is zero")


def _check_fit(method: Method, batch: dict[str, Any]) -> None:
    """A few steps on one batch: the loss falls, what is frozen stays to the last bit, also what `frozen` says is."""
    method = copy.deepcopy(method)
    keys = _frozen_keys(method)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    frozen = {name for name, p in method.named_parameters() if not p.requires_grad}
    with own_chance():
        losses = [step.losses["loss"] for step in fit(method, [batch] * STEPS, steps=STEPS, lr=LR)]
    late = sum(losses[-3:]) / 3
    require(late < losses[0], f"{STEPS} steps on one batch do not reduce the loss: {losses[0]:.4f} to {late:.4f}")
    for name in frozen:
        require(torch.equal(before[name].cpu(), method.state_dict()[name].cpu()), f"{name!r} is frozen, but changes")
    for side, key in _frozen_keys(method).items():
        require(key == keys[side], f"frozen({side!r}) has another key after training, so what it says is frozen is not")


def _frozen_keys(method: Method) -> dict[FrozenSide, str]:
    keys: dict[FrozenSide, str] = {}
    for side in SIDES[method.trains_on]:
        frozen = method.frozen(side)
        if frozen is not None:
            keys[side] = frozen.key
    return keys
