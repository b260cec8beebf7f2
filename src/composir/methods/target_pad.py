"""CLIP4Cir's way to prepare a picture: pad a long one towards a square before the centre crop would cut it.

Baldrati et al., "Effective Conditioned and Composed Image Retrieval Combining CLIP-based Features", CVPR 2022.
Differs from the paper: a picture whose longer side exceeds `LONGEST` is reduced to that first, for a panorama padded at
full size would exhaust memory.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from composir.backbones.transform import Transform
from composir.errors import ComposirError

LONGEST = 8192  # pixels


@dataclass(frozen=True, slots=True)
class TargetPad(Transform):
    """Pad with black to an aspect of at most `ratio`, then shorter side to the output's and centre crop.

    Attributes:
        ratio: Longer over shorter side from which on a picture is padded; 1.25 in the paper.
    """

    ratio: float = 1.25

    @classmethod
    def around(cls, transform: Transform, ratio: float) -> TargetPad:
        """The same size, resampling and normalisation, with padding in front.

        Raises:
            ComposirError: A ratio below 1.
        """
        if not ratio >= 1:
            raise ComposirError(f"target_pad = {ratio} is below 1, the aspect of a square; the paper's is 1.25")
        same = asdict(transform) | {"resize": "shortest", "resize_to": transform.size}
        return cls(**same, ratio=ratio)

    def pixels(self, image: Image.Image) -> UInt8[NDArray, "3 S S"]:
        """Geometry only, 0..255."""
        # By name: a dataclass with slots is made anew, which a bare super() does not survive.
        return Transform.pixels(self, padded(image if image.mode == "RGB" else image.convert("RGB"), self.ratio))


def padded(image: Image.Image, ratio: float) -> Image.Image:
    """Black bars on both shorter sides, so that longer over shorter side is `ratio`; others stay as they are."""
    longer, shorter = max(image.size), min(image.size)
    if longer / shorter < ratio:
        return image
    if longer > LONGEST:
        image = image.resize(
            (max(1, round(image.width * LONGEST / longer)), max(1, round(image.height * LONGEST / longer))),
            Image.Resampling.BICUBIC,
        )
    wanted = max(image.size) / ratio
    # Cut, not rounded, as the authors' code does.
    across, down = (max(int((wanted - side) / 2), 0) for side in image.size)
    out = Image.new("RGB", (image.width + 2 * across, image.height + 2 * down))
    out.paste(image, (across, down))
    return out
