"""Pillow's format classes, and a fence around them: what they raise becomes `ImageError`, what they warn stays here.

The classes are called directly and not through `Image.open`, which would apply its own process-wide pixel guard
(`Image.MAX_IMAGE_PIXELS`: an honest 366-megapixel scan could not be had by raising our limit), and which parses all
the pictures of a multi-picture JPEG.
"""

from __future__ import annotations

import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from composir.images.limits import ImageError


class _TiffImageFile(TiffImagePlugin.TiffImageFile):
    """TIFF without the process-wide pixel guard that Pillow repeats here; ours has already spoken."""

    def load_prepare(self) -> None:
        if self._im is None:
            self.im = Image.core.new(self.mode, self._tile_size)
        ImageFile.ImageFile.load_prepare(self)


_CLASSES: dict[str, type[ImageFile.ImageFile]] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": _TiffImageFile,
    "AVIF": AvifImagePlugin.AvifImageFile,
}


def plugin(kind: str, title: str) -> Any:
    """Give the Pillow class that reads a format, as `sniff` names it.

    Raises:
        ImageError: "unsupported format" where this installation lacks the decoder; the message has the command.
    """
    if kind == "HEIC":
        try:
            # The class, not register_heif_opener(): that would change what Image.open does all over the process.
            from pillow_heif import HeifImageFile
        except ImportError as error:
            message = f"{title}: HEIC pictures need one more package; install it with: pip install 'composir[heic]'"
            raise ImageError(message, reason="unsupported format") from error
        return HeifImageFile
    built_in = {"WEBP": WebPImagePlugin.SUPPORTED, "AVIF": AvifImagePlugin.SUPPORTED}.get(kind, True)
    if not built_in:
        message = f"{title}: this build of Pillow cannot read {kind}; install one that can: pip install -U pillow"
        raise ImageError(message, reason="unsupported format")
    return _CLASSES[kind]


@contextmanager
def fenced(title: str, kind: str) -> Iterator[None]:
    """Turn every error of the enclosed Pillow calls into `ImageError` and keep their warnings to ourselves."""
    try:
        with _silenced():
            yield
    except ImageError:
        raise
    except MemoryError as error:
        message = f"{title}: the memory does not suffice to decode this {kind}; lower Limits(max_pixels=...)"
        raise ImageError(message, reason="out of memory") from error
    except Image.DecompressionBombError as error:
        message = (
            f"{title}: above Limits(max_pixels=...) and above PIL.Image.MAX_IMAGE_PIXELS, which Pillow itself applies "
            f"to {kind} ({error}); if the picture is honest, raise both"
        )
        raise ImageError(message, reason="too many pixels") from error
    # The net is this wide because fuzzed files make Pillow raise nearly anything: OSError, SyntaxError, ValueError,
    # struct.error, zlib.error, IndexError, KeyError, TypeError, AttributeError, ZeroDivisionError, OverflowError,
    # EOFError, RuntimeError, and next year's. Nothing but Pillow and the code that reads its objects runs inside.
    except Exception as error:
        # While opening, Pillow wraps what a missing byte raises in a SyntaxError.
        ends = (EOFError, struct.error, IndexError)
        cut = isinstance(error, ends) or isinstance(error.__cause__, ends) or "truncated" in str(error).lower()
        what = "is truncated" if cut else "is damaged or of a kind that is not read"
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        message = f"{title}: this {kind} {what} ({said}); copy it again, or open and save it in an image editor"
        raise ImageError(message, reason="truncated" if cut else "corrupt") from error


class _HereOnly(threading.local):
    """Matches any warning while this thread is inside `_silenced`, and none otherwise."""

    depth = 0

    def match(self, _text: str) -> bool:
        return self.depth > 0


_HERE = _HereOnly()
_FILTER = ("ignore", _HERE, Warning, None, 0)
_FILTERS_LOCK = threading.Lock()


@contextmanager
def _silenced() -> Iterator[None]:
    """Ignore warnings raised by this thread, without a trace for the others.

    `warnings.catch_warnings` swaps the filter list of the whole process: two threads that leave it in the wrong order
    leave everything ignored for good. Instead one filter is put in front, once, whose message pattern is an object
    that asks which thread is warning. It must be in front again after somebody else has put theirs there (pytest does
    so for every test), hence the look at each entry.
    """
    filters = cast("list[Any]", warnings.filters)
    with _FILTERS_LOCK:
        if not filters or filters[0] is not _FILTER:
            filters[:] = [_FILTER, *(entry for entry in filters if entry is not _FILTER)]
    _HERE.depth += 1
    try:
        yield
    finally:
        _HERE.depth -= 1
