"""Requests into what is looked for: references encoded once, words read together, all of a method composed at once."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from composir.engine import embed_words, reads_words
from composir.errors import ComposirError
from composir.methods.base import Method, Side
from composir.server.answering.kept import Kept, Words
from composir.server.answering.stand import DIRECTIONS, Stand, encodes_alike
from composir.server.service import Clock, NotFoundError, Reference, SearchRequest
from composir.similarity.nearest import Wanted

ENCODED = 1024  # references kept
TEXTS = 1024  # kept of each text tower, some 4 kB each
COMPOSED = 1024  # queries kept: the pages of one ranking are cut from one and the same vector
# How much each counts, the query counting 1: the best on val of benchmarks/steering_quality.py.
WITHOUT = 0.5  # words that must not show, against a picture
KEEP, AVOID = 0.5, 0.25  # a picture's look
CANCELLED = 1e-3  # of all that is weighed; what is left below that is the rounding of half precision


@dataclass(frozen=True, eq=False)
class Composed:
    """What a request looks for, and what its answers are compared to.

    Attributes:
        wanted: The weighted vectors that rank; None where the reversed search scores every picture itself.
        directions: "image", "text" and "composed" -> vectors (S, D), as far as there are any.
    """

    wanted: Wanted | None
    directions: dict[str, Float[NDArray, "S D"]]


class Composer:
    """Makes of requests what is looked for; called by one thread, but for `knows`."""

    def __init__(self) -> None:
        self._encoded, self._composed = Kept[Tensor](ENCODED), Kept[Composed](COMPOSED)
        self._words = Words(TEXTS)

    def side(self, stand: Stand, request: SearchRequest) -> Side:
        """As what a request's picture is read."""
        backwards = request.reverse and not stand.method(request.method).bidirectional
        return "gallery" if backwards or not request.text else "reference"

    def knows(self, stand: Stand, own: str, request: SearchRequest) -> bool:
        """Whether the picture need not be decoded for this request."""
        method, side = stand.method(request.method), self.side(stand, request)
        stored = own in stand.shelf.rows and (side == "gallery" or encodes_alike(method))
        return stored or _place(stand, request, side, own) in self._encoded

    def __call__(
        self, stand: Stand, requests: Sequence[SearchRequest], clock: Clock
    ) -> dict[int, Composed | ComposirError]:
        """What each request looks for, by its place; one that cannot be composed has its error.

        All are of one method; they are composed together.
        """
        method = stand.method(requests[0].method)
        results: dict[int, Composed | ComposirError] = {}
        fresh: dict[int, tuple[SearchRequest, Tensor | None]] = {}
        for place, request in enumerate(requests):
            kept = self._composed.get((stand.gallery.manifest.key, digest(request)))
            if kept is not None and _still_there(stand, request):
                results[place] = kept
                continue
            try:
                check(method, request)
                fresh[place] = (request, self._picture(stand, method, request, clock))
            except ComposirError as error:
                results[place] = error
        for place, composed in self._compose(stand, method, fresh, clock).items():
            results[place] = composed
            if isinstance(composed, Composed):
                self._composed.put((stand.gallery.manifest.key, digest(requests[place])), composed)
        return results

    def embed_words(self, method: Method, texts: Sequence[str], clock: Clock) -> Float[NDArray, "N 1 D"]:
        """Unit vectors of words, for a method that `reads_words` names; those read lately are not read again."""
        with self._words.read_once(method.backbone, clock):
            return embed_words(method, texts).cpu().numpy()

    def _compose(
        self, stand: Stand, method: Method, fresh: dict[int, tuple[SearchRequest, Tensor | None]], clock: Clock
    ) -> dict[int, Composed | ComposirError]:
        # Also what the method reads by itself: a control that moves alone runs no text tower.
        with self._words.read_once(method.backbone, clock):
            return self._weigh(stand, method, fresh, clock)

    def _weigh(
        self, stand: Stand, method: Method, fresh: dict[int, tuple[SearchRequest, Tensor | None]], clock: Clock
    ) -> dict[int, Composed | ComposirError]:
        texts = sorted({text for request, _ in fresh.values() for text in (request.text, *request.without) if text})
        words: dict[str, NDArray] = {}
        if texts and reads_words(method):
            words = dict(zip(texts, embed_words(method, texts).cpu().numpy(), strict=True))
        results: dict[int, Composed | ComposirError] = {}
        # Controls may differ from request to request; those of one kind go through the method together.
        with clock("compose"):
            for places in _alike(method, fresh):
                group = [fresh[place] for place in places]
                try:
                    queries = _queries(method, group, words)
                except ComposirError as error:
                    results.update(dict.fromkeys(places, error))
                    continue
                for place, (request, picture), query in zip(places, group, queries, strict=True):
                    try:
                        image = _seen(stand, method, request, picture)
                        results[place] = _weighed(stand, request, image, query, words)
                    except ComposirError as error:
                        results[place] = error
        return results

    def _picture(self, stand: Stand, method: Method, request: SearchRequest, clock: Clock) -> Tensor | None:
        """The reference, or in reverse the target, as the method reads it: (1, R, C)."""
        given = request.reference
        if given is None:
            return None
        if given.tensor is not None:
            return _checked_tensor(method, given.tensor)
        side, own = self.side(stand, request), str(given.id)
        row = stand.shelf.rows.get(own)
        if row is not None and (side == "gallery" or encodes_alike(method)):
            return F.normalize(stand.shelf.vectors([row]).float(), dim=-1)
        place = _place(stand, request, side, own)
        if (encoded := self._encoded.get(place)) is None:
            encoded = _encode(method, side, given, clock)
            self._encoded.put(place, encoded)
        return encoded


