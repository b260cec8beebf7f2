"""Activation checkpointing: modules that a method names forget their activations and compute them again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint

from composir.errors import ComposirError
from composir.methods.base import Method


@contextmanager
def recomputed(method: Method, wanted: bool = True) -> Iterator[None]:
    """Within it, the modules that `method.checkpointing` names keep only their inputs for the backward pass.

    Raises:
        ComposirError: The method names none.
    """
    named = [module for name, module in method.named_modules() if wanted and _asked(method, name)]
    if wanted and not named:
        raise ComposirError(f"method {method.name!r} names no modules for activation checkpointing; set it to false")
    for module in named:
        vars(module)["forward"] = _forgetful(module.forward)
    try:
        yield
    finally:
        for module in named:
            vars(module).pop("forward", None)


def _asked(method: Method, name: str) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in method.checkpointing)


def _forgetful(forward: Callable[..., Any]) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, **kwargs)

    return run
