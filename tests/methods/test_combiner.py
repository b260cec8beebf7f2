"""The Combiner against its equations, and the blockwise reversed scores against the naive double loop."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from composir.errors import ComposirError
from composir.methods.combiner import Combiner, _mask, sum_scores

D, P, H = 6, 10, 14


def made(kind: torch.dtype = torch.float64, **changes) -> Combiner:
    torch.manual_seed(3)
    return Combiner(D, P, H, **changes).to(kind).eval()


def features(*rows: int, kind: torch.dtype = torch.float64) -> list[Tensor]:
    """Raw ones, of lengths far from 1."""
    generator = torch.Generator().manual_seed(0)
    return [3 * torch.randn(n, D, generator=generator, dtype=torch.float64).to(kind) for n in rows]


def linear(layer: nn.Linear, x: list[float]) -> list[float]:
    weight, bias = layer.weight.double().tolist(), layer.bias.double().tolist()
    return [b + sum(w * value for w, value in zip(row, x, strict=True)) for row, b in zip(weight, bias, strict=True)]


def relu(x: list[float]) -> list[float]:
    return [max(0.0, value) for value in x]


@torch.no_grad()
def slow(combiner: Combiner, image: list[float], text: list[float]) -> list[float]:
    """The equations, one number at a time: the concatenation is made, text first."""
    seen = relu(linear(combiner.text_projection, text)) + relu(linear(combiner.image_projection, image))
    mixture = linear(combiner.mixture_out, relu(linear(combiner.mixture, seen)))
    share = 1 / (1 + math.exp(-linear(combiner.gate_out, relu(linear(combiner.gate, seen)))[0]))
    out = [m + share * w + (1 - share) * v for m, w, v in zip(mixture, text, image, strict=True)]
    length = math.sqrt(sum(x * x for x in out))
    return [x / length for x in out]


def naive(combiner: Combiner, image: Tensor, text: Tensor, against: Tensor) -> Tensor:
    """Every pair alone, in a double loop."""
    rows = [
        torch.stack([combiner(image[j : j + 1], text[i : i + 1])[0] @ against[i] for j in range(len(image))])
        for i in range(len(text))
    ]
    return torch.stack(rows)


@pytest.mark.parametrize(("kind", "slack"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_forward_is_the_equations(kind, slack):
    combiner = made(kind)
    image, text = features(5, 5, kind=kind)
    got = combiner(image, text)
    assert got.dtype == kind
    assert got.norm(dim=-1).tolist() == pytest.approx([1] * 5, abs=slack)
    for row in range(5):
        wanted = slow(combiner, image[row].double().tolist(), text[row].double().tolist())
        assert got[row].tolist() == pytest.approx(wanted, abs=slack)


def test_default_widths_are_the_papers():
    combiner = Combiner(256)
    assert [tuple(p.shape) for p in combiner.parameters() if p.ndim == 2] == [
        (2560, 256), (2560, 256), (5120, 5120), (256, 5120), (5120, 5120), (1, 5120),
    ]  # fmt: skip
    assert sum(p.numel() for p in combiner.parameters()) == 55_070_977


@given(st.integers(1, 7), st.integers(1, 7), st.integers(1, 60), st.booleans())
def test_blocks_are_the_double_loop(texts, images, chunk, separable):
    combiner = made(separable=separable)
    image, text, against = features(images, texts, texts)
    against = F.normalize(against, dim=-1)
    got = combiner.scores(image, text, against, chunk)
    assert got.shape == (texts, images)
    assert torch.allclose(got, naive(combiner, image, text, against), atol=1e-13, rtol=0)


def test_blocks_are_the_double_loop_in_single_precision_and_the_loss_is_to_1e_5():
    combiner = made(torch.float32)
    image, text, against = features(24, 24, 24, kind=torch.float32)
    against = F.normalize(against, dim=-1)
    got, wanted = combiner.scores(image, text, against, 50), naive(combiner, image, text, against)
    assert (got - wanted).abs().max() < 1e-6
    labels = torch.arange(24)
    assert abs(F.cross_entropy(100 * got, labels) - F.cross_entropy(100 * wanted, labels)).item() < 1e-5


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("chunk", [3, 12, 1000])
def test_gradients_are_those_of_the_double_loop(chunk, separable):
    """Of every weight and of every input, through the blocks that are computed again."""
    combiner = made(separable=separable)
    image, text, against = (x.requires_grad_() for x in features(5, 4, 4))
    inputs = [image, text, against, *combiner.parameters()]
    weights = torch.randn(4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    got = torch.autograd.grad((combiner.scores(image, text, against, chunk) * weights).sum(), inputs)
    wanted = torch.autograd.grad((naive(combiner, image, text, against) * weights).sum(), inputs)
    for mine, theirs in zip(got, wanted, strict=True):
        assert torch.allclose(mine, theirs, atol=1e-13, rtol=0)


def test_gradients_of_the_loss_in_single_precision():
    """To 1e-6 of a tensor's largest, because sums are as rough as their largest terms."""
    combiner = made(torch.float32)
    image, text, against = (x.requires_grad_() for x in features(24, 24, 24, kind=torch.float32))
    unit, labels = F.normalize(against, dim=-1), torch.arange(24)
    cosines = combiner.scores(image, text, unit, 50), naive(combiner, image, text, unit)
    inputs = [image, text, against, *combiner.parameters()]
    got, wanted = (
        torch.autograd.grad(F.cross_entropy(100 * own, labels), inputs, retain_graph=True) for own in cosines
    )
    for mine, theirs in zip(got, wanted, strict=True):
        assert (mine - theirs).abs().max() < 1e-6 * theirs.abs().max()


