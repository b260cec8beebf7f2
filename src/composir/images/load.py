"""Any picture file to upright RGB, and back to a small clean JPEG."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image

from composir.images.headers import HEAD_BYTES, count_frames, refused_format, sniff
from composir.images.limits import DEFAULT_LIMITS, ImageError, Limits, check_frames, check_pixels
from composir.images.modes import to_rgb
from composir.images.plugins import fenced, plugin
from composir.images.sources import CountedReader, Source, opened, title_of

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What makes each EXIF orientation upright; 1 is upright already."""

READABLE = "JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF and HEIC"

_JPEG_SIDE = 65_500
"""The longest side that libjpeg writes."""


def load_image(
    source: Source, *, limits: Limits = DEFAULT_LIMITS, min_side: int | None = None, name: str | None = None
) -> Image.Image:
    """Read frame 0 of a picture as upright RGB.

    Orientation comes from EXIF or else XMP; how colour modes become RGB is told in `composir.images.modes`. Frame 0 of
    a HEIC file is its primary picture, of an APNG what a viewer without animation shows.

    Args:
        source: A path, the bytes of a file, or a binary file object. A file object is read from its start where it
            can seek, else from where it stands; it is not closed.
        limits: What the picture may cost.
        min_side: A hint, in pixels. A JPEG is then decoded at the smallest of 1/1, 1/2, 1/4, 1/8 whose shorter side
            is still at least this, several times faster for photographs. The pixels differ slightly from those of a
            full decode scaled down later: callers whose results are compared must pass the same value.
        name: What messages call the picture; the path, or the file object's `name`, where left out.

    Returns:
        Mode RGB, with empty `info`: no EXIF, GPS, XMP, comment or profile travels on.

    Raises:
        ImageError: Whatever is wrong with the file; `__cause__` holds what Pillow or the system said.
        TypeError: `source` is none of the above, or a file opened as text.
        ValueError: `min_side` below 1.
    """
    if min_side is not None and min_side < 1:
        raise ValueError(f"min_side is {min_side}, it must be at least 1 pixel")
    title = name or title_of(source)
    with opened(source, title, limits) as stream:
        reader = CountedReader(stream, title)
        with fenced(title, "file"):
            head = reader.read(HEAD_BYTES)
        kind = _known_kind(head, title)
        with fenced(title, kind):
            check_frames(count_frames(reader, kind, limits.max_frames), limits, title)
            reader.seek(0)
            image = plugin(kind, title)(reader)
            check_frames(_claimed_frames(image, kind), limits, title)
            full_size = image.size
            if min_side and kind == "JPEG":
                image.draft(None, (min_side, min_side))
            check_pixels(image, kind, full_size, limits, title)
            image.load()
            turn = _TURNS.get(_orientation(image, kind))
            picture = to_rgb(image)
            del image  # its memory is wanted for the turned copy
            picture = picture.transpose(turn) if turn is not None else picture
            picture.info.clear()
            return picture


def thumbnail(image: Image.Image, side: int) -> bytes:
    """Encode a picture as a small JPEG that carries pixels and nothing else: no EXIF, GPS, XMP, comment or profile.

    Args:
        image: Upright, as `load_image` returns it; other modes are converted as `load_image` does.
        side: Longest side in pixels, 1 to 65,500; a smaller picture is not enlarged.

    Returns:
        The bytes of a JPEG file, quality 85.

    Raises:
        ValueError: `side` out of range.
    """
    if not 1 <= side <= _JPEG_SIDE:
        raise ValueError(f"side is {side}, a thumbnail can have 1 to {_JPEG_SIDE:,} pixels")
    scale = min(1.0, side / max(image.size))
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    picture = image if image.mode == "RGB" and "transparency" not in image.info else to_rgb(image)
    small = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    small.info.clear()  # Pillow's JPEG writer takes the comment from here
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def _known_kind(head: bytes, title: str) -> str:
    kind = sniff(head)
    if kind is not None:
        return kind
    refused = refused_format(head)
    if refused:
        message = f"{title}: {refused} pictures are not read, only {READABLE}; save it as one of these"
        raise ImageError(message, reason="unsupported format")
    message = f"{title}: the content is that of no known picture, whatever its name says; {READABLE} are read"
    raise ImageError(f"{message}, save it as one of these or leave it out", reason="not an image")


def _claimed_frames(image: Any, kind: str) -> int:
    # For GIF and TIFF this attribute walks the whole file; count_frames has counted those by their skeleton.
    return 1 if kind in ("GIF", "TIFF") else getattr(image, "n_frames", 1)


def _orientation(image: Any, kind: str) -> int:
    if kind == "TIFF":
        return 1  # Pillow turns a TIFF by itself while it loads
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    # As wide as in plugins.fenced and for the same reason; garbled EXIF is no cause to refuse a sound picture.
    except Exception:
        return 1
