"""Every Pillow mode to 8-bit RGB, each sample to the value that a viewer shows, transparency over white.

What Pillow's own `convert("RGB")` gets wrong for search: alpha is dropped (whatever colour hides under it appears),
16-bit grey is clipped at 255, and 32-bit grey too.

Colour profiles are left aside on purpose. The training pipelines of CLIP and BLIP read pixels with Pillow and ignore
the ICC profile, so converting here would show the encoder pictures it was not trained on; a profile parser is also
more untrusted code. The price: wide-gamut photographs look slightly pale, and CMYK is converted by the plain formula
R = (255 - C)(255 - K) / 255, as Pillow does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339  # TIFF tag numbers
_STRIP = 1_000_000  # pixels that are converted at once where a mask has to be made of them


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert a loaded picture to a new RGB picture, with transparency composed over white.

    - 1, L, P, RGB, RGBX, CMYK, YCbCr, LAB, HSV: as Pillow converts them.
    - LA, La, PA, RGBA, RGBa, or a transparent colour in the header: over white.
    - I;16 in any byte order: the upper 8 bits, which is also what Pillow takes of 16-bit RGB, so that a grey picture
      comes out alike whether stored with one channel or three. 12-bit TIFF: the upper 8 of 12.
    - I from signed 16-bit TIFF: 32767 is white, negative values are black.
    - I and F otherwise, where no format states what is white: the smallest of 1 (F only), 255 and 65535 that holds the
      whole picture; beyond that, or with negative values, the picture's own range is stretched. NaN is black.

    Args:
        image: Any mode, any size of at least 1 x 1; a TIFF must still be the plug-in's object, for its tags.

    Returns:
        Mode RGB, same size; shares no memory with `image`.

    Raises:
        ValueError: A mode that Pillow cannot convert, or a malformed transparent colour.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return _grey_to_rgb(image)
    if image.has_transparency_data:
        return _over_white(image)
    return image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    canvas = Image.new("RGB", image.size, "white")
    if image.mode in ("RGBA", "LA"):  # only these two can be their own mask
        canvas.paste(image, (0, 0), image)
        return canvas
    rows = max(1, _STRIP // image.width)
    for top in range(0, image.height, rows):  # in strips, for a third whole picture would not fit `Limits`
        strip = image.crop((0, top, image.width, min(top + rows, image.height)))
        strip = strip.convert("LA" if image.mode == "La" else "RGBA")
        canvas.paste(strip, (0, top), strip)
    return canvas


def _grey_to_rgb(image: Image.Image) -> Image.Image:
    tags: Any = getattr(image, "tag_v2", {})
    values = np.asarray(image)
    bits, sample_format = tags.get(_BITS_PER_SAMPLE, (0,))[0], tags.get(_SAMPLE_FORMAT, (1,))[0]
    if image.mode.startswith("I;16"):
        grey = (values >> (4 if bits == 12 else 8)).astype(np.uint8)
    elif image.mode == "I" and bits == 16:
        grey = (values.clip(0, None) >> 7).astype(np.uint8)
    elif image.mode == "I" and bits == 32 and sample_format == 1:
        grey = _fit_range(values.view(np.uint32))  # Pillow's I is signed, the file is not
    else:
        grey = _fit_range(values)
    if tags.get(_PHOTOMETRIC) == 0:
        grey = 255 - grey  # white is zero; Pillow minds that for up to 8 bits only
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey = np.where(values == transparent, np.uint8(255), grey)
    return Image.fromarray(grey).convert("RGB")


def _fit_range(values: np.ndarray) -> np.ndarray:
    """Scale numbers without a stated white point to uint8, (H, W) -> (H, W)."""
    whites = (1.0, 255.0, 65535.0) if values.dtype.kind == "f" else (255.0, 65535.0)
    scaled = values.astype(np.float32)
    finite = scaled[np.isfinite(scaled)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    white = next((white for white in whites if low >= 0 and high <= white), None)
    bottom, span = (0.0, white) if white else (low, (high - low) or 1.0)
    scaled = (np.clip(scaled, low, high) - bottom) * (255.0 / span)
    return np.nan_to_num(scaled + 0.5, nan=0.0).astype(np.uint8)
