"""Where the random number generators of all processes stand, as tensors and JSON: torch, Python and numpy."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from composir.losses import processes

T = TypeVar("T")
Chance = tuple[dict[str, Tensor], dict[str, Any]]  # tensors, the rest


def snapshot() -> Chance:
    """Where they stand now."""
    state: Any = np.random.get_state(legacy=False)
    version, inner, gauss = random.getstate()
    tensors = {"torch": torch.get_rng_state(), "numpy": torch.from_numpy(state["state"]["key"].astype(np.int64))}
    if torch.cuda.is_available():
        tensors |= {f"cuda{i}": own for i, own in enumerate(torch.cuda.get_rng_state_all())}
    tensors["python"] = torch.tensor(inner, dtype=torch.int64)
    numpy = [state["bit_generator"], state["state"]["pos"], state["has_gauss"], state["gauss"]]
    return tensors, {"python": [version, gauss], "numpy": numpy}


def of_all(own: T) -> list[T]:
    """What each process of a distributed run calls its own, such as a snapshot, by rank; all of them must ask."""
    found = [own] * processes()
    if len(found) > 1:
        torch.distributed.all_gather_object(found, own)
    return found


@contextmanager
def kept_chance() -> Iterator[None]:
    """Within it, draws do not move the generators of what comes after."""
    tensors, rest = snapshot()
    try:
        yield
    finally:
        put_back(tensors, rest)


def put_back(tensors: Mapping[str, Tensor], rest: Mapping[str, Any]) -> None:
    """Let them go on from a snapshot; one of another number of GPUs leaves those as they are."""
    torch.set_rng_state(tensors["torch"])
    cuda = [tensors[f"cuda{i}"] for i in range(sum(name.startswith("cuda") for name in tensors))]
    if cuda and torch.cuda.device_count() == len(cuda):
        torch.cuda.set_rng_state_all(cuda)
    version, gauss = rest["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    name, position, has_gauss, cached = rest["numpy"]
    np.random.set_state((name, tensors["numpy"].numpy().astype(np.uint32), position, has_gauss, cached))
