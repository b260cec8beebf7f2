"""The three baselines against their one-line formulas, number by number."""

from __future__ import annotations

import math

import pytest
import torch

from composir.backbones.clip import ClipBackbone
from composir.methods import load_method
from composir.methods.base import Method

TEXTS = ["is red", "has longer sleeves and a floral print", "no logo"]


@pytest.fixture(scope="module", params=["clip", "siglip"])
def backbone(request) -> ClipBackbone:
    return ClipBackbone.tiny(family=request.param)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def pixels(seed: int) -> torch.Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def unit(vector: list[float]) -> list[float]:
    length = math.sqrt(sum(x * x for x in vector))
    return [x / length for x in vector]


def composed(name: str, backbone: ClipBackbone, texts: list[str], seed: int = 0) -> torch.Tensor:
    method: Method = load_method(name, backbone)
    return method.compose(method.encode_reference(pixels(seed)), texts)


def test_image_only_is_the_gallery_embedding(backbone):
    method = load_method("image-only", backbone)
    got = composed("image-only", backbone, TEXTS)
    assert torch.equal(got, method.encode_gallery(pixels(0)))
    assert torch.equal(got, composed("image-only", backbone, ["something else"] * 3))
    expected = [unit(row) for row in backbone.embed_image(pixels(0)).double().tolist()]
    # Single precision against double.
    assert torch.allclose(got[:, 0].double(), torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def test_text_only_is_the_text_feature(backbone):
    got = composed("text-only", backbone, TEXTS)
    assert torch.equal(got, composed("text-only", backbone, TEXTS, seed=1))
    expected = [unit(row) for row in backbone.embed_text(TEXTS).double().tolist()]
    assert torch.allclose(got[:, 0].double(), torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def test_sum_adds_unit_features(backbone):
    """Unit ones: an image feature of ten times the length does not drown the text."""
    images, texts = backbone.embed_image(pixels(0)).double().tolist(), backbone.embed_text(TEXTS).double().tolist()
    expected = [
        unit([v + w for v, w in zip(unit(image), unit(text), strict=True)])
        for image, text in zip(images, texts, strict=True)
    ]
    got = composed("sum", backbone, TEXTS)
    assert torch.allclose(got[:, 0].double(), torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def test_sum_is_slerp_half_way(backbone):
    """The bisector of two unit vectors is their normalised sum."""
    method = load_method("slerp", backbone, alpha=0.5)
    got = method.compose(method.encode_reference(pixels(0)), TEXTS)
    assert torch.allclose(got, composed("sum", backbone, TEXTS), atol=1e-6)


@pytest.mark.parametrize(
    ("name", "reads"), [("image-only", ("reference",)), ("text-only", ("text",)), ("sum", ("reference", "text"))]
)
def test_they_say_what_they_read(name, reads, backbone):
    assert load_method(name, backbone).reads == reads