def test_gradients_pass_gradcheck():
    combiner = made()
    image, text, against = (x.requires_grad_() for x in features(3, 2, 2))
    assert torch.autograd.gradcheck(lambda *x: combiner.scores(*x, 4), (image, text, against))


@pytest.mark.parametrize("separable", [True, False])
def test_dropout_is_drawn_alike_in_both_passes(separable):
    """Block by block, forward and again: the gradient is that of the value, else it would be of another function."""
    combiner = made(separable=separable).train()
    image, text, against = features(5, 4, 4)
    parameter = combiner.mixture.bias

    def value() -> Tensor:
        torch.manual_seed(7)
        return combiner.scores(image, text, against, 6).sum()

    assert value() == value()
    (gradient,) = torch.autograd.grad(value(), parameter)
    step = 1e-6 * torch.randn(H, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    with torch.no_grad():
        parameter += step
        up = value()
        parameter -= 2 * step
        down = value()
    assert (up - down).item() == pytest.approx(2 * (gradient @ step).item(), rel=1e-5)


def test_separable_dropout_is_drawn_for_a_vector_and_the_other_for_a_pair():
    """Of the first layers; rows that are equal come out different, so each has its own mask."""
    image, text = torch.ones(3, D, dtype=torch.float64), torch.ones(2, D, dtype=torch.float64)
    against = F.normalize(torch.arange(2 * D, dtype=torch.float64).view(2, D) + 1, dim=-1)[:1].expand(2, D)
    torch.manual_seed(0)
    for separable in (True, False):
        combiner = made(separable=separable).train()
        seen: list[Tensor] = []
        true = combiner._dropped
        # Hidden layers are (rows, columns, H) and pass whole; projected ones are recorded as they come out.
        combiner._dropped = lambda x, true=true, seen=seen: x if x.shape[-1] == H else seen.append(true(x)) or seen[-1]
        with torch.no_grad():
            combiner.scores(image, text, against, 100)
        shapes = {tuple(x.shape[:-1]) for x in seen}
        assert shapes == ({(2,), (3,)} if separable else {(2, 3)})
        for drawn in seen:
            assert len({tuple(row) for row in drawn.flatten(0, -2).tolist()}) > 1


@pytest.mark.parametrize("kind", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.1, 0.5, 0.9])
def test_masks_drop_their_share_and_keep_the_mean(dropout, kind):
    torch.manual_seed(0)
    drawn = _mask(torch.empty(400, 1000, dtype=kind), dropout)
    assert drawn.shape == (400, 1000)
    assert drawn.dtype == kind
    values = drawn.unique().tolist()
    assert values == pytest.approx([0, 1 / (1 - dropout)], rel=4e-3 if kind == torch.bfloat16 else 1e-6)
    share = (drawn == 0).double()
    # 400,000 draws: a deviation of 0.0005 for a half; and no column or row drops with its neighbour.
    assert share.mean().item() == pytest.approx(dropout, abs=0.004)
    for lag in (1, 2, 3, 4):
        both = (share[:, lag:] * share[:, :-lag]).mean().item()
        assert both == pytest.approx(dropout**2, abs=0.006)


