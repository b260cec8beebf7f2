"""What is served at one moment: a shelf and the methods that read it; a change of either makes another stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from composir import methods
from composir.backbones.base import Backbone
from composir.checkpoint import loaded_from
from composir.engine import reads_words
from composir.errors import ComposirError
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery
from composir.indexing import require
from composir.loading import default_workers
from composir.methods.base import Method
from composir.methods.joint import JointSpace
from composir.opening import find_for_gallery, load_wanted, on_device
from composir.plugins import classes_in, load_object
from composir.reverse import References
from composir.server.service import MethodInfo, NotFoundError
from composir.similarity.approximate import Approximate
from composir.similarity.joined import Joined
from composir.similarity.nearest import Nearest

DIRECTIONS = ("image", "text", "composed")
"""What a hit is compared to; the weights of a request are named so."""

WARM_TEXT = "a red dress"


@dataclass(frozen=True, eq=False)
class Stand:
    """A gallery as it was read at one moment.

    Attributes:
        gallery: Where it lies.
        shelf: Its pictures.
        methods: By name, the default first; all of the gallery's key.
        references: For each method, the pictures as references: reverse search asks them.
        reads: For each method, the fingerprint of what it makes of a picture as a reference: the gallery's key where
            that is its gallery vector.
        infos: What is told of the methods.
        base: Finds the best rows of what was read at once; approximate from `approximate_from` pictures on.
    """

    gallery: Gallery
    shelf: Shelf
    methods: dict[str, Method]
    references: dict[str, References]
    reads: dict[str, str]
    infos: tuple[MethodInfo, ...]
    base: Nearest | Approximate
    approximate_from: int

    @classmethod
    def open(
        cls, gallery: Gallery, wanted: str | None, others: Sequence[str], device: str, *, approximate_from: int
    ) -> Stand:
        """Load the method that is asked for, the further ones, and those that need no training.

        Args:
            gallery: What is served.
            wanted: The default, as for `find_for_gallery`; None = the one that the gallery remembers.
            others: Further runs or checkpoints of the gallery's key.
            device: Where to encode.
            approximate_from: Pictures from which on not all are looked at.

        Raises:
            ComposirError: One of those that are named cannot be loaded.
            GalleryError: One of them has another gallery key; both keys are named.
        """
        loaded: dict[str, Method] = {}
        for what in (wanted, *others):
            found = find_for_gallery(gallery, what)
            method = load_wanted(found, device=device).eval()
            require(gallery, method)
            name = method.name if method.name not in loaded else found.label
            if name in loaded:
                raise ComposirError(f"two methods bear the name {name!r}; give the folder of one another name")
            loaded[name] = method
        first = next(iter(loaded.values()))
        for name, method in untrained(first.backbone, gallery.manifest.key).items():
            loaded.setdefault(name, on_device(method, str(next(first.parameters()).device)).eval())
        reads = {name: _reads(method, gallery.manifest.key) for name, method in loaded.items()}
        return cls._of(gallery, loaded, reads, approximate_from)

    @classmethod
    def _of(cls, gallery: Gallery, loaded: dict[str, Method], reads: dict[str, str], approximate_from: int) -> Stand:
        shelf = Shelf.load(gallery)
        # Made now, not by the first request. Several vectors a picture are always searched exactly.
        lists = len(shelf) >= approximate_from and shelf.each == 1
        base = Approximate(shelf.base.nearest) if lists else shelf.base.nearest
        infos = [replace(_info(gallery, name, own), default=not i) for i, (name, own) in enumerate(loaded.items())]
        references = _references(gallery, shelf, loaded)
        return cls(gallery, shelf, loaded, references, reads, tuple(infos), base, approximate_from)

    @cached_property
    def searcher(self) -> Nearest | Approximate | Joined:
        """Finds the best rows of all."""
        return self.shelf.searched(self.base)

    def renewed(self) -> Stand:
        """The same methods over the gallery as it is now; what was only added to is not read again."""
        grown = self.shelf.grown(self.gallery)
        if grown is None:
            return self._of(self.gallery, self.methods, self.reads, self.approximate_from)
        return replace(self, shelf=grown, references=_references(self.gallery, grown, self.methods))

    def warm(self) -> None:
        """Encode a picture and words by the default method, and search for them."""
        method = self.method(None)
        size = method.transform("gallery").size
        with torch.inference_mode():
            blank = torch.zeros(1, 3, size, size, dtype=torch.uint8, device=next(method.parameters()).device)
            reference = method.encode_reference(method.transform("reference").normalise(blank))
            query = method.compose(reference, [WARM_TEXT]).float().cpu()
        self.shelf.search(query, 1)

    def method(self, name: str | None) -> Method:
        """A method by name; None = the default.

        Raises:
            NotFoundError: There is none of that name.
        """
        if name is None:
            return next(iter(self.methods.values()))
        if name not in self.methods:
            raise NotFoundError(f"no method {name!r} fits this gallery; known: {', '.join(self.methods)}")
        return self.methods[name]


def _references(gallery: Gallery, shelf: Shelf, loaded: Mapping[str, Method]) -> dict[str, References]:
    root = Path(gallery.manifest.root)
    # Files are decoded by other processes, as everywhere in a server.
    return {name: References(own, shelf, root, default_workers()) for name, own in loaded.items()}


def untrained(backbone: Backbone, key: str) -> dict[str, Method]:
    """The methods that need no training over a backbone, by name, whose gallery key is `key`."""
    found: dict[str, Method] = {}
    for name, place in classes_in("composir.methods").items():
        kind = load_object(place, "method")
        if getattr(kind, "trains_on", "") == "nothing":
            method = methods.load_method(name, backbone)
            if method.gallery_key() == key:
                found[name] = method
    return found


def _info(gallery: Gallery, name: str, method: Method) -> MethodInfo:
    origin = loaded_from(method)
    words = reads_words(method)
    weighed = method.controls or (DIRECTIONS[:2] if words and len(method.reads) == 2 else ())
    return MethodInfo(
        name,
        tuple(weighed),
        gallery.manifest.key,
        default=False,
        words_alone=words,
        title=f"{method.name} from {origin.run or origin.path.name}" if origin else method.name,
    )


def _reads(method: Method, key: str) -> str:
    if encodes_alike(method):
        return key
    # The joint space tells the gallery's key for both sides, whatever their transforms.
    return f"{method.reference_key()} {method.transform('reference').spec}"


def encodes_alike(method: Method) -> bool:
    """Whether a stored gallery vector is what the method makes of the picture as a reference."""
    alike = method.transform("gallery").spec == method.transform("reference").spec
    return alike and type(method).encode_reference is JointSpace.encode_reference
