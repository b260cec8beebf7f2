"""A method and a gallery together: picture and words in, ranked pictures out."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from composir.errors import ComposirError, GalleryError
from composir.gallery.picture import ItemReader, read_picture
from composir.gallery.scan import content_id, file_id, looks_like_id
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery
from composir.images.modes import to_rgb
from composir.indexing import require
from composir.methods import names
from composir.methods.base import Method, Side
from composir.methods.joint import JointSpace
from composir.opening import find_for_gallery, load_wanted
from composir.plugins import classes_in, load_object
from composir.reverse import Progress, References, stored_picture
from composir.types import Hit

Reference = Image.Image | Path | str | bytes
CACHED = 64  # encoded references kept


@dataclass(frozen=True, slots=True)
class _Picture:
    """A reference: `id` by its content if the bytes of a file are known, `key` for the cache, `read` to decode it."""

    id: str | None
    key: str
    read: Callable[[], Image.Image]


class Engine:
    """Answers queries over one gallery, which it holds in memory as it was when loaded; see `refresh`.

    Args:
        method: Reads references and composes them; of the gallery's key.
        gallery: What is searched.

    Raises:
        GalleryError: The gallery has another key; both are named, with the command that mends it.
    """

    def __init__(self, method: Method, gallery: Gallery):
        require(gallery, method)
        self.method, self.gallery = method.eval(), gallery
        self.refresh()
        self._encoded: OrderedDict[tuple[Side, str], Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, gallery: Gallery | Path | str, method: str | None = None) -> Engine:
        """Build the engine of a gallery with the backbone or the checkpoint it remembers.

        Args:
            gallery: The gallery, its path or its URI.
            method: Another method with the same gallery key, by name, or a run or checkpoint; None = the one that it
                was indexed with, with its arguments.

        Raises:
            GalleryError: The checkpoint that it remembers has moved or changed.
        """
        gallery = gallery if isinstance(gallery, Gallery) else Gallery.open(gallery)
        return cls(load_wanted(find_for_gallery(gallery, method), device="cpu"), gallery)

    def refresh(self) -> None:
        """Read the gallery again, after it was indexed anew."""
        self.shelf = Shelf.load(self.gallery)
        self._references = References(self.method, self.shelf, Path(self.gallery.manifest.root))

    def search(
        self,
        reference: Reference | None = None,
        text: str = "",
        k: int = 10,
        *,
        keep_reference: bool = False,
        reverse: bool = False,
        where: str = "",
        **controls: float | None,
    ) -> list[Hit]:
        """The k pictures that fit best, best first; equal scores by ascending id.

        A picture without words finds similar pictures, words without a picture find what they describe. In reverse, the
        picture is the target, and those are found which, changed as the words say, lead to it; see `composir.reverse`.

        Args:
            reference: A file's path or bytes, a picture, or the id of a gallery picture. A `str` is an id if the
                gallery has it, else a path.
            text: What should differ.
            k: How many.
            keep_reference: Leave the given picture itself in its ranking. By default a gallery picture with its very
                bytes is dropped. A picture given as an image object has no bytes to tell it by: it stays.
            reverse: Look for the reference, given the target.
            where: An SQL-like filter over the gallery's metadata, "" for none; see `Columns.rows`.
            controls: Those of the method, e.g. alpha; None = the method's default.

        Raises:
            ComposirError: Neither picture nor words (in reverse not both), an unreadable picture, a control that the
                method does not take, or words alone where the gallery has no place for them.
        """
        if k < 1:
            raise ComposirError(f"k = {k}; ask for 1 answer or more")
        picture = None if reference is None else self._resolve(reference)
        given = {name: v for name, v in controls.items() if v is not None}
        drop = picture.id if picture and not keep_reference else None
        if not reverse:
            return self.shelf.search(self._query(picture, text.strip(), given).float().cpu(), k, drop, where)
        if picture is None or not text.strip():
            raise ComposirError("reverse search asks which picture, changed by words, leads to a target; give both")
        self._check_controls(given)
        if not self.method.bidirectional:
            return self._references.search(self._gallery_side(picture), text.strip(), k, drop, where, **given)
        with torch.inference_mode():
            query = self.method.compose_reversed(self._encode("reference", picture), [text.strip()], **given)
        return self.shelf.search(query.float().cpu(), k, drop, where)

    def prepare_reverse(self, progress: Progress = lambda *_: None) -> None:
        """Encode now what the first reverse search would encode: for most methods nothing.

        Args:
            progress: Told (pictures done, pictures in all) after each batch.
        """
        if not self.method.bidirectional:
            self._references.prepare(progress)

    @torch.inference_mode()
    def _query(self, picture: _Picture | None, text: str, controls: dict[str, float]) -> Float[Tensor, "1 S D"]:
        self._check_controls(controls)
        if controls and (picture is None or not text):
            raise ComposirError(f"{', '.join(controls)} weighs picture against words; give both")
        if picture is None:
            return self._words_alone(text)
        if not text:
            return self._gallery_side(picture)
        return self.method.compose(self._encode("reference", picture), [text], **controls)

    @torch.inference_mode()
    def _gallery_side(self, picture: _Picture) -> Float[Tensor, "1 T D"]:
        row = self.shelf.rows.get(picture.id or "")
        return self._encode("gallery", picture) if row is None else self.shelf.vectors([row])

    def _words_alone(self, text: str) -> Float[Tensor, "1 1 D"]:
        if not text:
            raise ComposirError("nothing to search for; give a picture, words, or both")
        if not reads_words(self.method):
            raise ComposirError(
                f"method {self.method.name!r} cannot search by words alone: its gallery vectors are not in the joint "
                "space of picture and text; give a picture too"
            )
        return embed_words(self.method, [text])

    def _check_controls(self, controls: dict[str, float]) -> None:
        for name in controls:
            if name not in self.method.controls:
                takers = [other for other in names() if name in controls_of(other)]
                known = f"methods that take it: {', '.join(takers)}" if takers else "no method takes it"
                ready = [other for other in takers if _replaces(other, self.method)]
                way = f"; over this gallery: --method {' or '.join(ready)}" if ready else ""
                raise ComposirError(f"method {self.method.name!r} takes no {name!r}; {known}{way}")

    def _encode(self, side: Side, picture: _Picture) -> Tensor:
        """One side's encoding of a picture, (1, ·, ·); computed once for as long as it stays in the cache."""
        key = (side, picture.key)
        with self._lock:
            if key in self._encoded:
                self._encoded.move_to_end(key)
                return self._encoded[key]
        pixels = self.method.transform(side)(picture.read())[None].to(next(self.method.parameters()).device)
        encoded = self.method.encode_gallery(pixels) if side == "gallery" else self.method.encode_reference(pixels)
        with self._lock:
            self._encoded[key] = encoded
            while len(self._encoded) > CACHED:
                self._encoded.popitem(last=False)
        return encoded

    def _resolve(self, reference: Reference) -> _Picture:
        size = self.method.transform("reference").size
        if isinstance(reference, Image.Image):
            upright = to_rgb(ImageOps.exif_transpose(reference))
            digest = hashlib.sha256(upright.tobytes() + repr(upright.size).encode()).hexdigest()
            return _Picture(None, f"pixels {digest}", lambda: upright)
        if isinstance(reference, bytes):
            own = content_id(reference)
            return _Picture(own, own, lambda: read_picture(reference, size, "the picture"))
        if isinstance(reference, str) and reference in self.shelf.rows:
            return _Picture(reference, reference, lambda: self._stored_picture(reference, size))
        path = Path(reference).expanduser()
        if not path.is_file():
            if looks_like_id(str(reference)):
                raise ComposirError(f"the gallery has no picture {reference}; index its folder again, or check the id")
            if path.is_dir():
                raise ComposirError(f"{path} is a folder; name one picture in it")
            if str(reference).startswith(("http://", "https://")):
                raise ComposirError(f"{reference} is a web address; save the picture to a file and name that")
            raise ComposirError(f"there is no file {path}; check the path")
        try:
            own = file_id(path)
        except OSError as error:
            raise ComposirError(f"{path} cannot be read: {error.strerror}; check its access rights") from error
        return _Picture(own, own, lambda: read_picture(path, size))

    def _stored_picture(self, own: str, size: int) -> Image.Image:
        """The picture of a gallery id, from the first of its files that still holds it."""
        read = ItemReader(Path(self.gallery.manifest.root), size)
        try:
            return stored_picture(read, own, self.shelf.paths[self.shelf.rows[own]])
        except ComposirError as problem:
            told = f"picture {own} is no longer where it was indexed ({problem}); index the folder again"
            raise GalleryError(told) from problem


def reads_words(method: Method) -> bool:
    """Whether words are comparable to gallery vectors: only if those are the image tower's own features."""
    return type(method).encode_gallery is JointSpace.encode_gallery


@torch.inference_mode()
def embed_words(method: Method, texts: Sequence[str]) -> Float[Tensor, "B 1 D"]:
    """Unit vectors of words in the gallery's space; for methods that `reads_words` names."""
    return F.normalize(method.backbone.embed_text(texts).float(), dim=-1)[:, None]


def _replaces(name: str, method: Method) -> bool:
    """Whether a method of this house reads the same galleries as it stands, without training."""
    kind: Any = load_object(classes_in("composir.methods")[name], "method")
    return kind.trains_on == "nothing" and kind.encode_gallery is type(method).encode_gallery


def controls_of(method: str) -> tuple[str, ...]:
    """The controls that a method of this house takes."""
    kind = load_object(classes_in("composir.methods")[method], "method")
    return getattr(kind, "controls", ())
