"""The child that decodes strangers' pictures: one job after another, each within limits, until the pipe closes.

What it sends back is bytes with a tag, never an object: a child that a hostile picture took over can only send a
wrong picture.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from composir.backbones.transform import Transform
from composir.gallery.picture import OVERSAMPLING
from composir.gallery.scan import content_id
from composir.images import ImageError, Limits, load_image, thumbnail
from composir.loading.worker import DETAIL_LENGTH

Read = Callable[[bytes, int, Limits, str], Image.Image]
READY, DONE, FAILED = b"!", b"+", b"-"
MOST_FILES = 64  # open at a time: a picture needs one, and imports a few


@dataclass(frozen=True, slots=True)
class File:
    """A picture of the gallery.

    Attributes:
        root: The indexed folder.
        paths: Below it; the first that holds the content is read.
        id: Of that content.
        anywhere: Whether a symbolic link may lead out of `root`.
    """

    root: str
    paths: tuple[str, ...]
    id: str
    anywhere: bool = False


Source = bytes | File
Wanted = Transform | int
"""Pixels as a transform gives them, or a JPEG whose longest side is at most that many pixels."""


def read(data: bytes, side: int, limits: Limits, name: str) -> Image.Image:
    """Decode a picture of which `side` pixels are wanted."""
    return load_image(data, limits=limits, min_side=side, name=name)


def work(pipe: Connection, limits: Limits, memory: int, seconds: float, read: Read) -> None:
    """Body of the process.

    Args:
        pipe: Tells READY once; then each (source, wanted) is answered by DONE and bytes, or FAILED and [reason, detail]
            as JSON.
        limits: Of one picture.
        memory: Bytes this process may allocate, where the system can enforce it.
        seconds: One picture may take.
        read: Opens it.
    """
    for number in (signal.SIGINT, signal.SIGTERM):  # they reach the whole group; the master decides
        signal.signal(number, signal.SIG_IGN)
    _restrict(memory)
    with contextlib.suppress(EOFError, OSError):
        pipe.send_bytes(READY)
        while True:
            source, wanted = pipe.recv()
            _alarm(seconds)
            answer = _answer(source, wanted, limits, read)
            _alarm(0)
            pipe.send_bytes(answer)


def _restrict(memory: int) -> None:
    """Fail rather than eat the machine's memory, write a file, or open many.

    For good: what takes the process over cannot lift a hard limit.
    """
    if not importlib.util.find_spec("resource"):
        return
    import resource

    limits = ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_NOFILE, MOST_FILES))
    for kind, most in limits:
        hard = resource.getrlimit(kind)[1]
        limit = most if hard == resource.RLIM_INFINITY else min(hard, most)
        resource.setrlimit(kind, (limit, limit))


def _alarm(seconds: float) -> None:
    """Let the system end this process after that time, even inside a C library; 0 calls it off."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _answer(source: Source, wanted: Wanted, limits: Limits, read: Read) -> bytes:
    try:
        data, name = (source, "the picture") if isinstance(source, bytes) else _content(source, limits)
        if isinstance(wanted, Transform):
            return DONE + wanted.pixels(read(data, OVERSAMPLING * wanted.size, limits, name)).tobytes()
        return DONE + thumbnail(read(data, wanted, limits, name), wanted)
    except Exception as error:  # any at all: the bytes come from strangers
        reason = str(getattr(error, "reason", None) or type(error).__name__)
        return FAILED + json.dumps([reason[:DETAIL_LENGTH], str(error)[:DETAIL_LENGTH]]).encode()


def _content(file: File, limits: Limits) -> tuple[bytes, str]:
    """The bytes of a gallery picture, read once: what was checked is what is shown.

    Raises:
        ImageError: None of its files holds it any more ("changed", "missing file", "unreadable", "too many bytes").
    """
    root = os.path.realpath(file.root)
    problem = ImageError(f"picture {file.id} has no file", reason="missing file")
    for path in file.paths:
        real = os.path.realpath(os.path.join(root, path))
        if not file.anywhere and os.path.commonpath([root, real]) != root:
            problem = ImageError(f"{path}: leads out of the indexed folder", reason="unreadable")
            continue
        try:
            if os.path.getsize(real) > limits.max_bytes or not Path(real).is_file():
                problem = ImageError(f"{path}: is no regular file of allowed size", reason="too many bytes")
                continue
            data = Path(real).read_bytes()
        except FileNotFoundError:
            problem = ImageError(f"{path}: there is no such file any more; index again", reason="missing file")
        except OSError as error:
            problem = ImageError(f"{path}: {error.strerror}", reason="unreadable")
        else:
            if content_id(data) == file.id:
                return data, path
            problem = ImageError(f"{path}: its content has changed since it was indexed", reason="changed")
    raise problem
