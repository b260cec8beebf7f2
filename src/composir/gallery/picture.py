"""How a gallery reads its pictures: one way for index and query, so that equal bytes give equal vectors."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from composir.gallery.scan import FileRow, Stamp, file_id
from composir.images import DEFAULT_LIMITS, READABLE, ImageError, Source, load_image, looks_like_image
from composir.types import Item

OVERSAMPLING = 2  # a large JPEG is decoded at 1/2, 1/4 or 1/8, but at least at twice the size the encoder sees
READ_AHEAD = 64  # files read in advance to tell their content
READERS = 2  # threads that do so


def read_picture(source: Source, size: int, name: str | None = None) -> Image.Image:
    """Upright RGB, good for an encoder that sees `size` pixels.

    Raises:
        ImageError: It is no picture, or a broken one.
    """
    return load_image(source, min_side=OVERSAMPLING * size, name=name)


@dataclass(frozen=True, slots=True)
class ItemReader:
    """Reads the pictures of the folder `root`; made to travel to worker processes."""

    root: Path
    size: int

    def __call__(self, item: Item) -> Image.Image:
        """Read an item's picture, provided that its file still holds the bytes that gave it its id.

        Raises:
            ImageError: It is no picture, a broken one, or has changed since; the last with reason "changed".
        """
        path = self.root / item.path
        try:
            current = file_id(path)
        except OSError as error:
            raise ImageError(f"{item.path}: {error.strerror}", reason="unreadable") from error
        if current != item.id:
            raise ImageError(f"{item.path}: its content has changed since it was indexed", reason="changed")
        return read_picture(path, self.size, name=item.path)


def identified(root: Path, files: Iterable[tuple[str, Stamp]]) -> Iterator[FileRow]:
    """Tell the content of files, read ahead by threads, in order; what is no picture comes with a reason."""
    pool = ThreadPoolExecutor(READERS, thread_name_prefix="composir-identify")
    ahead: deque[Future[FileRow]] = deque()
    try:
        for path, stamp in files:
            ahead.append(pool.submit(_identify, root, path, stamp))
            if len(ahead) > READ_AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _identify(root: Path, path: str, stamp: Stamp) -> FileRow:
    if stamp.size == 0:
        return FileRow(path, None, stamp, "empty file", "copy or download it again")
    if stamp.size > DEFAULT_LIMITS.max_bytes:
        return FileRow(path, None, stamp, "too many bytes", f"{stamp.size:,} of {DEFAULT_LIMITS.max_bytes:,} allowed")
    if not looks_like_image(root / path):
        return FileRow(path, None, stamp, "not an image", f"the content is of no known kind; {READABLE} are read")
    try:
        return FileRow(path, file_id(root / path), stamp)
    except OSError as error:
        # Unsettled, so that the next run tries again: rights and network folders come and go without a new stamp.
        return FileRow(path, None, replace(stamp, settled=False), "unreadable", str(error.strerror))
