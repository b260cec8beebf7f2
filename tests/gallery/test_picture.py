"""What an index sees of a large JPEG, which it decodes smaller, against what a full decode gives the same encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from composir.backbones.transform import Transform
from composir.gallery.picture import ItemReader
from composir.gallery.scan import file_id
from composir.images import load_image
from composir.types import Item

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
# (least cosine, largest difference of a normalised number): between what was measured (0.99974 and 0.088 where the
# shorter side becomes 224, 0.99982 and 0.058 where both do) and what decoding at 1/4 gives, as an OVERSAMPLING of 1
# would: 0.99947 and 0.120, 0.99967 and 0.090. A grey level is 0.014 to 0.015.
BOUNDS = {"shortest": (0.99965, 0.1), "exact": (0.99975, 0.075)}


def scene(width: int = 1800, height: int = 1200) -> Image.Image:
    """Noise of five scales, down to the single pixel: harder on a decoder than a photograph is."""
    rng = np.random.default_rng(0)
    total = np.full((height, width, 3), 128.0)
    for cells in (4, 16, 64, 256):
        noise = rng.normal(size=(cells * 2 // 3 + 1, cells, 3)).astype(np.float32)
        layers = [Image.fromarray(noise[..., c]).resize((width, height), Image.Resampling.BICUBIC) for c in range(3)]
        total += 28 * np.stack([np.asarray(layer) for layer in layers], axis=-1)
    total += 12 * rng.normal(size=total.shape)
    return Image.fromarray(total.clip(0, 255).astype(np.uint8))


@pytest.mark.parametrize("resize", BOUNDS)
def test_a_large_jpeg_is_seen_nearly_as_a_full_decode(resize, tmp_path):
    path = tmp_path / "large.jpg"
    scene().save(path, quality=90)
    transform = Transform(224, resize, 224, 3, MEAN, STD)
    indexed = ItemReader(tmp_path, transform.size)(Item(file_id(path), path.name))
    full = load_image(path)
    assert indexed.size == (900, 600), "decoded at 1/2, else there is nothing to bound"
    assert full.size == (1800, 1200)
    one, two = (transform(picture).double().flatten() for picture in (indexed, full))
    least, largest = BOUNDS[resize]
    assert float(torch.cosine_similarity(one, two, dim=0)) > least
    assert float((one - two).abs().max()) < largest
