"""What the checks share: requirements with a message, comparisons, and something to look at and to read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

# Sums in another order differ by about 1e-7 in single precision, and tens of layers pass that on.
TOLERANCE = 1e-5
# What counts as another output: far above TOLERANCE, far below what another picture makes even in random towers.
APART = 1e-3
TEXTS = (
    "is red and has short sleeves",
    "the same in blue, but longer and with a floral print",
    "no logo",
    "shows two dogs instead of a cat on a green sofa in the evening light",
    "is darker",
)


def require(fine: bool, message: str) -> None:
    """Raise AssertionError with the message unless `fine`; unlike `assert`, also under `python -O`."""
    if not fine:
        raise AssertionError(message)


def require_close(got: Tensor, wanted: Tensor, what: str, tolerance: float) -> None:
    """Both tensors of one shape and within `tolerance` of each other everywhere."""
    require(got.shape == wanted.shape, f"{what}: shape {tuple(got.shape)} instead of {tuple(wanted.shape)}")
    worst = _distance(got, wanted)
    require(worst <= tolerance, f"{what}: differs by {worst:.3g}; at most {tolerance:g} is allowed")


def require_apart(one: Tensor, other: Tensor, what: str) -> None:
    """Tensors of one shape that differ somewhere by more than APART."""
    require(_distance(one, other) > APART, what)


def _distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max()) if one.numel() else 0.0


def require_raises(
    call: Callable[[], object], kinds: type[Exception] | tuple[type[Exception], ...], what: str, naming: str = ""
) -> None:
    """The call raises one of `kinds`, and the message names `naming`."""
    try:
        call()
    except kinds as error:
        require(naming in str(error), f"{what}: the message does not name {naming!r}: {error}")
    except Exception as error:
        raise AssertionError(f"{what}: raises {type(error).__name__} ({error})") from error
    else:
        raise AssertionError(f"{what}: nothing is raised")


@contextmanager
def own_chance(seed: int = 0) -> Iterator[None]:
    """Seed torch inside the block; the caller's random state comes back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def pictures(count: int = 6) -> list[Image.Image]:
    """Coloured noise of odd sizes, always the same."""
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        blocks = rng.integers(0, 256, (5, 4, 3), dtype=np.uint8)
        made.append(Image.fromarray(blocks).resize((40 + 13 * number, 90 - 7 * number), Image.Resampling.NEAREST))
    return made


def perturbed(module: nn.Module, prefixes: Sequence[str], inside: bool = True) -> int:
    """Add noise in place to the floating tensors whose name starts with one of `prefixes`, or to all others.

    Returns:
        How many tensors that were.
    """
    generator = torch.Generator().manual_seed(0)
    count = 0
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and name.startswith(tuple(prefixes)) == inside:
            noise = torch.randn(tensor.shape, generator=generator)
            tensor.add_(0.3 * noise.to(tensor))
            count += 1
    return count
