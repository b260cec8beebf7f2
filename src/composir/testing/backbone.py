"""The contract of a backbone."""

from __future__ import annotations

import copy
import pickle
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from composir.backbones import load_backbone
from composir.backbones.base import Backbone, Source
from composir.errors import ComposirError
from composir.testing.compare import TEXTS, TOLERANCE, own_chance, pictures, require, require_apart, require_close

PREFIXES = ("image.", "text.", "logit_")
BEFORE = "a photo of"


def check_backbone(
    backbone: Backbone,
    *,
    images: Sequence[Image.Image] = (),
    texts: Sequence[str] = TEXTS,
    load: Callable[[Path], Backbone] = lambda folder: load_backbone(str(folder)),
    tolerance: float = TOLERANCE,
) -> None:
    """Assert what composir expects of a backbone, in eval mode and on its device.

    Features have the promised shapes and do not depend on the batch they stand in, nor on chance; pictures and texts
    matter; an empty text is read and a long one cut at its end; `before` and pseudo-words stand where they should (a
    backbone may refuse the latter with ComposirError); tensors are named image.*, text.* or logit_*; a saved folder
    loads as the same backbone.

    Args:
        backbone: With any weights.
        images: Two or more pictures that differ; coloured noise if none are given.
        texts: Three or more that differ.
        load: How a saved folder is loaded; a class that `load_backbone` does not know brings its own.
        tolerance: Largest difference between two ways to the same feature.

    Raises:
        AssertionError: It breaks the contract; the message says where.
    """
    backbone = copy.deepcopy(backbone).eval()
    with own_chance(), torch.no_grad():
        _check_names(backbone)
        pixels = _check_transform(backbone, list(images) or pictures())
        _check_images(backbone, pixels, tolerance)
        _check_texts(backbone, list(texts), tolerance)
        _check_saving(backbone, pixels, list(texts), load)
    _check_words(backbone, list(texts), tolerance)


def _check_names(backbone: Backbone) -> None:
    for name in backbone.state_dict():
        require(name.startswith(PREFIXES), f"tensor {name!r} is named neither image.* nor text.* nor logit_*")
    for side in ("image", "text"):
        require(isinstance(getattr(backbone, side, None), torch.nn.Module), f"has no tower named {side!r}")
    for size in ("dim", "word_dim", "image_size"):
        value = getattr(backbone, size, None)
        require(isinstance(value, int) and value > 0, f"{size} is {value!r}; a whole number above 0 is expected")
    require(isinstance(backbone.source, Source), f"source is {backbone.source!r}; a Source is expected")
    scale = backbone.logit_scale
    require(scale is None or scale.numel() == 1, "logit_scale is neither None nor one number")


def _check_transform(backbone: Backbone, images: Sequence[Image.Image]) -> Tensor:
    """The map from pictures to pixels; returns the pixels."""
    side = backbone.image_size
    for train in (False, True):
        transform = backbone.transform(train)
        told = f"transform(train={train})"
        require(transform.size == side, f"{told} makes {transform.size} pixels a side, the tower reads {side}")
        for image in images:
            got = transform(image)
            require(tuple(got.shape) == (3, side, side), f"{told} makes {tuple(got.shape)}, not {(3, side, side)}")
            require(got.dtype == torch.float32, f"{told} makes {got.dtype}, not float32")
    transform = backbone.transform()
    require(pickle.loads(pickle.dumps(transform)) == transform, "a pickled transform is another one")
    require(transform.spec == backbone.transform().spec, "the transform's spec is not the same the second time")
    bytes_ = torch.stack([torch.from_numpy(transform.pixels(image)) for image in images])
    require(bytes_.dtype == torch.uint8, f"pixels are {bytes_.dtype}, not uint8")
    pixels = transform.normalise(bytes_)
    require_close(torch.stack([transform(i) for i in images]), pixels, "transform in one step and in two", 0)
    return pixels.to(next(backbone.parameters()).device)


def _check_images(backbone: Backbone, pixels: Tensor, tolerance: float) -> None:
    before = pixels.clone()
    features = backbone.embed_image(pixels)
    require(tuple(features.shape) == (len(pixels), backbone.dim), f"embed_image gives {tuple(features.shape)}")
    require(bool(features.isfinite().all()), "embed_image gives numbers that are not finite")
    alone = torch.cat([backbone.embed_image(row[None]) for row in pixels])
    require_close(alone, features, "an image alone and in a batch", tolerance)
    require_close(backbone.embed_image(pixels.flip(0)).flip(0), features, "images in another order", tolerance)
    with own_chance(1):
        require_close(backbone.embed_image(pixels), features, "the same images again", 0)
    require_apart(features[0], features[1], "the image does not matter: two pictures have the same feature")
    last, second = backbone.patches(pixels), backbone.patches(pixels, -2)
    require(last.ndim == 3 and len(last) == len(pixels), f"patches gives {tuple(last.shape)}, not (B, P, V)")
    require_close(backbone.patches(pixels, -1), last, "patches of layer -1 and of the default layer", 0)
    require_apart(last, second, "patches of layer -1 and -2 are the same")
    require_close(backbone.patches(pixels[:1]), last[:1], "patches of an image alone and in a batch", tolerance)
    require_close(pixels, before, "the caller's pixels after encoding", 0)


