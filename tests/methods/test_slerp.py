"""Slerp against the paper's formula, at its ends, and where the formula divides 0 by 0."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from composir.backbones import load_backbone
from composir.backbones.clip import ClipBackbone
from composir.errors import ComposirError
from composir.methods import load_method
from composir.methods.slerp import ALPHA, checked_alpha, slerp

TEXTS = ["is red", "has longer sleeves and a floral print", "no logo"]
CPU = torch.device("cpu")


def pair(angle: float, width: int = 16, seed: int = 0, kind: torch.dtype = torch.float64) -> tuple:
    """Two unit vectors, shape (1, width), at the given angle: exact where it is 0 or pi."""
    generator = torch.Generator().manual_seed(seed)
    start, other = torch.linalg.qr(torch.randn(width, 2, generator=generator, dtype=torch.float64))[0].T
    start = start.to(kind)
    if angle in (0.0, math.pi):
        end = start.clone() if angle == 0 else -start
    else:
        end = F.normalize(math.cos(angle) * start.double() + math.sin(angle) * other, dim=0).to(kind)
    return start[None], end[None]


def paper(start: np.ndarray, end: np.ndarray, alpha: float) -> np.ndarray:
    """The formula as it is printed, in double precision; the angle by arccos."""
    theta = np.arccos(np.clip((start * end).sum(), -1, 1))
    return np.sin((1 - alpha) * theta) / np.sin(theta) * start + np.sin(alpha * theta) / np.sin(theta) * end


def angle_between(one: torch.Tensor, other: torch.Tensor) -> float:
    """By Kahan's formula, exact for small angles too, where arccos is not."""
    return float(2 * torch.atan2((one - other).double().norm(), (one + other).double().norm()))


@given(st.floats(0.01, math.pi - 0.01), st.floats(0, 1), st.integers(2, 40), st.integers(0, 1000))
def test_equals_the_papers_formula(angle, alpha, width, seed):
    start, end = pair(angle, width, seed)
    got = slerp(start, end, torch.tensor([alpha], dtype=torch.float64))
    # The formula itself loses 1 / sin(t) of its digits.
    expected = paper(start[0].numpy(), end[0].numpy(), alpha)
    assert got[0].numpy() == pytest.approx(expected, abs=1e-13 / math.sin(angle) ** 2)


@given(
    st.sampled_from([0.0, 1e-12, 1e-9, 1e-7, 2e-6, 1e-4, 0.1, 1.0, math.pi / 2, 3.0])
    | st.sampled_from([math.pi - 1e-4, math.pi - 2e-6, math.pi - 1e-7, math.pi - 1e-9, math.pi]),
    st.floats(0, 1),
    st.sampled_from([2, 16, 512]),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_unit_length_and_angle_everywhere(angle, alpha, width, kind):
    start, end = pair(angle, width, kind=kind)
    got = slerp(start, end, torch.tensor([alpha], dtype=kind))
    assert got.dtype == kind
    # Single precision: unit vectors are known to 6e-8, hence an angle to a few times that.
    slack = 1e-6 if kind == torch.float32 else 2e-6 * (abs(math.sin(angle)) < 2e-6) + 1e-12
    assert float(got.double().norm()) == pytest.approx(1, abs=5e-7 if kind == torch.float32 else 1e-12)
    whole = angle_between(start, end)
    assert angle_between(got, start) == pytest.approx(alpha * whole, abs=slack)
    assert angle_between(got, end) == pytest.approx((1 - alpha) * whole, abs=slack)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-7, 0.5, 2.0, math.pi - 1e-7, math.pi])
def test_ends_are_exact(angle, kind):
    start, end = pair(angle, kind=kind)
    assert torch.equal(slerp(start, end, torch.zeros(1)), start)
    assert torch.equal(slerp(start, end, torch.ones(1)), end)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("away", [0.0, 1e-12, 1e-8, 3e-7, 1e-6, 3e-6, 1e-4])
@pytest.mark.parametrize("near", [0.0, math.pi])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_value_and_gradient_are_finite_towards_0_and_pi(near, away, alpha, kind):
    start, end = (v.requires_grad_() for v in pair(abs(near - away), kind=kind))
    share = torch.tensor([alpha], dtype=kind, requires_grad=True)
    got = slerp(start, end, share)
    weights = torch.arange(16, dtype=kind)
    gradients = torch.autograd.grad((got * weights).sum(), (start, end, share))
    assert got.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("alpha", [0.25, 0.8])