@torch.inference_mode()
def _encode(method: Method, side: Side, given: Reference, clock: Clock) -> Tensor:
    if given.pixels is None:  # forgotten between the look and the computation
        raise NotFoundError(f"picture {given.id} is not encoded any more; send the request again")
    device = next(method.parameters()).device
    pixels = method.transform(side).normalise(torch.from_numpy(np.array(given.pixels))[None].to(device))
    with clock("encode_image"):
        return (method.encode_gallery if side == "gallery" else method.encode_reference)(pixels).float().cpu()


def digest(request: SearchRequest) -> str:
    """Fingerprint of all that makes the ranking, but not of what is cut from it."""
    reference, told = request.reference, b""
    if reference is not None:
        told = reference.tensor.tobytes() if reference.tensor is not None else str(reference.id).encode()
    same = replace(request, reference=None, k=1, cursor=None, targets=())
    return hashlib.sha256(repr(same).encode() + told).hexdigest()[:24]


def check(method: Method, request: SearchRequest) -> None:
    """Refuse what cannot be composed.

    Raises:
        ComposirError: A control that the method does not take, or that has nothing to weigh; words that it cannot
            compare; a reversed search without both.
    """
    both = request.reference is not None and bool(request.text)
    if request.alpha is not None and "alpha" not in method.controls:
        raise ComposirError(f"method {method.name!r} takes no alpha; slerp does")
    if request.alpha is not None and not both:
        raise ComposirError("alpha weighs picture against words; give both")
    wrong = next((name for name in request.weights if name not in DIRECTIONS), None)
    if wrong is not None:
        raise ComposirError(f"weight {wrong!r} is unknown; known: {', '.join(DIRECTIONS)}")
    if request.weights and not any(request.weights.values()):
        raise ComposirError("all weights are 0, so nothing tells pictures apart; give one another value, or none")
    if request.reverse and not both:
        raise ComposirError("reverse search asks which picture, changed by words, leads to a target; give both")
    if not reads_words(method) and (request.reference is None or request.without or "text" in request.weights):
        raise ComposirError(
            f"method {method.name!r} cannot compare words to pictures directly: its gallery vectors are not in the "
            "joint space of picture and text; give a picture, and no 'without' and no weight for text"
        )
    if request.reverse and (request.weights or request.without or request.keep or request.avoid):
        raise ComposirError("reverse search takes no weights, 'without', keep and avoid; leave them out")


def _place(stand: Stand, request: SearchRequest, side: Side, own: str) -> tuple[str, str]:
    """Methods that read a picture alike share its encoding; told by keys, for an address may come again."""
    name = request.method or next(iter(stand.methods))
    return (stand.gallery.manifest.key if side == "gallery" else stand.reads[name], own)


def _still_there(stand: Stand, request: SearchRequest) -> bool:
    return all(own in stand.shelf.rows for own in (*request.keep, *request.avoid))


def _alike(method: Method, fresh: dict[int, tuple[SearchRequest, Tensor | None]]) -> list[list[int]]:
    groups: dict[object, list[int]] = {}
    for place, (request, picture) in fresh.items():
        kind = (picture is not None, bool(request.text), request.reverse, None if picture is None else picture.shape)
        groups.setdefault((kind, request.alpha is None and bool(method.controls)), []).append(place)
    return list(groups.values())


