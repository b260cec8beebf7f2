"""Folder -> gallery: find what changed, decode, encode, commit; interrupted at any point, the next run goes on.

Each file is looked at once. Size and times tell the unchanged ones; the others are read and known by their content,
so that renames and copies cost no encoding; what is left is decoded in worker processes while the encoder works.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from composir.checkpoint import arguments_of, loaded_from, place_of, spelled
from composir.errors import DataError, GalleryError
from composir.gallery import kept
from composir.gallery.account import Report, account
from composir.gallery.metadata import Metadata, find_metadata, origin_of, read_metadata
from composir.gallery.picture import ItemReader, identified
from composir.gallery.place import Place
from composir.gallery.scan import FileRow, Scan, Stamp, walk
from composir.gallery.search import Shelf
from composir.gallery.store import NO_METADATA, Gallery, Manifest
from composir.loading import Batch, Failure, pixel_batches, prepare
from composir.methods.base import Method
from composir.types import Item

COMMIT_SECONDS = 2.0  # a kill costs what was settled in this time, and the batch in work
COMPACT_COMMITS = 256  # commits after which the small pieces are joined, so that a long run does not slow down
PASSING = frozenset({"changed", "unreadable", "missing file"})  # reasons that may be gone by the next run


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is, in files that are new or changed: `done` of `total`; `encoded` pictures, `skipped` files."""

    done: int
    total: int
    encoded: int
    skipped: int


def create_gallery(where: Place | Path | str, method: Method, root: Path) -> Gallery:
    """Create an empty gallery for the vectors of `method`.

    Raises:
        GalleryError: Something else lies there.
    """
    transform = method.transform("gallery")
    blank = torch.zeros(1, 3, transform.size, transform.size, dtype=torch.uint8)
    _, vectors, dim = encode(method, blank).shape
    return Gallery.create(
        where, Manifest(key=method.gallery_key(), vectors=vectors, dim=dim, root=str(_folder(root)), **_maker(method))
    )


