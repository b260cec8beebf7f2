"""Picture -> pixels, as a checkpoint's preprocessor config says; Pillow and numpy only."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Transform:
    """Resize, crop, scale and normalise one RGB picture.

    Two steps, so that workers hand over bytes instead of floats: `pixels` (uint8) then `normalise` (a whole batch).

    Attributes:
        size: Side S of the square output, in pixels.
        resize: "shortest" = shorter side to `resize_to`, aspect kept, then centre crop to S (CLIP);
            "exact" = both sides to S, aspect ignored (SigLIP).
        resize_to: Target of "shortest"; usually S.
        resample: PIL.Image.Resampling value.
        mean, std: Per channel, on the 0..1 scale.
    """

    size: int
    resize: Literal["shortest", "exact"]
    resize_to: int
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def spec(self) -> str:
        """Canonical text of everything that changes the output; part of the gallery key."""
        return repr(sorted(asdict(self).items()))

    def pixels(self, image: Image.Image) -> UInt8[NDArray, "3 S S"]:
        """Geometry only, 0..255."""
        raise NotImplementedError

    def normalise(self, pixels: UInt8[Tensor, "*B 3 S S"]) -> Float[Tensor, "*B 3 S S"]:
        """Scale to 0..1, subtract the mean, divide by the deviation."""
        scale = torch.tensor(self.std, device=pixels.device).view(3, 1, 1) * 255
        shift = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1) * 255
        return (pixels.float() - shift) / scale

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 S S"]:
        """Both steps on one picture."""
        return self.normalise(torch.from_numpy(np.ascontiguousarray(self.pixels(image))))
