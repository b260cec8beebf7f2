"""A method and a gallery together: picture and words in, ranked pictures out."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image, ImageOps
from torch import Tensor

from composir.backbones import load_backbone
from composir.errors import ComposirError, GalleryError
from composir.gallery.picture import ItemReader, read_picture
from composir.gallery.scan import content_id, file_id, looks_like_id
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery
from composir.images.modes import to_rgb
from composir.methods import load_method, names
from composir.methods.base import Method, Side
from composir.methods.joint import JointSpace
from composir.plugins import classes_in, load_object
from composir.types import Hit, Item

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
        gallery.require(method.gallery_key(), method.name, method.backbone.source.name)
        self.method, self.gallery = method.eval(), gallery
        self.shelf = Shelf.load(gallery)
        self._encoded: OrderedDict[tuple[Side, str], Tensor] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def open(cls, gallery: Gallery | Path | str, method: str | None = None) -> Engine:
        """Build the engine of a gallery with the backbone it remembers.

        Args:
            gallery: The gallery or its path.
            method: Name of another method with the same gallery key; None = the one that it was indexed with.
        """
        gallery = gallery if isinstance(gallery, Gallery) else Gallery.open(Path(gallery))
        manifest = gallery.manifest
        return cls(load_method(method or manifest.method, load_backbone(manifest.backbone, manifest.revision)), gallery)

    def refresh(self) -> None:
        """Read the gallery again, after it was indexed anew."""
        self.shelf = Shelf.load(self.gallery)

    def search(
        self,
        reference: Reference | None = None,
        text: str = "",
        k: int = 10,
        *,
        keep_reference: bool = False,
        **controls: float | None,
    ) -> list[Hit]:
        """The k pictures that fit best, best first; equal scores by ascending id.

        A picture without words finds similar pictures, words without a picture find what they describe.

        Args:
            reference: A file's path or bytes, a picture, or the id of a gallery picture. A `str` is an id if the
                gallery has it, else a path.
            text: What should differ.
            k: How many.
            keep_reference: Leave the reference itself in its ranking. By default a gallery picture with the very bytes
                of the reference is dropped. A picture given as an image object has no bytes to tell it by: it stays.
            controls: Those of the method, e.g. alpha; None = the method's default.

        Raises:
            ComposirError: Neither picture nor words, an unreadable picture, a control that the method does not take,
                or words alone where the gallery has no place for them.
        """
        if k < 1:
            raise ComposirError(f"k = {k}; ask for 1 answer or more")
        picture = None if reference is None else self._resolve(reference)
        query = self._query(picture, text.strip(), {name: v for name, v in controls.items() if v is not None})
        return self.shelf.search(query.float().cpu(), k, picture.id if picture and not keep_reference else None)

    @torch.inference_mode()
    def _query(self, picture: _Picture | None, text: str, controls: dict[str, float]) -> Float[Tensor, "1 S D"]:
        self._check_controls(controls)
        if controls and (picture is None or not text):
            raise ComposirError(f"{', '.join(controls)} weighs picture against words; give both")
        if picture is None:
            return self._words_alone(text)
        if not text:
            row = self.shelf.rows.get(picture.id or "")
            return self._encode("gallery", picture) if row is None else self.shelf.vectors[row : row + 1]
        return self.method.compose(self._encode("reference", picture), [text], **controls)

    def _words_alone(self, text: str) -> Float[Tensor, "1 1 D"]:
        if not text:
            raise ComposirError("nothing to search for; give a picture, words, or both")
        # Words are comparable to gallery vectors only if those are the image tower's own features.
        if type(self.method).encode_gallery is not JointSpace.encode_gallery:
            raise ComposirError(
                f"method {self.method.name!r} cannot search by words alone: its gallery vectors are not in the joint "
                "space of picture and text; give a picture too"
            )
        return F.normalize(self.method.backbone.embed_text([text]).float(), dim=-1)[:, None]

    def _check_controls(self, controls: dict[str, float]) -> None:
        for name in controls:
            if name not in self.method.controls:
                takers = [other for other in names() if name in controls_of(other)]
                known = f"methods that take it: {', '.join(takers)}" if takers else "no method takes it"
                raise ComposirError(f"method {self.method.name!r} takes no {name!r}; {known}")

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
            raise ComposirError(f"there is no file {path}; check the path")
        try:
            own = file_id(path)
        except OSError as error:
            raise ComposirError(f"{path} cannot be read: {error.strerror}; check its access rights") from error
        return _Picture(own, own, lambda: read_picture(path, size))

    def _stored_picture(self, own: str, size: int) -> Image.Image:
        """The picture of a gallery id, from the first of its files that still holds it."""
        read, problem = ItemReader(Path(self.gallery.manifest.root), size), None
        for path in self.shelf.paths[self.shelf.rows[own]]:
            try:
                return read(Item(own, path))
            except ComposirError as error:
                problem = error
        raise GalleryError(f"picture {own} is no longer where it was indexed ({problem}); index the folder again")


def controls_of(method: str) -> tuple[str, ...]:
    """The controls that a method of this house takes."""
    kind = load_object(classes_in("composir.methods")[method], "method")
    return getattr(kind, "controls", ())
