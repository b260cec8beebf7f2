"""The contract of a method."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load, save
from torch import Tensor

from composir.errors import ComposirError
from composir.methods.base import Method, Side
from composir.similarity import top_k
from composir.testing.compare import (
    TEXTS,
    TOLERANCE,
    own_chance,
    perturbed,
    pictures,
    require,
    require_apart,
    require_close,
    require_raises,
)
from composir.testing.learning import check_training


@dataclass(frozen=True)
class _Sample:
    """What the checks look at: normalised pixels of the same B pictures for either side, and B texts."""

    gallery: Tensor
    reference: Tensor
    texts: list[str]


def check_method(
    method: Method,
    *,
    images: Sequence[Image.Image] = (),
    texts: Sequence[str] = TEXTS,
    batches: Sequence[dict[str, Any]] = (),
    fresh: Method | None = None,
    tolerance: float = TOLERANCE,
) -> None:
    """Assert what composir expects of a method, in eval mode and on its device.

    Embeddings are unit vectors of one width that depend neither on the batch they stand in nor on chance; `compose`
    takes account of exactly what `reads` names and takes exactly the controls named; a permuted gallery gives a
    permuted ranking; the gallery key follows every tensor that gallery embeddings depend on and no other; the state
    dict holds everything. One that trains: gradients reach exactly what requires them, `tuned` and `parameter_groups`
    name exactly that, and a few steps on one batch reduce the loss.

    Args:
        method: With any weights.
        images: Two or more pictures that differ; coloured noise if none are given.
        texts: Two or more that differ.
        batches: What `loss` takes; made from Wardrobe where the method trains on pairs and none are given.
        fresh: Another instance with the same arguments and other weights, to load the state dict into; without it a
            copy is used, which cannot show a tensor that is neither parameter nor buffer.
        tolerance: Largest difference between two ways to the same embedding.

    Raises:
        AssertionError: It breaks the contract; the message says where.
    """
    method = copy.deepcopy(method).eval()
    shown = list(images) or pictures()
    count = min(len(shown), len(texts))
    require(count > 1, "two pictures and two texts are needed")
    sample = _Sample(
        _pixels(method, "gallery", shown[:count]), _pixels(method, "reference", shown[:count]), list(texts)[:count]
    )
    with own_chance(), torch.no_grad():
        _check_declarations(method)
        _check_encoders(method, sample, tolerance)
        _check_compose(method, sample, tolerance)
        _check_reads(method, sample, tolerance)
        _check_ranking(method, sample, tolerance)
        _check_gallery_key(method, sample)
        _check_state_dict(method, sample, fresh)
    check_training(method, batches)


def _pixels(method: Method, side: Side, images: Sequence[Image.Image]) -> Tensor:
    transform = method.transform(side)
    return torch.stack([transform(image) for image in images]).to(next(method.parameters()).device)


def _check_declarations(method: Method) -> None:
    """Class attributes, against the tensors and the signature they speak of."""
    require(method.trains_on in ("nothing", "pairs", "triplets"), f"trains_on is {method.trains_on!r}")
    require(bool(method.reads) and set(method.reads) <= {"reference", "text"}, f"reads is {method.reads!r}")
    tensors = list(method.state_dict())
    for kind in ("gallery_side", "tuned"):
        for prefix in getattr(method, kind):
            hit = any(name.startswith(prefix) for name in tensors)
            require(hit, f"{kind} names {prefix!r}, but no tensor's name starts with it")
    require(bool(method.gallery_side), "gallery_side is empty, so nothing would make the gallery key")
    parameters = list(inspect.signature(method.compose).parameters.values())[2:]
    named = {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    require(named <= set(method.controls), f"compose takes {sorted(named)}, but controls names {method.controls}")
    missing = set(method.controls) - named
    require(takes_any or not missing, f"controls names {sorted(missing)}, but compose does not take them")


def _require_unit(vectors: Tensor, count: int, what: str) -> None:
    require(vectors.ndim == 3 and len(vectors) == count, f"{what} gives {tuple(vectors.shape)}, not ({count}, T, D)")
    require(vectors.dtype == torch.float32, f"{what} gives {vectors.dtype}, not float32")
    off = float((vectors.norm(dim=-1) - 1).abs().max())
    # Four times what rounding to single precision costs a vector of some hundred numbers.
    require(off <= 1e-6, f"{what} gives vectors that are not of unit length: off by {off:.3g}")


def _check_encoders(method: Method, sample: _Sample, tolerance: float) -> None:
    for what, pixels in (("encode_gallery", sample.gallery), ("encode_reference", sample.reference)):
        encode, before = getattr(method, what), pixels.clone()
        encoded = encode(pixels)
        if what == "encode_gallery":
            _require_unit(encoded, len(pixels), what)
        require(encoded.ndim == 3 and len(encoded) == len(pixels), f"{what} gives {tuple(encoded.shape)}")
        alone = torch.cat([encode(row[None]) for row in pixels])
        require_close(alone, encoded, f"{what}: an image alone and in a batch", tolerance)
        require_close(encode(pixels.flip(0)).flip(0), encoded, f"{what}: images in another order", tolerance)
        with own_chance(1):
            require_close(encode(pixels), encoded, f"{what}: the same images again", 0)
        require_close(pixels, before, f"the caller's pixels after {what}", 0)


def _check_compose(method: Method, sample: _Sample, tolerance: float) -> None:
    reference, texts = method.encode_reference(sample.reference), sample.texts
    before = reference.clone()
    query = method.compose(reference, texts)
    _require_unit(query, len(texts), "compose")
    width = method.encode_gallery(sample.gallery[:1]).shape[2]
    require(query.shape[2] == width, f"queries have width {query.shape[2]}, gallery embeddings {width}")
    alone = [method.compose(row[None], [text]) for row, text in zip(reference, texts, strict=True)]
    require_close(torch.cat(alone), query, "compose: a query alone and in a batch", tolerance)
    turned = method.compose(reference.flip(0), texts[::-1]).flip(0)
    require_close(turned, query, "compose: queries in another order", tolerance)
    with own_chance(1):
        require_close(method.compose(reference, texts), query, "compose: the same queries again", 0)
    require_close(reference, before, "the caller's reference after compose", 0)
    unknown: dict[str, Any] = {"no_such_control": 1}
    kinds = (TypeError, ComposirError)
    require_raises(lambda: method.compose(reference, texts, **unknown), kinds, "compose with an unknown control")


def _check_reads(method: Method, sample: _Sample, tolerance: float) -> None:
    """What is read matters, what is not read does not."""
    reference, texts = method.encode_reference(sample.reference), sample.texts
    query = method.compose(reference, texts)
    changed = {
        "text": method.compose(reference, [*texts[1:], texts[0]]),
        "reference": method.compose(reference.roll(1, 0), texts),
    }
    for what, other in changed.items():
        if what in method.reads:
            for one, two in zip(query, other, strict=True):
                require_apart(one, two, f"the {what} does not matter, though `reads` names it")
        else:
            require_close(other, query, f"another {what}, which `reads` does not name", tolerance)


def _check_ranking(method: Method, sample: _Sample, tolerance: float) -> None:
    """A permuted gallery gives the permuted ranking, wherever scores are further apart than rounding."""
    query = method.compose(method.encode_reference(sample.reference), sample.texts)
    gallery = method.encode_gallery(sample.gallery)
    order = torch.arange(len(gallery), device=gallery.device).roll(1).flip(0)
    scores, rows = top_k(query, gallery, len(gallery))
    other_scores, other_rows = top_k(query, method.encode_gallery(sample.gallery[order]), len(gallery))
    require_close(other_scores, scores, "the scores of a permuted gallery", tolerance)
    gap = scores.diff(dim=1).abs() > 2 * tolerance
    edge = torch.ones_like(gap[:, :1])
    clear = torch.cat([edge, gap], dim=1) & torch.cat([gap, edge], dim=1)
    require(bool(clear.any()), "all scores are equal, so the gallery images do not matter")
    require(bool((order[other_rows] == rows)[clear].all()), "a permuted gallery gives another ranking")


def _check_gallery_key(method: Method, sample: _Sample) -> None:
    key, encoded = method.gallery_key(), method.encode_gallery(sample.gallery)
    require(copy.deepcopy(method).gallery_key() == key, "a copy has another gallery key")
    elsewhere = copy.deepcopy(method)
    if perturbed(elsewhere, method.gallery_side, inside=False):
        what = "gallery embeddings after a change of the tensors outside gallery_side"
        require_close(elsewhere.encode_gallery(sample.gallery), encoded, what, 0)
        told = "the gallery key follows a tensor outside gallery_side"
        require(elsewhere.gallery_key() == key, told)
    floats = [name for name, tensor in method.state_dict().items() if tensor.is_floating_point()]
    within = [name for name in floats if name.startswith(method.gallery_side)]
    for name in {within[0], within[len(within) // 2], within[-1]}:
        other = copy.deepcopy(method)
        perturbed(other, (name,))
        require(other.gallery_key() != key, f"the gallery key does not follow {name!r}")


def _check_state_dict(method: Method, sample: _Sample, fresh: Method | None) -> None:
    """Through safetensors into another instance: the outputs come back."""
    if fresh is None:
        other = copy.deepcopy(method)
        perturbed(other, ("",))
    else:
        other = copy.deepcopy(fresh).eval()
    wanted = _outputs(method, sample)
    told = "the instance to load into has the same weights already, which would show nothing"
    require(any(bool((a - b).abs().max() > 0) for a, b in zip(_outputs(other, sample), wanted, strict=True)), told)
    stored = save({name: tensor.contiguous().clone() for name, tensor in method.state_dict().items()})
    try:
        other.load_state_dict(load(stored), strict=True)
    except RuntimeError as error:
        raise AssertionError(f"the state dict does not load into another instance: {error}") from error
    for got, expected in zip(_outputs(other, sample), wanted, strict=True):
        require_close(got, expected, "outputs after saving and loading the state dict", 0)
    require(other.gallery_key() == method.gallery_key(), "the gallery key after saving and loading is another one")


def _outputs(method: Method, sample: _Sample) -> tuple[Tensor, Tensor]:
    return method.encode_gallery(sample.gallery), method.compose(
        method.encode_reference(sample.reference), sample.texts
    )