def test_gradient_of_equal_vectors_is_the_limit(alpha):
    """At t = 0 the arc is start + alpha * (end - start) but for second orders, taken at right angles to both."""
    start, end = (v.requires_grad_() for v in pair(0.0))
    weights = torch.randn(16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    across = weights - (weights @ start[0].detach()) * start[0].detach()
    share = torch.tensor([alpha], dtype=torch.float64)
    to_start, to_end = torch.autograd.grad(slerp(start, end, share) @ across, (start, end))
    assert torch.allclose(to_end[0], alpha * across, atol=1e-12)
    assert torch.allclose(to_start[0] - (to_start[0] @ start[0]) * start[0], (1 - alpha) * across, atol=1e-12)


@pytest.mark.parametrize("angle", [0.3, 1.5, 3.0])
def test_gradients_are_those_of_the_value(angle):
    start, end = (v.requires_grad_() for v in pair(angle, width=4))
    assert torch.autograd.gradcheck(slerp, (start, end, torch.tensor([0.7], dtype=torch.float64, requires_grad=True)))


def test_opposite_vectors_take_a_fixed_way():
    start, end = pair(math.pi)
    middle = slerp(start, end, torch.tensor([0.5], dtype=torch.float64))
    assert float((middle * start).sum()) == pytest.approx(0, abs=1e-12)
    assert torch.equal(middle, slerp(start, end, torch.tensor([0.5], dtype=torch.float64)))


def test_alpha_differs_from_row_to_row():
    start, end = (torch.cat([pair(a, seed=i)[j] for i, a in enumerate((0.0, 0.4, 2.0, math.pi))]) for j in (0, 1))
    shares = torch.tensor([0.2, 0.9, 1.0, 0.5], dtype=torch.float64)
    together = slerp(start, end, shares)
    for row in range(4):
        alone = slerp(start[row : row + 1], end[row : row + 1], shares[row : row + 1])
        assert torch.equal(together[row : row + 1], alone)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("angle", [0.0, 0.8, math.pi])
def test_half_precision_is_computed_in_single(kind, angle):
    start, end = pair(angle, kind=kind)
    got = slerp(start, end, torch.tensor([0.6]))
    assert got.dtype == kind
    assert torch.equal(got, slerp(start.float(), end.float(), torch.tensor([0.6])).to(kind))
    assert got.isfinite().all()
    mixed = slerp(start, end.float(), torch.tensor([0.6]))
    assert mixed.dtype == torch.float32


# ---- the method ----


@pytest.fixture(scope="module")
def method():
    return load_method("slerp", ClipBackbone.tiny(), alpha=0.6)


@pytest.fixture(scope="module")
def reference(method):
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return method.encode_reference(pixels)


@torch.no_grad()
def test_compose_is_slerp_of_both_features(method, reference):
    words = method.encode_text(TEXTS)
    expected = [paper(r[0].double().numpy(), w[0].double().numpy(), 0.6) for r, w in zip(reference, words, strict=True)]
    # Single precision against double.
    assert method.compose(reference, TEXTS)[:, 0].numpy() == pytest.approx(np.stack(expected), abs=1e-6)


@torch.no_grad()
def test_alpha_of_a_query_overrides_the_methods(method, reference):
    assert torch.equal(method.compose(reference, TEXTS, alpha=0.6), method.compose(reference, TEXTS))
    assert torch.equal(method.compose(reference, TEXTS, alpha=0.0), reference)
    assert torch.equal(method.compose(reference, TEXTS, alpha=1), method.encode_text(TEXTS))
    assert not torch.allclose(method.compose(reference, TEXTS, alpha=0.3), method.compose(reference, TEXTS), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("make", [list, tuple, torch.tensor])
def test_alpha_per_query_equals_one_at_a_time(method, reference, make):
    shares = [0.1, 0.6, 0.95]
    together = method.compose(reference, TEXTS, alpha=make(shares))
    for i, share in enumerate(shares):
        alone = method.compose(reference[i : i + 1], TEXTS[i : i + 1], alpha=share)
        # The text tower sees another batch.
        assert torch.allclose(together[i : i + 1], alone, atol=1e-6)


@pytest.mark.parametrize("alpha", [-0.01, 1.01, math.nan, math.inf, [0.1, 0.2, 2.0], torch.tensor([0.1, -1.0, 0.3])])
def test_alpha_out_of_range_is_refused(method, reference, alpha):
    with pytest.raises(ComposirError, match=r"is outside 0\.\.1"):
        method.compose(reference, TEXTS, alpha=alpha)


@pytest.mark.parametrize("alpha", [[0.1, 0.2], [], torch.zeros(3, 1)])
def test_alpha_for_another_number_of_queries_is_refused(method, reference, alpha):
    with pytest.raises(ComposirError, match=r"alpha has shape .* 3 queries"):
        method.compose(reference, TEXTS, alpha=alpha)


@pytest.mark.parametrize("alpha", [1.5, -1.0, math.nan])
def test_alpha_of_the_method_is_checked_when_it_is_built(alpha):
    with pytest.raises(ComposirError, match=r"is outside 0\.\.1"):
        load_method("slerp", ClipBackbone.tiny(), alpha=alpha)


@pytest.mark.parametrize("alpha", ["0.5", None, {}, ["a"]])
def test_alpha_that_is_no_number_is_refused(alpha):
    # Past the annotation, which the tests check and a run file does not.
    unchecked = checked_alpha.__wrapped__
    with pytest.raises(ComposirError, match="is no number"):
        unchecked(alpha, 1, CPU)


def test_zero_shot_means_nothing_to_train(method):
    assert method.trains_on == "nothing"
    with pytest.raises(ComposirError, match="'slerp' has nothing to train"):
        method.loss({"ids": []})


def test_alpha_may_be_the_name_of_a_data_set():
    backbone = load_backbone("clip-tiny")
    published = {"cirr": 0.9, "circo": 0.8, "fashioniq": 0.8, "wardrobe": 0.3}
    assert {name: load_method("slerp", backbone, alpha=name).alpha for name in ALPHA} == pytest.approx(published)
    with pytest.raises(ComposirError, match=r"'fashoniq'; did you mean 'fashioniq'"):
        load_method("slerp", backbone, alpha="fashoniq")
