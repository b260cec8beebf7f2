"""Each loss against a slow loop in double precision."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from composir.losses import batch_classification, symmetric_contrastive


def units(count: int, width: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return F.normalize(torch.randn(count, width, generator=generator, dtype=torch.float64), dim=-1)


def slow_classification(query, target, scale: float) -> float:
    """-log softmax at the own target, averaged, one number at a time."""
    total = 0.0
    for i, q in enumerate(query):
        logits = [scale * sum(a * b for a, b in zip(q, t, strict=True)) for t in target]
        total -= math.log(math.exp(logits[i]) / sum(math.exp(logit) for logit in logits))
    return total / len(query)


@pytest.mark.parametrize(("count", "scale"), [(1, 3.0), (2, 1.0), (7, 10.0), (5, 100.0)])
def test_batch_classification_is_the_loop(count, scale):
    query, target = units(count, 6, 1), units(count, 6, 2)
    expected = slow_classification(query.tolist(), target.tolist(), scale)
    assert batch_classification(query, target, scale).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)
    tensor = torch.tensor(scale, dtype=torch.float64)
    assert batch_classification(query, target, tensor).item() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_symmetric_contrastive_is_the_sum_of_both_ways():
    image, text = units(6, 5, 3), units(6, 5, 4)
    one, other = (slow_classification(a.tolist(), b.tolist(), 7.0) for a, b in ((image, text), (text, image)))
    assert abs(one - other) > 1e-3, "both ways are equal, so this would not tell them apart"
    assert symmetric_contrastive(image, text, 7.0).item() == pytest.approx(one + other, rel=1e-9)
    assert symmetric_contrastive(text, image, 7.0).item() == pytest.approx(one + other, rel=1e-9)


def test_limits():
    same = torch.eye(4, dtype=torch.float64)
    assert batch_classification(same, same, 1000.0).item() == pytest.approx(0, abs=1e-12)
    assert batch_classification(same, same, 0.0).item() == pytest.approx(math.log(4))
    assert batch_classification(same, same.roll(1, 0), 1000.0).item() == pytest.approx(1000)


def test_large_scales_do_not_overflow():
    image, text = units(5, 4, 5).float(), units(5, 4, 6).float()
    assert symmetric_contrastive(image, text, 1e4).isfinite()


def test_gradients():
    image, text = units(4, 3, 7).requires_grad_(), units(4, 3, 8).requires_grad_()
    scale = torch.tensor(5.0, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(symmetric_contrastive, (image, text, scale))
