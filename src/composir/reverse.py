"""Reverse search: given the target and the words, the pictures of a gallery that the words may have changed.

The gallery plays the references: score(r) = similarity of (compose(r, words), target), the formula of forward search
with the unknown at its other end. So every picture is composed with the words, in pieces of bounded memory. A method
that has learnt the way back offers `compose_reversed` and needs none of this: its query is ranked as any other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from composir.backbones.base import Backbone
from composir.errors import ComposirError, GalleryError
from composir.gallery.picture import ItemReader
from composir.gallery.search import Shelf
from composir.loading import pixel_batches
from composir.methods.base import Method
from composir.methods.joint import JointSpace
from composir.similarity import paired_scores
from composir.similarity.order import best_columns
from composir.types import Hit, Item

AT_ONCE = 256  # references composed at once at most
# Numbers from which on torch shares an operation among threads. Composing is many small ones: the threads wait for each
# other at the end of each, which on cores that do other things too takes longer than all the rest.
SHARED = 32_768
ENCODED = 32  # pictures encoded at once
FEW = 8  # the same on a CPU, which takes its time for each
KEPT_BYTES = 2 * 2**30  # encoded references kept between searches; what takes more is made anew for each
MANY = 512  # pictures from which on processes decode them

Progress = Callable[[int, int], None]  # pictures done, pictures in all


class References:
    """A shelf's pictures as a method reads references.

    Where it reads them as it reads the gallery, they are the stored vectors. Otherwise they are encoded from the files,
    by the first search, and kept if they fit into `KEPT_BYTES`.

    Args:
        method: It composes.
        shelf: The pictures.
        root: Where their files lie.
        workers: Processes that decode them; None = as many as cores from `MANY` pictures on, else none but this one.
    """

    # For all: what reads texts once is set on the backbone, which several may share.
    _lock = threading.RLock()

    def __init__(self, method: Method, shelf: Shelf, root: Path, workers: int | None = None):
        self._method, self._shelf, self._root = method, shelf, root
        self._workers = workers if workers is not None or len(shelf) >= MANY else 0
        self._kept: list[Tensor] = []
        # The joint space encodes a reference by calling encode_gallery: on equal pixels that is one vector.
        alike = method.transform("gallery").spec == method.transform("reference").spec
        self.stored = alike and type(method).encode_reference is JointSpace.encode_reference

    def search(
        self,
        target: Float[Tensor, "1 T D"],
        text: str,
        k: int,
        drop: str | None = None,
        where: str = "",
        **controls: Any,
    ) -> list[Hit]:
        """The k references from which the text leads nearest to the target, best first; equal scores by ascending id.

        Args:
            target: Its gallery vectors.
            text: What was changed.
            k: How many at most.
            drop: Id of a picture to leave out; one that is not in the gallery changes nothing.
            where: A filter over the gallery's metadata; "" for none.
            controls: For `compose`.
        """
        shelf = self._shelf
        chosen = shelf.columns.rows(where)
        chosen = np.arange(len(shelf)) if chosen is None else chosen
        chosen = chosen[chosen != shelf.rows.get(drop or "", -1)]
        k = min(k, len(chosen))
        if k < 1:
            return []
        scores = self.scores(target, text, controls).numpy()
        rows = chosen[best_columns(scores[None, chosen], k)[0]].tolist()
        return [Hit(rank, shelf.ids[r], shelf.paths[r][0], float(scores[r])) for rank, r in enumerate(rows, start=1)]

    def scores(self, target: Float[Tensor, "1 T D"], text: str, controls: Mapping[str, Any]) -> Float[Tensor, " N"]:
        """The score of every row of the shelf."""
        with self._lock:
            return torch.cat(list(self.scored(target, text, controls)))

    def scored(
        self, target: Float[Tensor, "1 T D"], text: str, controls: Mapping[str, Any]
    ) -> Iterator[Float[Tensor, " B"]]:
        """The same, some rows at a time, in their order; in between this thread may use the method for other things."""
        backbone, target = self._method.backbone, target.to(self._device).float()
        read_once = _once(backbone.embed_text)
        for piece in self._pieces():
            for part in piece.to(self._device).split(self._rows(piece)):
                with self._lock, reading(backbone, read_once), torch.inference_mode():
                    composed = self._method.compose(part, [text] * len(part), **controls)
                    own = paired_scores(composed, target.expand(len(part), 1, -1, -1))[:, 0].cpu()
                yield own

    def prepare(self, progress: Progress = lambda *_: None) -> None:
        """Encode now what the first search would encode, and tell how far it is."""
        with self._lock:
            if not self.stored and not self._kept:
                done = 0
                for piece in self._encoded():
                    done += len(piece)
                    progress(done, len(self._shelf))
                    if not self._fit(piece):
                        return

    @property
    def _device(self) -> torch.device:
        return next(self._method.parameters()).device

    def _rows(self, piece: Tensor) -> int:
        """How many rows of a piece are composed at once."""
        alone = (SHARED - 1) // max(1, piece[0].numel()) if self._device.type == "cpu" else AT_ONCE
        return max(1, min(AT_ONCE, alone))

    def _pieces(self) -> Iterator[Tensor]:
        if not self.stored:
            yield from self._kept or self._encoded()
            return
        for piece in self._shelf.pieces(AT_ONCE):
            for part in piece.split(self._rows(piece)):
                yield F.normalize(part.float(), dim=-1)  # half precision has moved their length away from one

    def _fit(self, piece: Tensor) -> bool:
        return piece.nbytes / len(piece) * len(self._shelf) <= KEPT_BYTES

    def _encoded(self) -> Iterator[Float[Tensor, "B R C"]]:
        method, transform, kept = self._method, self._method.transform("reference"), []
        read = _Copies(
            ItemReader(self._root, transform.size), dict(zip(self._shelf.ids, self._shelf.paths, strict=True))
        )
        together = min(ENCODED, FEW) if self._device.type == "cpu" else ENCODED
        for batch in pixel_batches(read, self._shelf.ids, transform, together, self._workers, on_error="collect"):
            for own, failure in batch.failures:
                raise GalleryError(
                    f"method {method.name!r} does not compose from what the gallery stores, so reverse search reads "
                    f"its pictures again; picture {own} cannot be read ({failure.detail or failure.reason}): index the "
                    "folder again"
                )
            with torch.inference_mode():  # not around the generator: in between others use this thread
                piece = method.encode_reference(transform.normalise(batch.pixels.to(self._device)))
            if self._fit(piece):
                kept.append(piece.cpu())
            yield piece
        self._kept = kept


class _Copies:
    """Reads the picture of an id from the first of its files that still holds it; made to travel to processes."""

    def __init__(self, read: ItemReader, paths: Mapping[str, Sequence[str]]):
        self._read, self._paths = read, paths

    def __call__(self, own: str) -> Image.Image:
        return stored_picture(self._read, own, self._paths[own])


def stored_picture(read: ItemReader, own: str, paths: Sequence[str]) -> Image.Image:
    """The picture of a gallery id, from the first of its files that still holds it.

    Raises:
        ComposirError: None does; the last problem.
    """
    for path in paths[:-1]:
        try:
            return read(Item(own, path))
        except ComposirError:
            continue
    return read(Item(own, paths[-1]))


def _once(read: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """`read`, a text tower, but for a text that fills a batch, and fills them all: that is read once."""
    known: dict[tuple[str, tuple[tuple[str, Any], ...]], Tensor] = {}

    def once(texts: Sequence[str], **around: Any) -> Tensor:
        if len(set(texts)) != 1 or around.get("words") is not None:
            return read(texts, **around)
        key = (texts[0], tuple(sorted(around.items())))
        if key not in known:
            known[key] = read(texts[:1], **around)
        return known[key].repeat(len(texts), 1)

    return once


@contextmanager
def reading(backbone: Backbone, read: Callable[..., Tensor]) -> Iterator[None]:
    """Let a backbone embed texts by `read` for a time, whoever asks it; see `Backbone.embed_text` for its arguments."""
    own = vars(backbone)
    before = {name: own[name] for name in ("embed_text",) if name in own}
    own["embed_text"] = read
    try:
        yield
    finally:
        del own["embed_text"]
        own.update(before)