@torch.inference_mode()
def _queries(
    method: Method, group: Sequence[tuple[SearchRequest, Tensor | None]], words: dict[str, NDArray]
) -> Sequence[Float[NDArray, "S D"] | None]:
    """The composed query of each; None where the reversed search must ask every picture."""
    first, pictured = group[0][0], group[0][1] is not None
    if first.reverse and not method.bidirectional:
        return [None] * len(group)
    if not pictured:
        return [words[request.text] for request, _ in group]
    pictures = torch.cat([picture for _, picture in group if picture is not None])
    if not first.text:
        return list(pictures.numpy())
    controls = {} if first.alpha is None else {"alpha": [request.alpha for request, _ in group]}
    compose = method.compose_reversed if first.reverse else method.compose
    device = next(method.parameters()).device
    return list(compose(pictures.to(device), [request.text for request, _ in group], **controls).float().cpu().numpy())


def _weighed(
    stand: Stand,
    request: SearchRequest,
    directions: dict[str, NDArray],
    query: Float[NDArray, "S D"] | None,
    words: dict[str, NDArray],
) -> Composed:
    if request.text in words:
        directions["text"] = words[request.text]
    if query is None:
        return Composed(None, directions)
    directions["composed"] = query
    weights = request.weights or {"composed": 1.0}
    if missing := [name for name in weights if name not in directions]:
        raise ComposirError(f"weight {missing[0]!r}: the request has nothing to compare to; give {missing[0]} too")
    wanted = Wanted(np.empty((0, query.shape[1]), np.float32), np.empty(0))
    for name, weight in weights.items():
        wanted = wanted.plus(weight, directions[name])
    for text in request.without:
        wanted = wanted.plus(-WITHOUT, words[text])
    for ids, weight in ((request.keep, KEEP), (request.avoid, -AVOID)):
        for own in ids:
            wanted = wanted.plus(weight, _stored(stand, own))
    _require_something(wanted, stand.shelf.each)
    return Composed(wanted, directions)


def _require_something(wanted: Wanted, each: int) -> None:
    """Refuse what cancels out: every picture would have one score, and all of them be the best.

    Raises:
        ComposirError: Next to nothing is left of what is looked for.
    """
    vectors = wanted.vectors.astype(np.float64)
    apart, of = np.unique(vectors, axis=0, return_inverse=True)
    sums = np.zeros(len(apart))
    np.add.at(sums, of.ravel(), wanted.weights)
    # Of one vector an item all is linear; of several only equal vectors are sure to cancel.
    left = np.linalg.norm(sums @ apart) if each == 1 else (np.abs(sums) * np.linalg.norm(apart, axis=1)).sum()
    if left <= CANCELLED * (np.abs(wanted.weights) * np.linalg.norm(vectors, axis=1)).sum():
        raise ComposirError(
            "what is looked for cancels out (weights, 'without', keep and avoid together), so nothing tells pictures "
            "apart; change or leave out one of them"
        )


def _seen(
    stand: Stand, method: Method, request: SearchRequest, picture: Tensor | None
) -> dict[str, Float[NDArray, "T D"]]:
    """The reference as the gallery would hold it, where that is known without encoding it once more."""
    own = request.reference.id if request.reference else None
    if own is not None and own in stand.shelf.rows:
        return {"image": _stored(stand, own)}
    backwards = request.reverse and not method.bidirectional
    gallery_side = backwards or not request.text or encodes_alike(method)
    return {"image": picture[0].numpy()} if picture is not None and gallery_side else {}


def _stored(stand: Stand, own: str) -> Float[NDArray, "T D"]:
    row = stand.shelf.rows.get(own)
    if row is None:
        raise NotFoundError(f"the gallery has no picture {own}")
    return stand.shelf.vectors([row])[0].float().numpy()


def _checked_tensor(method: Method, given: Float[NDArray, "R C"]) -> Float[Tensor, "1 R C"]:
    """A reference that was encoded elsewhere."""
    size = method.transform("reference").size
    rows, width = _reference_shape(method, size)
    if given.shape != (rows, width):
        raise ComposirError(
            f"the tensor has shape {given.shape[0]} x {given.shape[1]}; method {method.name!r} encodes a reference as "
            f"{rows} x {width}"
        )
    return torch.from_numpy(np.array(given, np.float32))[None]


@torch.inference_mode()
def _reference_shape(method: Method, size: int) -> tuple[int, int]:
    if "_reference_shape" not in vars(method):
        blank = torch.zeros(1, 3, size, size, device=next(method.parameters()).device)
        vars(method)["_reference_shape"] = tuple(method.encode_reference(blank).shape[1:])
    return vars(method)["_reference_shape"]
