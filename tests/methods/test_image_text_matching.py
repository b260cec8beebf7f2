"""Contrast and matching: both losses against loops, what a hard negative may be, what trains."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from composir.backbones.blip import BlipBackbone
from composir.backbones.clip import ClipBackbone
from composir.errors import ComposirError
from composir.methods import load_method
from composir.methods.image_text_matching import ImageTextMatching, hard_negatives
from composir.testing import check_method
from composir.training import fit

TEXTS = ["a red dress", "a long blue shirt", "white hoodie with a star logo", "a photo of a black jacket"]


def batch(texts=TEXTS) -> dict:
    """Plain stripes, of whole numbers: the same bytes on every machine."""
    rng = np.random.default_rng(0)
    columns = rng.integers(0, 256, (len(texts), 3, 1, 4), dtype=np.uint8)
    pixels = torch.from_numpy(np.repeat(np.repeat(columns, 8, axis=3), 32, axis=2).copy())
    return {"ids": [f"p{i}" for i in range(len(texts))], "texts": list(texts), "pixels": pixels}


@pytest.fixture(scope="module")
def blip() -> BlipBackbone:
    return BlipBackbone.tiny()


@pytest.fixture
def method(blip) -> ImageTextMatching:
    made = load_method("image-text-matching", copy.deepcopy(blip))
    assert isinstance(made, ImageTextMatching)
    return made


def test_contract(blip):
    fresh = load_method("image-text-matching", BlipBackbone.tiny(seed=1))
    check_method(load_method("image-text-matching", copy.deepcopy(blip)), fresh=fresh)


# ---- hard negatives ----


@given(st.integers(2, 6), st.integers(0, 1000))
def test_negatives_are_allowed_ones(size, seed):
    generator = torch.Generator().manual_seed(seed)
    scores = 100 * torch.randn(size, size, generator=generator)
    allowed = torch.rand(size, size, generator=generator) < 0.5
    rows, columns = hard_negatives(scores, allowed)
    assert rows.tolist() == [i for i in range(size) if allowed[i].any()]
    assert allowed[rows, columns].all()


@pytest.mark.parametrize("uniform", [0.0, 0.3, 1.0])
def test_negatives_are_drawn_in_proportion_to_the_softmax(uniform):
    scores = torch.tensor([[5.0, 1.0, 2.0, 0.0]])
    allowed = torch.tensor([[False, True, True, True]])
    with torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = hard_negatives(scores.expand(20_000, -1), allowed.expand(20_000, -1), uniform)[1]
    weights = [0.0, *(float(np.exp(s)) for s in (1.0, 2.0, 0.0))]
    for column, weight in enumerate(weights):
        wanted = (1 - uniform) * weight / sum(weights) + (uniform / 3 if column else 0.0)
        assert (drawn == column).float().mean().item() == pytest.approx(wanted, abs=0.015)


# ---- the loss ----


def slow_loss(method: ImageTextMatching, texts: list[str], share: float) -> tuple[float, float]:
    """(ITC, ITM), the pairs of the matching loss one at a time, with the same draws from the same seed."""
    b, backbone = batch(texts), method.backbone
    with torch.no_grad():
        tokens = backbone.tokens(method.transform("gallery").normalise(b["pixels"]))
        image = F.normalize(backbone.project(tokens), dim=-1)
        text = F.normalize(backbone.embed_text(texts), dim=-1)
        scores = backbone.logit_scale.exp() * image @ text.T
    n = len(texts)
    itc = sum(-(way.log_softmax(dim=1)[i, i].item()) for way in (scores, scores.T) for i in range(n)) / n / 2
    chosen, pairs = round(share * n), []
    pairs += [(i, i, 1) for i in range(chosen)]
    for way, text_first in ((scores, False), (scores.T, True)):
        rows = [i for i in range(chosen) if any(texts[j] != texts[i] for j in range(n))]
        weights = torch.zeros(len(rows), n)
        for k, i in enumerate(rows):
            others = [j for j in range(n) if texts[j] != texts[i]]
            weights[k, others] = way[i, others].softmax(dim=0)
        if rows:
            drawn = torch.multinomial(weights, 1)[:, 0].tolist()
            pairs += [(j, i, 0) if text_first else (i, j, 0) for i, j in zip(rows, drawn, strict=True)]
    total = 0.0
    with torch.no_grad():
        for i, j, label in pairs:
            total -= backbone.match([texts[j]], tokens[i : i + 1]).log_softmax(dim=1)[0, label].item()
    return itc, total / len(pairs)


@pytest.mark.parametrize("share", [1.0, 0.5])
@pytest.mark.parametrize("texts", [TEXTS, [TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2]]], ids=["distinct", "repeated"])
def test_loss_is_the_loop(method, share, texts):
    method.share = share
    with torch.random.fork_rng():
        torch.manual_seed(7)
        losses = method.loss(batch(texts))
        torch.manual_seed(7)
        itc, itm = slow_loss(method, texts, share)
    assert losses["itc"].item() == pytest.approx(itc, abs=1e-4)
    assert losses["itm"].item() == pytest.approx(itm, abs=1e-5)
    assert losses["loss"].item() == pytest.approx(itc + itm, abs=1e-4)
    assert 0 <= losses["itm_right"].item() <= 1


def test_pairs_that_all_have_one_text_have_no_negatives(method):
    losses = method.loss(batch([TEXTS[0]] * 3))
    assert losses["loss"].isfinite()
    assert losses["itm"].item() > 0


def test_without_matching_it_is_half_the_contrastive_loss(blip):
    alone = load_method("image-text-matching", copy.deepcopy(blip), share=0.0).loss(batch())
    contrast = load_method("contrastive", copy.deepcopy(blip)).loss(batch())
    assert alone["loss"].item() == pytest.approx(contrast["loss"].item() / 2, rel=1e-6)
    assert "itm" not in alone


def test_everything_is_learnt(method):
    method.loss(batch())["loss"].backward()
    without = [name for name, p in method.named_parameters() if p.grad is None or not p.grad.abs().any()]
    # A row of the word table that no text holds has no gradient; the table as a whole has.
    assert without == []


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_every_trainable_tensor_is_read(blip, share):
    """A tensor that no gradient reaches stops a distributed run at its second step."""
    method = load_method("image-text-matching", copy.deepcopy(blip), share=share)
    method.loss(batch())["loss"].backward()
    assert [name for name, p in method.named_parameters() if p.requires_grad and p.grad is None] == []
    still = {name for name, p in method.named_parameters() if not p.requires_grad}
    assert bool(still) == (share == 0)
    assert all("crossattention" in name or "itm_head" in name for name in still)


def test_matching_is_learnt(method):
    """The pairs are told from their hard negatives after some steps on one batch; at the start it is a guess."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        losses = [step.losses["itm"] for step in fit(method, [batch()] * 60, steps=60, lr=1e-2)]
    # Negatives are drawn anew in every step, so single ones scatter.
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_backbones_without_a_matching_head_are_refused():
    with pytest.raises(ComposirError, match="'clip-tiny' has no matching head; take a BLIP"):
        load_method("image-text-matching", ClipBackbone.tiny())


@pytest.mark.parametrize("value", [-0.1, 1.1])
@pytest.mark.parametrize("what", ["share", "uniform"])
def test_shares_outside_their_range_are_refused(blip, what, value):
    with pytest.raises(ComposirError, match=f"{what} = .* is outside"):
        load_method("image-text-matching", blip, **{what: value})
