"""Draw pictures of the catalogue into files, several processes at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from composir.datasets.wardrobe import Wardrobe
from composir.errors import ComposirError

CHUNK = 16  # pictures a process draws before it reports
WORTH_A_POOL = 256  # with fewer pictures, starting processes takes longer than it saves
MOST_WORKERS = 8
# PNG keeps every pixel. Run-length coding is faster than the default, at larger files, and has no match
# finder: those differ between versions of zlib and between processors, and with them the bytes of a file.
PNG = {"format": "PNG", "compress_type": zlib.Z_RLE}
JPEG = {"format": "JPEG", "quality": 95, "subsampling": 0}  # colour is half of what the texts are about

Progress = Callable[[int, int], None]
Chunk = Sequence[tuple[str, str]]


def draw_files(
    data: Wardrobe,
    pictures: Mapping[str, str],
    folder: Path,
    workers: int | None = None,
    progress: Progress | None = None,
) -> None:
    """Draw each picture into its file.

    Args:
        data: The catalogue.
        pictures: POSIX path below `folder`, ending in .png or .jpg -> image id. Missing folders are made.
        folder: Where to write.
        workers: Processes; as many as cores (up to 8) if not given, 1 draws in this one.
        progress: Called with (pictures drawn, pictures in all).

    Raises:
        ComposirError: A drawing process ended.
        OSError: A file cannot be written.
    """
    for parent in {(folder / path).parent for path in pictures}:
        parent.mkdir(parents=True, exist_ok=True)
    todo = list(pictures.items())
    chunks = [todo[at : at + CHUNK] for at in range(0, len(todo), CHUNK)]
    if workers is None:
        workers = min(MOST_WORKERS, _cores()) if len(todo) >= WORTH_A_POOL else 1
    counts = _here(data, folder, chunks) if workers <= 1 else _in_processes(data, folder, chunks, workers)
    done = 0
    for count in counts:
        done += count
        if progress is not None:
            progress(done, len(todo))


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _here(data: Wardrobe, folder: Path, chunks: Sequence[Chunk]) -> Iterator[int]:
    for chunk in chunks:
        for path, image_id in chunk:
            data.image(image_id).save(folder / path, **(PNG if path.endswith(".png") else JPEG))
        yield len(chunk)


def _in_processes(data: Wardrobe, folder: Path, chunks: Sequence[Chunk], workers: int) -> Iterator[int]:
    # Spawned and not forked: the caller may have threads (a progress bar is one).
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(data, folder))
    try:
        for future in as_completed([pool.submit(_work, chunk) for chunk in chunks]):
            yield future.result()
    except BrokenProcessPool as error:
        raise ComposirError(
            "a drawing process ended before its work was done (out of memory, or a script that lacks "
            "`if __name__ == '__main__':`); free some memory, or draw with workers=1"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


_catalogue: list[tuple[Wardrobe, Path]] = []  # of a drawing process: sent once, not with every chunk


def _begin(data: Wardrobe, folder: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which stops us in good order
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _catalogue[:] = [(data, folder)]


def _end_with_parent() -> None:
    """Leave no orphan behind a parent that was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(chunk: Chunk) -> int:
    [(data, folder)] = _catalogue
    return sum(_here(data, folder, [chunk]))