def index_folder(
    gallery: Gallery,
    method: Method,
    root: Path,
    *,
    batch_size: int = 32,
    workers: int | None = None,
    follow_symlinks: bool | None = None,
    retry_skipped: bool = False,
    verify: bool = False,
    new_root: bool = False,
    metadata: Path | None = None,
    drop_metadata: bool = False,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Make the gallery hold what the folder holds; nothing in the folder is changed.

    Args:
        gallery: Of the method's gallery key.
        method: Its gallery side encodes, and the gallery remembers it from then on, unless it remembers a checkpoint
            and this one comes from none.
        root: The folder; the one indexed before, or the place it was moved to.
        batch_size: Pictures encoded at once.
        workers: Decoding processes, see `pixel_batches`.
        follow_symlinks: Go through symbolic links; None = as the run before did, and at first no.
        retry_skipped: Try files again that were skipped and have not changed, e.g. after installing HEIC support.
        verify: Check every stored vector first and encode damaged ones again.
        new_root: Allow another folder although the one indexed before still exists.
        metadata: A CSV or JSONL file with typed columns for the pictures, by their `file_name` below `root`; None =
            the metadata.csv or metadata.jsonl in `root`, else what an earlier run brought. It is no picture.
        drop_metadata: Read none and forget what an earlier run brought.
        progress: Told after each batch and each commit.

    Raises:
        GalleryError: Foreign key, another writer, another folder, a folder that lost all its files.
        DataError: `root` is no folder, the metadata cannot be read, or it is both named and to be dropped.
    """
    began = time.monotonic()
    root, described = _folder(root), _described(_folder(root), metadata, drop_metadata)
    if workers != 0:
        prepare()
    require(gallery, method, root)
    with gallery.writing():
        _settle_root(gallery, root, new_root)
        follow_symlinks = _remember(gallery, method, follow_symlinks)
        fresh_metadata = _changed_metadata(gallery, described, drop_metadata)
        if verify:
            _drop_damaged(gallery)
        before = gallery.files()
        scan = _walk(gallery, root, follow_symlinks, described, len(before))
        run = _Run(gallery, before, retry_skipped, progress)
        _encode_fresh(run, method, root, run.changed(scan), batch_size=batch_size, workers=workers)
        hidden = run.finish(scan)
        _replace_metadata(gallery, fresh_metadata)
        stays = described is None and bool(gallery.metadata_origin())
        seconds = time.monotonic() - began
        report = account(gallery, scan, before, hidden, encoded=run.encoded, seconds=seconds, metadata_kept=stays)
        _keep_books(gallery, report)
        Shelf.keep(gallery)
    return report


def check_metadata(root: Path, given: Path | None = None, *, drop: bool = False) -> None:
    """Raise what `index_folder` would raise of the metadata, for who has no gallery yet and would be left an empty one.

    Raises:
        DataError: As `index_folder`.
    """
    if (path := _described(root, given, drop)) is not None:
        read_metadata(path)


def _described(root: Path, given: Path | None, drop: bool) -> Path | None:
    if given is not None and drop:
        raise DataError(f"{given}: it is to be read, and all metadata to be dropped; leave out one of the two")
    return find_metadata(root, given)


def _replace_metadata(gallery: Gallery, fresh: Metadata | None) -> None:
    if fresh is not None:
        gallery.replace_metadata(fresh.table, fresh.origin)


def _keep_books(gallery: Gallery, report: Report) -> None:
    """Beside the tables, for whoever did not see the run; the skipped ones in a file of their own, as before."""
    gallery.write_skipped(report.skipped)
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    gallery.write_report({"ended": ended, **report.told(), "skipped": len(report.skipped)})


def _encode_fresh(
    run: _Run, method: Method, root: Path, files: list[tuple[str, Stamp]], *, batch_size: int, workers: int | None
) -> None:
    """Encode what the gallery has not; what is settled when Ctrl-C comes is committed."""
    transform = method.transform("gallery")
    read = ItemReader(root, transform.size)
    try:
        with contextlib.closing(run.fresh(root, files)) as fresh:  # else its threads outlive an interrupt
            for batch in pixel_batches(read, fresh, transform, batch_size, workers, on_error="collect"):
                run.take(batch, encode(method, batch.pixels) if batch.ids else torch.empty(0, 1, 1))
    except KeyboardInterrupt:
        run.commit()
        raise


def _drop_damaged(gallery: Gallery) -> None:
    gallery.drop_images(gallery.damaged())
    kept.drop(gallery)


def _walk(gallery: Gallery, root: Path, follow_symlinks: bool, described: Path | None, before: int) -> Scan:
    """What the folder holds beside its metadata; a folder that lost all its files is refused."""
    scan = walk(root, follow_symlinks=follow_symlinks)
    if described is not None and described.resolve().is_relative_to(root):
        scan.files.pop(described.resolve().relative_to(root).as_posix(), None)
    if before and not scan.files and not scan.closed:
        raise GalleryError(
            f"{root} holds no files any more, but the gallery has {before}; mount or restore the folder, "
            f"or remove the gallery {gallery.place} if the pictures are gone for good"
        )
    return scan


def _changed_metadata(gallery: Gallery, path: Path | None, drop: bool) -> Metadata | None:
    """What is to be stored, read before anything is encoded: a malformed file is told at once.

    No file is no order to forget: a nightly run that does not repeat --metadata would have the columns vanish.
    """
    if drop:
        return Metadata(NO_METADATA, "") if gallery.metadata_origin() else None
    if path is None:
        return None
    return read_metadata(path) if origin_of(path) != gallery.metadata_origin() else None


@torch.inference_mode()
def encode(method: Method, pixels: Tensor) -> Float[Tensor, "B T D"]:
    """Gallery vectors of uint8 pictures (B, 3, S, S); when the device is out of memory, in halves."""
    device = next(method.parameters()).device
    try:
        return method.encode_gallery(method.transform("gallery").normalise(pixels.to(device))).float().cpu()
    except torch.OutOfMemoryError:
        if len(pixels) < 2:
            raise
    torch.cuda.empty_cache()
    return torch.cat([encode(method, half) for half in pixels.tensor_split(2)])


def require(gallery: Gallery, method: Method, folder: Path | None = None) -> None:
    """Refuse a method whose vectors are not the gallery's; `folder` is what was to be indexed.

    Raises:
        GalleryError: Their keys differ; both are named, with the command that builds a fitting gallery.
    """
    origin = loaded_from(method)
    checkpoint = str(origin.path) if origin else ""
    where = str(folder) if folder else ""
    gallery.require(method.gallery_key(), method.name, method.backbone.source.name, checkpoint, where)


def _remember(gallery: Gallery, method: Method, follow_symlinks: bool | None) -> bool:
    """Let searches ask the method named last: another of the same gallery key, or a checkpoint that was moved.

    A method over a checkpoint's backbone is not put in the place of the checkpoint, which alone has its weights.
    Returns whether links are followed, as asked or else as before, which is remembered likewise.
    """
    maker = _maker(method) if loaded_from(method) or not gallery.manifest.checkpoint else {}
    follow = gallery.manifest.follow_symlinks if follow_symlinks is None else follow_symlinks
    gallery.remember(replace(gallery.manifest, **maker, follow_symlinks=follow))
    return follow


def _maker(method: Method) -> dict[str, Any]:
    """What of a manifest says which method the next process is to load."""
    origin = loaded_from(method)
    backbone = place_of(method.backbone.source)
    return {
        "method": spelled(method),
        "arguments": arguments_of(method),
        "backbone": backbone["name"],
        "repo": backbone["repo"],
        "revision": backbone["revision"],
        "checkpoint": str(origin.path) if origin else "",
        "checkpoint_sha256": origin.sha256 if origin else "",
    }


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise DataError(f"{root} is {'not a folder' if root.exists() else 'missing'}; name the folder of pictures")
    return root.resolve()


def _settle_root(gallery: Gallery, root: Path, new_root: bool) -> None:
    old = Path(gallery.manifest.root)
    if old == root:
        return
    if old.is_dir() and not new_root:
        raise GalleryError(
            f"{gallery.place} is the gallery of {old}, not of {root}: what is not in {root} would vanish from it. "
            "Name another --gallery; if the pictures have moved, pass --new-root"
        )
    gallery.move_root(root)


class _Run:
    """What is under way: files whose content is being decoded, and rows that wait for the next commit."""

    def __init__(
        self, gallery: Gallery, before: dict[str, FileRow], retry_skipped: bool, progress: Callable[[Progress], None]
    ):
        self._gallery, self._before, self._progress = gallery, before, progress
        self._stored = gallery.ids()
        self._retry = retry_skipped
        # Broken content stays broken under another name.
        broken = (row for row in before.values() if row.reason and row.id and not retry_skipped)
        self._broken = {row.id: Failure(row.reason, row.detail) for row in broken}
        self._waiting: dict[str, list[FileRow]] = {}
        self._rows: list[FileRow] = []
        self._told: set[str] = set()
        self._pictures: list[tuple[str, Tensor]] = []
        self._writing = threading.Lock()
        self._committed, self._commits = time.monotonic(), 0
        self._done, self._total, self._skipped = 0, 0, 0
        self.encoded = 0

    def changed(self, scan: Scan) -> list[tuple[str, Stamp]]:
        """The files to read: new, touched, or incompletely known."""
        files = [(path, stamp) for path, stamp in scan.files.items() if not self._known(path, stamp)]
        self._total = len(files)
        self._tell()
        return files

    def _known(self, path: str, stamp: Stamp) -> bool:
        row = self._before.get(path)
        if row is None or not row.stamp.same_as(stamp):
            return False
        return not self._retry if row.reason else row.id in self._stored

    def fresh(self, root: Path, files: list[tuple[str, Stamp]]) -> Generator[Item]:
        """Those whose content is in the gallery neither by this name nor by another; the others are settled here."""
        for row in identified(root, files):
            own = row.id
            if row.reason or own is None or own in self._stored:
                self._settle(row)
                self._commit_in_time()
            elif own in self._broken:
                self._settle(replace(row, reason=self._broken[own].reason, detail=self._broken[own].detail))
                self._commit_in_time()
            elif own in self._waiting:
                self._waiting[own].append(row)
            else:
                self._waiting[own] = [row]
                yield Item(own, row.path)

    def take(self, batch: Batch[Item], vectors: Float[Tensor, "B T D"]) -> None:
        """Settle the files of a batch."""
        for item, failure in batch.failures:
            self._fail(item, failure)
        for item, vector in zip(batch.ids, vectors, strict=True):
            if not bool(vector.isfinite().all()):
                self._fail(item, Failure("no finite vector", "the encoder gave infinite or undefined numbers"))
                continue
            self._stored.add(item.id)
            self._pictures.append((item.id, vector))  # in one step: Ctrl-C may come at any
            self.encoded += 1
            for row in self._waiting.pop(item.id):
                self._settle(row)
        self._commit_in_time()  # of the whole batch: the next one may take minutes
        self._tell()

    def _fail(self, item: Item, failure: Failure) -> None:
        passing = failure.reason in PASSING
        if not passing:
            self._broken[item.id] = failure
        for row in self._waiting.pop(item.id):
            told = replace(row, reason=failure.reason, detail=failure.detail)
            # Not to be taken as known by the next run, and its content not to be thought broken.
            self._settle(replace(told, id=None, stamp=replace(row.stamp, settled=False)) if passing else told)

    def _settle(self, row: FileRow) -> None:
        self._rows.append(row)
        self._done += 1
        self._skipped += bool(row.reason)

    def _commit_in_time(self) -> None:
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()
            self._tell()

    def _tell(self) -> None:
        self._progress(Progress(self._done, self._total, self.encoded, self._skipped))

    def commit(self) -> None:
        """Write what is settled; Ctrl-C waits until that is done, or comes before it has begun."""
        with ThreadPoolExecutor(1) as writer:  # Python interrupts the main thread alone
            writer.submit(self._write).result()

    def _write(self) -> None:
        with self._writing:  # a second Ctrl-C may let two be under way: the later one finds nothing left
            pictures, self._pictures = self._pictures, []
            rows, self._rows = self._rows, []
            ids, vectors = [own for own, _ in pictures], [vector for _, vector in pictures]
            stacked = torch.stack(vectors).half().numpy() if vectors else np.empty((0, 0, 0), np.float16)
            known = self._before.keys() | self._told
            self._gallery.add(ids, stacked, rows, known)
            self._told.update(row.path for row in rows)
            self._commits += 1
            if self._commits % COMPACT_COMMITS == 0:
                self._gallery.compact()
            self._committed = time.monotonic()

    def finish(self, scan: Scan) -> list[str]:
        """Write the rest, then take out what is gone: files first, then pictures without a file.

        Returns:
            The paths in folders that could not be listed; what is known of them stays.
        """
        hidden = [path for path in self._before if path not in scan.files and scan.hides(path)]
        self._rows += [
            FileRow(path, None, Stamp(0, 0, 0, False), "unreachable", why) for path, why in scan.refused.items()
        ]
        self.commit()
        present = scan.files.keys() | scan.refused.keys() | set(hidden)
        self._gallery.forget_files(path for path in self._before if path not in present)
        used = {row.id for row in self._gallery.files().values() if not row.reason}
        self._gallery.drop_images(self._gallery.ids() - used)
        self._gallery.compact()
        return hidden