def test_evaluation_drops_nothing_and_keeps_no_state():
    combiner = made()
    image, text, against = features(4, 3, 3)
    state = torch.get_rng_state()
    one, other = combiner.scores(image, text, against), combiner.scores(image, text, against)
    assert torch.equal(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_under_autocast_features_and_cosines_keep_their_precision():
    combiner = made(torch.float32)
    image, text, against = features(6, 6, 6, kind=torch.float32)
    against = F.normalize(against, dim=-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = combiner.scores(image, text, against, 10)
    assert got.dtype == torch.float32
    # The layers are rounded to three digits, what is added to them is not.
    assert torch.allclose(got, combiner.scores(image, text, against, 10), atol=0.02)
    got.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in combiner.parameters())


@given(st.integers(1, 6), st.integers(1, 6))
def test_sum_scores_are_the_double_loop(texts, images):
    image, text, against = features(images, texts, texts)
    against = F.normalize(against, dim=-1)
    wanted = [[F.normalize(v + w, dim=-1) @ r for v in image] for w, r in zip(text, against, strict=True)]
    got = sum_scores(image, text, against)
    assert torch.allclose(got, torch.stack([torch.stack(row) for row in wanted]), atol=1e-13, rtol=0)


def test_sum_scores_in_single_precision_and_their_gradient():
    image, text, against = (x.requires_grad_() for x in features(7, 5, 5, kind=torch.float32))
    pairs = F.normalize(image[None] + text[:, None], dim=-1)
    wanted = (pairs * against[:, None]).sum(-1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = sum_scores(image, text, against)
    assert torch.allclose(got, wanted, atol=1e-5)
    weights = torch.randn(5, 7, generator=torch.Generator().manual_seed(1))
    for mine, theirs in zip(
        torch.autograd.grad((got * weights).sum(), (image, text, against)),
        torch.autograd.grad((wanted * weights).sum(), (image, text, against)),
        strict=True,
    ):
        assert torch.allclose(mine, theirs, atol=1e-5)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_sum_scores_where_text_and_picture_cancel_out(kind):
    """Whole numbers, so that the sum is exactly zero: value and gradient are those of F.normalize."""
    image = torch.tensor([[1.0, -2, 3, 0, 0, 2], [1, 0, 0, 0, 0, 0]], dtype=kind)
    text, against = -image[:1], torch.eye(D, dtype=kind)[2:3]
    results = []
    for form in (sum_scores, lambda v, w, r: (F.normalize(v[None] + w[:, None], dim=-1) * r[:, None]).sum(-1)):
        given = [x.clone().requires_grad_() for x in (image, text, against)]
        got = form(*given)
        results.append([got.detach(), *torch.autograd.grad(got[0, 0], given)])
    assert results[0][0][0, 0] == 0
    for mine, theirs in zip(*results, strict=True):
        assert torch.allclose(mine, theirs, rtol=1e-5)
    assert results[0][1].abs().max() == pytest.approx(1e12)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"projection_dim": 0}, "projection_dim = 0"),
        ({"hidden_dim": -1}, "hidden_dim = -1"),
        ({"dropout": 1.0}, r"combiner_dropout = 1\.0"),
        ({"dropout": -0.1}, r"combiner_dropout = -0\.1"),
    ],
)
def test_wrong_sizes_are_refused(changes, told):
    with pytest.raises(ComposirError, match=told):
        Combiner(D, **changes)
