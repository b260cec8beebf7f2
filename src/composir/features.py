"""What a frozen tower makes of pictures and texts: computed once, kept on disk, memory-mapped in training.

    <folder>/<Frozen.key>-<dtype>/<name>.safetensors     "hashes" (n, 16) uint8, "features" (n, ...)

The key names the tensors, the transform and the computation; a row is named by a hash of what it was computed from: of
the bytes of the file where the data set shows whole files, of the text, otherwise of the pixels that the tower is given
(a drawn picture, or one out of an archive, is then made anew for its name, but not encoded). So a picture that was
replaced is computed anew, one that two data sets share is computed once, and no file that is known is decoded.
Every file is written beside and renamed: a run that is killed loses at most `PART_BYTES` of features, and two runs
that fill one cache at once do each other no harm. Nothing is ever deleted; the folder may be, at any time.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
from jaxtyping import Int
from safetensors import SafetensorError, safe_open
from torch import Tensor

from composir.datasets.base import Dataset
from composir.datasets.files import FileDataset
from composir.errors import ComposirError
from composir.loading import Batch, Failure, pixel_batches
from composir.methods.base import Frozen
from composir.tensors import save_file

PART_BYTES = 256 * 2**20
HASH_BYTES = 16
Tick = Callable[[int, int], None]  # done, in all


@dataclass(frozen=True)
class Features:
    """Rows in the order they were asked for, left on disk until they are taken.

    Attributes:
        parts: The tensors they lie in, each (n, ...).
        part: Which of them, for each row.
        place: Where in it.
    """

    parts: Sequence[Tensor]
    part: Int[Tensor, " N"]
    place: Int[Tensor, " N"]

    def __len__(self) -> int:
        return len(self.part)

    def take(self, rows: Int[Tensor, " B"]) -> Tensor:
        """The features of some rows, (B, ...) float32 on the CPU."""
        out = torch.empty(len(rows), *self.parts[0].shape[1:])
        part, place = self.part[rows], self.place[rows]
        for number in part.unique().tolist():
            out[part == number] = self.parts[number][place[part == number]].float()
        return out


def cache_folder(folder: str = "") -> Path:
    """Where features are kept: `folder`, else $COMPOSIR_CACHE/features, else ~/.cache/composir/features."""
    if folder:
        return Path(folder).expanduser()
    root = os.environ.get("COMPOSIR_CACHE")
    return (Path(root).expanduser() if root else Path.home() / ".cache" / "composir") / "features"


def text_features(
    frozen: Frozen,
    texts: Sequence[str],
    folder: Path | None,
    *,
    dtype: torch.dtype = torch.float32,
    batch_size: int = 256,
    tick: Tick = lambda *_: None,
) -> Features:
    """What `frozen` makes of texts, one row each.

    Args:
        frozen: Of a method in eval mode.
        texts: In any order, with any repetitions.
        folder: Of the cache; None keeps features in memory.
        dtype: Of storage.
        batch_size: Texts encoded at once.
        tick: Told how many texts of how many are done.

    Raises:
        ComposirError: The cache is damaged or cannot be written, or a feature is not finite.
    """
    cache = _Cache(frozen, folder, dtype)
    hashes = [_hash(text.encode()) for text in texts]
    new = {own: text for own, text in zip(hashes, texts, strict=True) if own not in cache.known}
    names, done = list(new), len(texts) - len(new)
    for start in range(0, len(names), batch_size):
        chosen = names[start : start + batch_size]
        cache.add(chosen, [new[own] for own in chosen], [new[own] for own in chosen])
        done += len(chosen)
        tick(done, len(texts))
    return cache.features(hashes)


def image_features(
    frozen: Frozen,
    dataset: Dataset,
    ids: Sequence[str],
    folder: Path | None,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | None = None,
    batch_size: int = 64,
    workers: int | None = None,
    skip_bad: bool = False,
    tick: Tick = lambda *_: None,
) -> tuple[Features, list[str], dict[str, Failure]]:
    """What `frozen` makes of pictures.

    Args:
        frozen: Of a method in eval mode.
        dataset: Where the pictures are.
        ids: Without repetitions.
        folder: Of the cache; None keeps features in memory.
        dtype: Of storage.
        device: Of the method.
        batch_size: Pictures encoded at once.
        workers: Decoding processes, see `pixel_batches`.
        skip_bad: Leave out pictures that cannot be read.
        tick: Told how many pictures of how many are done.

    Returns:
        The features, the ids of their rows in the order of `ids`, and why others were left out.

    Raises:
        DataError: A picture cannot be read, and `skip_bad` is not said; it is named.
        ComposirError: The cache is damaged or cannot be written, or a feature is not finite.
    """
    if frozen.transform is None:
        raise ComposirError(f"what is frozen under {frozen.key} has no transform, so it reads texts and no pictures")
    cache = _Cache(frozen, folder, dtype)
    names = file_hashes(dataset, ids)
    wanted = [i for i in ids if i not in names or names[i] not in cache.known]
    failed: dict[str, Failure] = {}
    done = len(ids) - len(wanted)
    for batch in pixel_batches(
        dataset.image, wanted, frozen.transform, batch_size, workers, on_error="collect" if skip_bad else "raise"
    ):
        failed.update(batch.failures)
        names |= {i: _hash(own.numpy().data) for i, own in zip(batch.ids, batch.pixels, strict=True) if i not in names}
        fresh = _first_rows(batch, names, cache.known)
        if fresh:
            pixels = batch.pixels if len(fresh) == len(batch.ids) else batch.pixels[list(fresh.values())]
            shown = [batch.ids[row] for row in fresh.values()]
            cache.add(list(fresh), frozen.transform.normalise(pixels.to(device)), shown)
        done += len(batch.ids) + len(batch.failures)
        tick(done, len(ids))
    kept = [i for i in ids if i not in failed]
    return cache.features([names[i] for i in kept]), kept, failed


def file_hashes(dataset: Dataset, ids: Sequence[str]) -> dict[str, bytes]:
    """Hashes of the files of those pictures that are whole files; others, missing or unreadable, have none."""
    if not isinstance(dataset, FileDataset):
        return {}
    paths = {i: path for i in ids if (path := dataset.path(i)) is not None}
    with ThreadPoolExecutor() as pool:  # reading and hashing let other threads run
        hashes = zip(paths, pool.map(_file_hash, paths.values()), strict=True)
        return {i: own for i, own in hashes if own is not None}


def _first_rows(batch: Batch[str], names: Mapping[str, bytes], known: Mapping[bytes, object]) -> dict[bytes, int]:
    """Hash -> row in the batch, once for each hash that is not known."""
    found: dict[bytes, int] = {}
    for row, image_id in enumerate(batch.ids):
        if names[image_id] not in known:
            found.setdefault(names[image_id], row)
    return found


def _hash(content: bytes | memoryview) -> bytes:
    return hashlib.blake2b(content, digest_size=HASH_BYTES).digest()


def _file_hash(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=HASH_BYTES)).digest()
    except OSError:  # decoding tells why, of this picture among others, or leaves it out
        return None


@dataclass
class _Cache:
    """The rows that one key has, and those that are being added.

    Attributes:
        known: Hash -> (part, place in it); a part that is still being filled has its number already.
    """

    frozen: Frozen
    folder: Path | None
    dtype: torch.dtype
    known: dict[bytes, tuple[int, int]] = field(default_factory=dict)
    parts: list[Tensor] = field(default_factory=list)
    _names: list[bytes] = field(default_factory=list)
    _rows: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.folder is not None:
            self.folder = self.folder / f"{self.frozen.key}-{str(self.dtype).removeprefix('torch.')}"
            for path in sorted(self.folder.glob("*.safetensors")):
                self._open(path)

    @torch.no_grad()
    def add(self, names: Sequence[bytes], given: Tensor | list[str], shown: Sequence[str]) -> None:
        """Compute rows for normalised pixels or texts; `shown` is what messages call them."""
        rows = self.frozen.run(given)
        if len(rows) != len(names):
            raise ComposirError(f"what is frozen under {self.frozen.key} makes {len(rows)} rows of {len(names)}")
        rows = rows.detach().to("cpu", self.dtype)
        finite = rows.flatten(1).isfinite().all(dim=1)
        if not bool(finite.all()):
            bad = ", ".join(repr(own) for own, fine in zip(shown, finite.tolist(), strict=True) if not fine)
            raise ComposirError(
                f"the features of {bad} are not finite as {self.dtype}; take float32, or mend the weights"
            )
        for name in names:
            self.known[name] = (len(self.parts), len(self._names))
            self._names.append(name)
        self._rows.append(rows)
        if sum(own.nbytes for own in self._rows) >= PART_BYTES:
            self._write()

    def features(self, names: Sequence[bytes]) -> Features:
        """The rows of these names, in their order."""
        self._write()
        found = torch.tensor([self.known[name] for name in names], dtype=torch.int64).view(-1, 2)
        return Features(tuple(self.parts), found[:, 0].contiguous(), found[:, 1].contiguous())

    def _write(self) -> None:
        if not self._names:
            return
        rows, names = torch.cat(self._rows), self._names
        self._rows, self._names = [], []
        if self.folder is None:
            self.parts.append(rows)
            return
        hashes = torch.frombuffer(bytearray(b"".join(names)), dtype=torch.uint8).view(-1, HASH_BYTES)
        path = self.folder / f"{_hash(b''.join(names)).hex()}.safetensors"
        # Under a name of its own: another run may be at the same rows.
        fresh = path.with_name(f"{path.name}.{os.getpid()}.writing")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            save_file({"hashes": hashes, "features": rows.contiguous()}, fresh)
            fresh.replace(path)
        except (OSError, SafetensorError) as error:
            with contextlib.suppress(OSError):  # where the folder is none, there is nothing to remove
                fresh.unlink()
            raise ComposirError(f"{self.folder} cannot be written ({error}); give [features] folder another") from error
        self._open(path, names)

    def _open(self, path: Path, names: Iterable[bytes] | None = None) -> None:
        try:
            with safe_open(path, framework="pt") as file:
                rows, hashes = file.get_tensor("features"), file.get_tensor("hashes")
        except (OSError, SafetensorError) as error:
            raise ComposirError(f"{path} is damaged ({error}); remove it, and its features are made anew") from error
        for place, name in enumerate(names if names is not None else _split(hashes)):
            self.known[name] = (len(self.parts), place)
        self.parts.append(rows)


def _split(hashes: Tensor) -> Iterator[bytes]:
    content = hashes.numpy().tobytes()
    return (content[i : i + HASH_BYTES] for i in range(0, math.prod(hashes.shape), HASH_BYTES))
