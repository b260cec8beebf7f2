"""The modality gap against slow loops, at its ends, and a probe that must not see the pairs it is judged on."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from composir.datasets import load_dataset
from composir.errors import ComposirError
from composir.evaluation import modality_gap as module
from composir.evaluation.modality_gap import encode_texts, modality_gap


def cloud(seed: int, count: int = 40, width: int = 6, shift: float = 0.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=generator) + shift


def slow(image: list[list[float]], text: list[list[float]]) -> tuple[float, float, float]:
    """Distance of the centroids, mean cosine of own pairs and of other ones, one number at a time."""
    image, text = ([[x / math.hypot(*row) for x in row] for row in side] for side in (image, text))
    n, width = len(image), len(image[0])
    centres = [[sum(row[d] for row in side) / n for d in range(width)] for side in (image, text)]
    cosines = [[sum(x * y for x, y in zip(a, b, strict=True)) for b in text] for a in image]
    own = sum(cosines[i][i] for i in range(n)) / n
    other = sum(cosines[i][j] for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    return math.dist(*centres), own, other


@given(st.integers(0, 1000), st.floats(-2, 2), st.integers(5, 30))
def test_equals_the_loops(seed, shift, count):
    image, text = cloud(seed, count), cloud(seed + 1, count, shift=shift)
    gap = modality_gap(image, text)
    distance, own, other = slow(image.double().tolist(), text.double().tolist())
    assert gap.pairs == count
    assert gap.distance == pytest.approx(distance, abs=1e-12)
    assert gap.cosine == pytest.approx(own, abs=1e-12)
    assert gap.other == pytest.approx(other, abs=1e-12)


def test_length_does_not_count():
    image, text = cloud(0), cloud(1)
    assert modality_gap(3 * image, 0.1 * text).distance == pytest.approx(modality_gap(image, text).distance)


def test_equal_sides_have_no_gap():
    gap = modality_gap(cloud(0), cloud(0))
    assert gap.distance == 0
    assert gap.cosine == pytest.approx(1)
    # Every vector is once a picture and once a text, so whatever the probe says is right for just one of the two.
    assert gap.separability == 0.5


def test_opposite_sides_are_two_apart():
    image = torch.eye(6)[:1].repeat(10, 1)
    gap = modality_gap(image, -image)
    assert (gap.distance, gap.separability) == (2.0, 1.0)
    assert gap.cosine == gap.other == -1


def test_one_number_that_tells_is_found():
    """Noise in five directions, the modality in the sign of the sixth."""
    image, text = cloud(0, 200), cloud(1, 200)
    image[:, 5], text[:, 5] = image[:, 5].abs() + 0.2, -text[:, 5].abs() - 0.2
    assert modality_gap(image, text).separability > 0.99


def test_what_cannot_be_told_is_chance():
    """Of one distribution: accuracy on pairs held out stays near a half, though the probe could learn 40 by heart."""
    gap = modality_gap(cloud(0, 40, width=60), cloud(1, 40, width=60))
    assert abs(gap.separability - 0.5) < 0.2  # three times the deviation of 80 coin flips


def test_a_pair_is_held_out_as_a_whole(monkeypatch):
    """Each fold's probe sees neither side of the pairs it is judged on, and every pair is judged once."""
    image, text = cloud(0, 23, width=3), cloud(1, 23, width=3)
    seen = []
    true = module._probe

    def watched(images, texts):
        seen.append((images, texts))
        return true(images, texts)

    monkeypatch.setattr(module, "_probe", watched)
    modality_gap(image, text)
    unit = torch.nn.functional.normalize(image.double(), dim=-1)
    fitted = [[bool((unit[i] == images).all(-1).any()) for images, _ in seen] for i in range(23)]
    assert all(row.count(False) == 1 for row in fitted)
    assert all(len(images) == len(texts) for images, texts in seen)


def test_the_probe_is_at_the_minimum_of_its_cost():
    """Against plain gradient descent on the cost as it is written down."""
    image, text = cloud(0, 30, width=3, shift=0.4).double(), cloud(1, 30, width=3).double()
    weight, bias = module._probe(image, text)
    w, b = (
        torch.zeros(3, dtype=torch.float64, requires_grad=True),
        torch.zeros((), dtype=torch.float64, requires_grad=True),
    )
    for _ in range(3000):
        margins = torch.cat([image @ w + b, -(text @ w + b)])
        cost = torch.log(1 + torch.exp(-margins)).sum() + (w * w).sum() / 2
        steps = torch.autograd.grad(cost, (w, b))
        with torch.no_grad():
            w -= 0.02 * steps[0]
            b -= 0.02 * steps[1]
    assert weight == pytest.approx(w.detach(), abs=1e-5)
    assert float(bias) == pytest.approx(float(b.detach()), abs=1e-5)


def test_the_seed_fixes_the_folds():
    image, text = cloud(0, 60, shift=0.3), cloud(1, 60)
    assert modality_gap(image, text, seed=3) == modality_gap(image, text, seed=3)
    assert len({modality_gap(image, text, seed=s).separability for s in range(6)}) > 1


def test_too_few_pairs_are_refused():
    with pytest.raises(ComposirError, match="4 pairs are too few"):
        modality_gap(cloud(0, 4), cloud(1, 4))


def test_texts_are_embedded_in_batches(tiny_method):
    texts = [
        caption for pair in load_dataset("wardrobe", train=6, val=6, test=6).pairs("test") for caption in pair.captions
    ]
    tiny_method.train()
    found = encode_texts(tiny_method, texts, batch_size=5)
    with torch.no_grad():
        whole = tiny_method.eval().encode_text(texts)[:, 0]
    # Other batches of the tower.
    torch.testing.assert_close(found, whole, atol=1e-6, rtol=0)
    assert torch.allclose(found.norm(dim=1), torch.ones(len(texts)))
