"""What a picture may cost, and the error for the one that costs more or is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from composir.errors import ComposirError

_BYTES_PER_PIXEL = 8
"""Working memory behind one pixel of `Limits.max_pixels`: Pillow stores the source and the RGB result in 4 each."""

_COSTLY_FORMATS = {"WEBP": 20.0, "AVIF": 16.0, "HEIC": 16.0}
_COSTLY_MODES = {"I": 32.0, "F": 32.0, "I;16": 10.0, "I;16B": 10.0, "I;16L": 10.0, "I;16N": 10.0}
"""Bytes per pixel where 8 do not suffice: WebP keeps two canvases and a copy, grey numbers pass through numpy."""

_SHORTEST_ROW = 6
"""Narrower rows are counted as this many pixels: each also costs a pointer and padding, so 1 x 100,000,000 is big."""


class ImageError(ComposirError):
    """A file that does not become a picture.

    Attributes:
        reason: Short and stable, to count by: "missing file", "unreadable", "empty file", "not an image",
            "unsupported format", "too many bytes", "too many pixels", "too many frames", "too fragmented",
            "truncated", "corrupt" or "out of memory".
    """

    # Keyword with a default, so that pickle can carry the error out of a worker: it calls with the message alone and
    # then restores the attribute.
    def __init__(self, message: str, *, reason: str = "unreadable") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Limits:
    """What one picture may cost.

    Attributes:
        max_bytes: Size of the file. 400 MB: what 100 megapixels take uncompressed at 4 bytes each.
        max_pixels: Width times height as the header claims them, before any `min_side` reduction, so that a file is
            allowed or refused alike for index and thumbnail. It bounds memory too, at 8 bytes a pixel (800 MB):
            a format that needs more while it decodes gets fewer pixels. WebP 40 %, AVIF and HEIC 50 %, progressive
            JPEG 80 % (67 % in CMYK), 16-bit grey 80 % and 32-bit grey 25 %.
        max_frames: Frames that the file claims. Only frame 0 is ever decoded; the cap refuses a file whose table of
            frames is itself the attack. A TIFF chain that loops ends where it loops.
    """

    max_bytes: int = 400_000_000
    max_pixels: int = 100_000_000
    max_frames: int = 10_000


DEFAULT_LIMITS = Limits()


def check_bytes(size: int, limits: Limits, title: str) -> None:
    """Raise `ImageError` for an empty file or one above `max_bytes`."""
    if size == 0:
        raise ImageError(f"{title}: the file is empty; copy or download it again", reason="empty file")
    if size > limits.max_bytes:
        raise ImageError(
            f"{title}: {size:,} bytes, the limit is {limits.max_bytes:,}; to allow it, raise Limits(max_bytes=...)",
            reason="too many bytes",
        )


def check_frames(frames: int, limits: Limits, title: str) -> None:
    """Raise `ImageError` above `max_frames`; `frames` may stop counting one past it."""
    if frames > limits.max_frames:
        raise ImageError(
            f"{title}: more than {limits.max_frames:,} frames, the limit (though only the first is used); "
            "to allow it, raise Limits(max_frames=...)",
            reason="too many frames",
        )


def check_pixels(image: Any, kind: str, full_size: tuple[int, int], limits: Limits, title: str) -> None:
    """Raise `ImageError` for an opened, undecoded picture above `max_pixels`; `full_size` is that before `draft`."""
    width, height = full_size
    divisor = image.decoderconfig[0] if kind == "JPEG" and image.decoderconfig else 1
    dearness = max(1.0, working_bytes(image, kind, divisor) / _BYTES_PER_PIXEL)
    counted = round(max(width, _SHORTEST_ROW) * height * dearness)
    if counted > limits.max_pixels:
        extra = f", which count {dearness:.2g} times because they decode with more memory," if dearness > 1 else ""
        raise ImageError(
            f"{title}: {width:,} x {height:,} pixels of {kind} {image.mode}{extra} are above the limit of "
            f"{limits.max_pixels:,}; if the picture is honest, raise Limits(max_pixels=...) to {counted:,}",
            reason="too many pixels",
        )


def working_bytes(image: Any, kind: str, divisor: int = 1) -> float:
    """Estimate the peak memory of loading a picture, in bytes per pixel of its full size.

    Rounded up from what `pytest -m long -rP tests/test_images_memory.py` prints, which fails where it is exceeded.
    """
    if kind in _COSTLY_FORMATS or image.mode in _COSTLY_MODES:
        return max(_COSTLY_FORMATS.get(kind, 0.0), _COSTLY_MODES.get(image.mode, 0.0))
    if kind == "JPEG":
        # A progressive file is held as 2-byte coefficients of the full size, whatever size is drawn from them.
        coefficients = 2 * len(image.getbands()) if image.info.get("progressive") else 0
        return max(coefficients + 4 / divisor**2, 8 / divisor**2)
    if kind == "TIFF":
        # One strip may be the whole picture, and one tile may claim to be far larger than it.
        tags = image.tag_v2
        sample_bytes = max(tags.get(258, (1,))) * tags.get(277, 1) / 8
        tile = tags.get(322, 0) * tags.get(323, 0)
        return max(8.0, 4 + sample_bytes * max(1.0, tile / (image.width * image.height)))
    return 8.0