def _check_texts(backbone: Backbone, texts: Sequence[str], tolerance: float) -> None:
    embed = backbone.embed_text
    features = embed(texts)
    require(tuple(features.shape) == (len(texts), backbone.dim), f"embed_text gives {tuple(features.shape)}")
    require_close(torch.cat([embed([text]) for text in texts]), features, "a text alone and in a batch", tolerance)
    require_close(embed(texts[::-1]).flip(0), features, "texts in another order", tolerance)
    with own_chance(1):
        require_close(embed(texts), features, "the same texts again", 0)
    for one in range(1, len(texts)):
        require_apart(features[0], features[one], f"the text does not matter: {texts[0]!r} and {texts[one]!r} agree")
    mixed = embed(["", texts[0]])
    require(bool(mixed.isfinite().all()), "an empty text gives numbers that are not finite")
    require_close(mixed[1:], features[:1], "a text beside an empty one", tolerance)
    long = embed([f"{texts[0]}{' red' * 400}", f"{texts[0]}{' red' * 400} blue", f"{texts[1]}{' red' * 400}"])
    require_close(long[0], long[1], "two long texts that differ behind the limit", tolerance)
    require_apart(long[0], long[2], "a long text is not cut at its end: its beginning does not matter")
    joined = [f"{BEFORE} {text}" for text in texts]
    require_close(embed(texts, before=BEFORE), embed(joined), "`before` and the same words in the text", tolerance)


def _check_words(backbone: Backbone, texts: Sequence[str], tolerance: float) -> None:
    """Pseudo-words: theirs is the place between `before` and the text, the caller's tensor stays whole."""
    generator = torch.Generator().manual_seed(0)
    device = next(backbone.parameters()).device
    words = torch.randn(len(texts), 3, backbone.word_dim, generator=generator).to(device).requires_grad_()
    try:
        features = backbone.embed_text(texts, before=BEFORE, words=words)
    except ComposirError:
        return  # it takes none and says so
    before = words.detach().clone()
    (gradient,) = torch.autograd.grad(features.sum(), words)
    require(bool((gradient.abs().sum(dim=-1) > 0).all()), "no gradient reaches the pseudo-words")
    with torch.no_grad():
        again = backbone.embed_text(texts, before=BEFORE, words=words)
        require_close(again, features, "the same pseudo-words a second time", 0)
        require_close(words, before, "the caller's pseudo-words after encoding", 0)
        alone = [
            backbone.embed_text([text], before=BEFORE, words=row[None]) for text, row in zip(texts, words, strict=True)
        ]
        require_close(torch.cat(alone), features, "pseudo-words alone and in a batch", tolerance)
        require_apart(features, backbone.embed_text(texts, before=BEFORE), "pseudo-words do not matter")
        none = backbone.embed_text(texts, before=BEFORE, words=words[:, :0])
        require_close(none, backbone.embed_text(texts, before=BEFORE), "no pseudo-words and none at all", tolerance)
        _check_token_rows(backbone, tolerance)


def _check_token_rows(backbone: Backbone, tolerance: float) -> None:
    """Where the word table and the tokenizer can be had: words that are a text's embeddings read as that text."""
    tokenizer: Any = getattr(backbone, "tokenizer", None)
    table: Any = getattr(backbone.text, "words", None)
    if tokenizer is None or table is None:
        return
    device = next(backbone.parameters()).device
    words = table(torch.tensor(tokenizer.encode(["red"]), device=device))
    got = backbone.embed_text(["dress"], before=BEFORE, words=words)
    require_close(got, backbone.embed_text([f"{BEFORE} red dress"]), "pseudo-words and the tokens they are", tolerance)


def _check_saving(backbone: Backbone, pixels: Tensor, texts: Sequence[str], load: Callable[[Path], Backbone]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        backbone.save_pretrained(Path(folder))
        other = load(Path(folder)).to(pixels.device)
    require(not other.training, "a loaded backbone is not in eval mode")
    require(other.state_dict().keys() == backbone.state_dict().keys(), "a loaded backbone has other tensors")
    for size in ("dim", "word_dim", "image_size"):
        got, wanted = getattr(other, size), getattr(backbone, size)
        require(got == wanted, f"a loaded backbone has {size} {got}, the saved one {wanted}")
    require(other.transform().spec == backbone.transform().spec, "a loaded backbone has another transform")
    require_close(other.embed_image(pixels), backbone.embed_image(pixels), "images after save and load", 0)
    require_close(other.embed_text(texts), backbone.embed_text(texts), "texts after save and load", 0)
    require((other.logit_scale is None) == (backbone.logit_scale is None), "save and load lose logit_scale")
    if backbone.logit_scale is not None and other.logit_scale is not None:
        require_close(other.logit_scale, backbone.logit_scale, "logit_scale after save and load", 0)
