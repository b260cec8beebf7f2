"""Where a picture's bytes come from: a path, bytes, or a file object; opened without hanging, measured, then read."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from composir.images.headers import HEAD_BYTES, Readable, refused_format, sniff
from composir.images.limits import ImageError, Limits, check_bytes

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable

_MAX_READS = 4_000_000
"""Read calls for one picture. Most take some hundreds; a file cut into millions of crumbs takes seconds of Python."""


class CountedReader:
    """A stream that gives out after `_MAX_READS` reads: a bound on the work that does not depend on the machine.

    It has no `fileno` on purpose: Pillow hands that to libtiff, and a gzip or archive member's is another file's.
    """

    def __init__(self, stream: Readable, title: str) -> None:
        self._stream, self._title, self._left = stream, title, _MAX_READS

    def read(self, size: int = -1, /) -> bytes:
        """Read as the stream does; raises `ImageError` ("too fragmented") once the reads are used up."""
        self._left -= 1
        if self._left < 0:
            raise ImageError(
                f"{self._title}: not decoded after {_MAX_READS:,} reads, the limit; the file is cut into uncommonly "
                "small pieces, save it again with another program",
                reason="too fragmented",
            )
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Seek as the stream does."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Tell as the stream does."""
        return self._stream.tell()


def looks_like_image(path: str | os.PathLike[str]) -> bool:
    """Tell a picture, sound or broken, from a text file that lies beside it, by the first 256 bytes.

    True also for picture formats that are not read (EPS, JPEG XL, PSD and the like) and for files that may not be
    read: both belong in the list of skipped files, where `load_image` gives the reason. False for empty files,
    folders, pipes and missing files.
    """
    try:
        with _open_regular(path) as stream:
            head = stream.read(HEAD_BYTES)
    except (FileNotFoundError, IsADirectoryError, _NotRegularError, ValueError):
        return False
    except OSError:
        return True
    return sniff(head) is not None or refused_format(head) is not None


def title_of(source: Source) -> str:
    """Name a source in messages: its path, the file object's `name`, or "the picture"."""
    if isinstance(source, (str, os.PathLike)):
        # A name that is not UTF-8 must not break the printing of the message.
        return os.fsdecode(source).encode("utf-8", "backslashreplace").decode()
    given = getattr(source, "name", None)
    return given if isinstance(given, str) and given else "the picture"


@contextmanager
def opened(source: Source, title: str, limits: Limits) -> Iterator[Readable]:
    """Give a seekable stream at its start, of known and allowed size; closed afterwards if it was opened here.

    Raises:
        ImageError: "missing file", "unreadable", "empty file" or "too many bytes".
        TypeError: Not a source, or a file opened as text.
    """
    if isinstance(source, (str, os.PathLike)):
        try:
            stream = _open_regular(source)
        except FileNotFoundError as error:
            message = f"{title}: there is no such file; check the path, or index the folder again"
            raise ImageError(message, reason="missing file") from error
        except (OSError, ValueError) as error:
            message = f"{title}: cannot be opened ({error}); it must be a regular file that this user may read"
            raise ImageError(message, reason="unreadable") from error
        with stream:
            check_bytes(os.fstat(stream.fileno()).st_size, limits, title)
            yield stream
    elif isinstance(source, (bytes, bytearray, memoryview)):
        check_bytes(memoryview(source).nbytes, limits, title)
        yield io.BytesIO(source)
    elif hasattr(source, "read"):
        yield _measured(source, title, limits)
    else:
        raise TypeError(f"a picture is a path, bytes or a binary file object, not {type(source).__name__}")


class _NotRegularError(OSError):
    """A folder, pipe, socket or device."""


def _open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    # O_NONBLOCK: a pipe without a writer would otherwise hold us for ever; it means nothing for regular files.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _NotRegularError(errno.EINVAL, "not a regular file")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _measured(source: Readable, title: str, limits: Limits) -> Readable:
    try:
        if not isinstance(source.read(0), bytes):
            raise TypeError("the file object gives text; open it in binary mode ('rb')")
        if hasattr(source, "seek") and getattr(source, "seekable", lambda: True)():
            stream = source
        else:
            # A socket or pipe cannot go back: read it whole, but never further than one byte past the cap.
            stream = io.BytesIO(source.read(limits.max_bytes + 1))
        stream.seek(0, io.SEEK_END)
        size = stream.tell()
        stream.seek(0)
    except (OSError, ValueError) as error:
        message = f"{title}: cannot be read ({error}); pass an open, readable binary file"
        raise ImageError(message, reason="unreadable") from error
    check_bytes(size, limits, title)
    return stream
