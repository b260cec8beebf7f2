"""The light augmentation of training on decoded bytes: a shift and a mirror, drawn apart from being applied."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int, UInt8
from torch import Tensor


@dataclass(frozen=True)
class Moves:
    """What is to be done to each of B pictures.

    Attributes:
        down, right: Pixels by which the window moves.
        mirrored: Whether left and right change places.
    """

    down: Int[Tensor, " B"]
    right: Int[Tensor, " B"]
    mirrored: Bool[Tensor, " B"]

    @classmethod
    def draw(cls, count: int, reach: int, flip: bool, generator: torch.Generator) -> Moves:
        """Up to `reach` pixels each way, and every second one mirrored if `flip`."""
        down, right = torch.randint(-reach, reach + 1, (2, count), generator=generator)
        return cls(down, right, (torch.rand(count, generator=generator) < 0.5) & flip)

    def of(self, rows: slice) -> Moves:
        """Those of some of the pictures."""
        return Moves(self.down[rows], self.right[rows], self.mirrored[rows])

    def __call__(self, pixels: UInt8[Tensor, "B 3 S S"]) -> UInt8[Tensor, "B 3 S S"]:
        """Move and mirror; at the edges the outermost pixels repeat."""
        if not bool(self.down.any() or self.right.any() or self.mirrored.any()):
            return pixels
        b, _, s, _ = pixels.shape
        rows, columns = ((torch.arange(s) + by[:, None]).clamp(0, s - 1) for by in (self.down, self.right))
        columns = torch.where(self.mirrored[:, None], columns.flip(1), columns)
        batch = torch.arange(b).view(b, 1, 1, 1)
        return pixels[batch, torch.arange(3).view(1, 3, 1, 1), rows.view(b, 1, s, 1), columns.view(b, 1, 1, s)]
