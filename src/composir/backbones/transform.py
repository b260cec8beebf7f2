"""Picture -> pixels, as a checkpoint's preprocessor config says; Pillow and numpy only.

Gives what CLIPImageProcessor and SiglipImageProcessor of transformers give, pixel by pixel.
Differs from them: only square output, and a panorama is cut before it is enlarged, so it cannot exhaust memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from composir.backbones.preprocessor import Preprocessor

# An enlarged longer side beyond this many output sides is computed only where the crop will look.
LONGEST = 128


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
        min_area: Training only: look at a random window of at least this share of the picture's area, 0 < share <= 1.
        flip: Training only: mirror every second picture. Off by default: texts say "left" and "facing right".
    """

    size: int
    resize: Literal["shortest", "exact"]
    resize_to: int
    resample: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    min_area: float = 1.0
    flip: bool = False

    @classmethod
    def from_preprocessor(cls, config: Mapping[str, Any]) -> Transform:
        """Read the content of a `preprocessor_config.json`, old spelling or new.

        Raises:
            ComposirError: A key is unknown, missing or asks for something this class does not do; the message names it.
        """
        read = Preprocessor(config)
        resize_to, square = read.resize()
        size = read.crop(resize_to, square)
        mean, std = read.normalisation()
        return cls(size, "exact" if square else "shortest", resize_to, read.resample(), mean, std)

    def to_preprocessor(self, processor: str) -> dict[str, object]:
        """Content of a `preprocessor_config.json`; `processor` is transformers' class name, e.g. CLIPImageProcessor."""
        shortest = self.resize == "shortest"
        side = {"height": self.size, "width": self.size}
        return {
            "image_processor_type": processor,
            "do_convert_rgb": True,
            "do_resize": True,
            "size": {"shortest_edge": self.resize_to} if shortest else side,
            "resample": int(self.resample),
            "do_center_crop": shortest,
            **({"crop_size": side} if shortest else {}),
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": list(self.mean),
            "image_std": list(self.std),
        }

    def augmented(self, min_area: float, flip: bool = False) -> Transform:
        """The same map with the random steps of training switched on."""
        return replace(self, min_area=min_area, flip=flip)

    def resized(self, size: int) -> Transform:
        """The same map to another side, in proportion."""
        return replace(self, size=size, resize_to=round(self.resize_to * size / self.size))

    @property
    def spec(self) -> str:
        """Canonical text of everything that changes the output; part of the gallery key."""
        return repr(sorted(asdict(self).items()))

    def pixels(self, image: Image.Image) -> UInt8[NDArray, "3 S S"]:
        """Geometry only, 0..255."""
        image = image if image.mode == "RGB" else image.convert("RGB")
        if self.min_area < 1:
            image = self._window(image)
        if self.flip and torch.rand(()) < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        resized = self._resize(image)
        return np.ascontiguousarray(np.asarray(self._crop(resized)).transpose(2, 0, 1))

    def normalise(self, pixels: UInt8[Tensor, "*B 3 S S"]) -> Float[Tensor, "*B 3 S S"]:
        """Scale to 0..1, subtract the mean, divide by the deviation."""
        scale = torch.tensor(self.std, device=pixels.device).view(3, 1, 1) * 255
        shift = torch.tensor(self.mean, device=pixels.device).view(3, 1, 1) * 255
        return (pixels.float() - shift) / scale

    def __call__(self, image: Image.Image) -> Float[Tensor, "3 S S"]:
        """Both steps on one picture."""
        return self.normalise(torch.from_numpy(self.pixels(image)))

    def _resize(self, image: Image.Image) -> Image.Image:
        resample = Image.Resampling(self.resample)
        if self.resize == "exact":
            return image.resize((self.size, self.size), resample)
        short, long = sorted(image.size)
        longer = int(self.resize_to * long / short)  # cut, not rounded: as torchvision and transformers do
        width, height = (self.resize_to, longer) if image.width <= image.height else (longer, self.resize_to)
        if longer <= LONGEST * max(self.size, self.resize_to):
            return image.resize((width, height), resample)
        # The same pixels, but only those of the centre crop: `box` keeps the full picture's grid and its surroundings.
        across, down = min(width, self.size), min(height, self.size)
        left, top = (width - across) // 2, (height - down) // 2
        x, y = image.width / width, image.height / height
        box = (left * x, top * y, min((left + across) * x, image.width), min((top + down) * y, image.height))
        return image.resize((across, down), resample, box=box)

    def _crop(self, image: Image.Image) -> Image.Image:
        """Centre crop to S; a side that is shorter is padded with black, the odd pixel in front (as transformers)."""
        if image.size == (self.size, self.size):
            return image
        left, top = (_start(side, self.size) for side in image.size)
        return image.crop((left, top, left + self.size, top + self.size))

    def _window(self, image: Image.Image) -> Image.Image:
        """A random window of the picture: area share min_area..1, aspect within 9:10 of the picture's own."""
        area, tilt, x, y = torch.rand(4).tolist()
        share = self.min_area + (1 - self.min_area) * area
        stretch = math.exp((2 * tilt - 1) * math.log(10 / 9) / 2)
        width = max(1, min(image.width, round(image.width * math.sqrt(share) * stretch)))
        height = max(1, min(image.height, round(image.height * math.sqrt(share) / stretch)))
        left, top = int(x * (image.width - width + 1)), int(y * (image.height - height + 1))
        return image.crop((left, top, left + width, top + height))


def _start(side: int, wanted: int) -> int:
    """Where a centred window of `wanted` pixels begins in `side` pixels; negative where it sticks out."""
    return (side - wanted) // 2 if side >= wanted else -math.ceil((wanted - side) / 2)
