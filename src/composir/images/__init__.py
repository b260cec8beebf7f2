"""The one safe picture loader: index, query, thumbnail and training all read pictures here.

All see the same pixels but of large JPEGs, which index and query decode smaller (`min_side`), evaluation and training
in full; tests/gallery/test_picture.py bounds by how much that differs.

What it promises for any bytes whatever: an upright RGB picture of frame 0, or an `ImageError` with a reason.

- **Formats by content**: JPEG, PNG and APNG, WebP, GIF, BMP, TIFF, AVIF; HEIC where `composir[heic]` is installed. The
  first bytes choose one Pillow plug-in and no other is tried; EPS, PS and PDF are never opened.
- **Header before pixels**: file size, frame count and picture size are checked before anything is decoded. The
  pixel cap is a cap on memory too, see `Limits`.
- **Right colours, right side up**: every mode to RGB with transparency over white (`modes`), EXIF applied once.
- **Broken is an error**: a truncated file is refused, not filled with grey. (A program that itself sets
  `PIL.ImageFile.LOAD_TRUNCATED_IMAGES` has asked for grey, and gets it.)
- **The process is left alone**: no Pillow global is changed and no plug-in registered, so other users of Pillow keep
  their guards, and threads do not race.

What it cannot promise: that a C decoder never crashes, or that it always ends. Untrusted pictures belong in a worker
process with a time limit; the limits here bound memory and the plain-Python part of the work.

    limits.py   ImageError, Limits, and the checks        headers.py   magic numbers, frame counts; no Pillow
    sources.py  paths, bytes, file objects; opening       plugins.py   Pillow's classes, its errors and warnings
    modes.py    every mode to RGB                         load.py      load_image, thumbnail
"""

from __future__ import annotations

from composir.images.headers import HEAD_BYTES, sniff
from composir.images.limits import DEFAULT_LIMITS, ImageError, Limits
from composir.images.load import READABLE, load_image, thumbnail
from composir.images.sources import Source, looks_like_image

__all__ = [
    "DEFAULT_LIMITS",
    "HEAD_BYTES",
    "READABLE",
    "ImageError",
    "Limits",
    "Source",
    "load_image",
    "looks_like_image",
    "sniff",
    "thumbnail",
]
