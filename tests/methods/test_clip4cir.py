"""CLIP4Cir: both stages against their formulas, what trains, what is cached, how pictures are padded."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from composir.backbones import load_backbone
from composir.errors import ComposirError
from composir.losses import classification
from composir.methods import load_method
from composir.methods.clip4cir import Clip4Cir
from composir.methods.target_pad import LONGEST, padded
from composir.testing import check_method

TEXTS = ["is red", "has longer sleeves and a floral print", "no logo", "darker"]
SMALL = {"projection_dim": 24, "hidden_dim": 32}


def made(name: str = "clip-tiny", **arguments) -> Clip4Cir:
    # The Combiner's weights are drawn.
    torch.manual_seed(0)
    method = load_method("clip4cir", load_backbone(name), **arguments)
    assert isinstance(method, Clip4Cir)
    return method


def pixels(seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (4, 3, 32, 32), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def batch(method: Clip4Cir, cached: bool = True) -> dict:
    given = {"reference": pixels(0), "target": pixels(1)}
    if cached:
        with torch.no_grad():
            given = {
                side: method.frozen(side).run(method.frozen(side).transform.normalise(given[side])) for side in given
            }
    return {"ids": list("abcd"), "texts": TEXTS, "reversed_texts": TEXTS[::-1], "weights": torch.ones(4), **given}


def slow_loss(query: torch.Tensor, target: torch.Tensor, weights: list[float], scale: float = 100) -> float:
    total = 0.0
    for i, q in enumerate(query.double().tolist()):
        logits = [scale * sum(x * y for x, y in zip(q, t, strict=True)) for t in target.double().tolist()]
        top = max(logits)
        total += weights[i] * (top + math.log(sum(math.exp(logit - top) for logit in logits)) - logits[i])
    return total / sum(weights)


@pytest.mark.parametrize("name", ["clip-tiny", "siglip-tiny", "blip-tiny"])
def test_stage_1_is_the_sum_of_raw_features(name):
    method = made(name, stage=1)
    own = batch(method)
    with torch.no_grad():
        text = method.backbone.embed_text(TEXTS)
        query = F.normalize(own["reference"] + text, dim=-1)
        composed = method.compose(own["reference"][:, None], TEXTS)
        assert torch.allclose(composed[:, 0], query, atol=1e-7)
        got = method.loss(own)["loss"].item()
    # Logits up to 100 in single precision.
    assert got == pytest.approx(slow_loss(query, F.normalize(own["target"], dim=-1), [1] * 4), abs=1e-4)


def test_stage_2_is_the_combiner():
    method = made(stage=2, **SMALL)
    own = batch(method)
    with torch.no_grad():
        query = method.combiner(own["reference"], method.backbone.embed_text(TEXTS))
        assert torch.equal(method.compose(own["reference"][:, None], TEXTS)[:, 0], query)
        got = method.loss(own)["loss"].item()
    assert got == pytest.approx(slow_loss(query, F.normalize(own["target"], dim=-1), [1] * 4), abs=1e-4)


def test_weights_of_queries_count():
    method = made(stage=1)
    own = {**batch(method), "weights": torch.tensor([1.0, 0.0, 2.0, 0.5])}
    with torch.no_grad():
        query = method.compose(own["reference"][:, None], TEXTS)[:, 0]
        got = method.loss(own)["loss"].item()
    assert got == pytest.approx(slow_loss(query, F.normalize(own["target"], dim=-1), [1, 0, 2, 0.5]), abs=1e-4)
    assert classification(torch.zeros(2, 2), torch.zeros(2)).item() == 0


def test_pixels_and_cached_features_are_the_same():
    method = made(stage=1)
    with torch.no_grad():
        assert method.loss(batch(method))["loss"].item() == pytest.approx(
            method.loss(batch(method, cached=False))["loss"].item(), rel=1e-5
        )


def test_the_cache_holds_raw_features_under_the_key_of_the_image_tower():
    method = made(stage=1)
    sides = [method.frozen(side) for side in ("reference", "target")]
    assert sides[0].key == sides[1].key == made(stage=2, **SMALL).frozen("target").key
    assert sides[0].key != load_method("clip4cir", load_backbone("clip-tiny", "seed-1")).frozen("target").key
    assert sides[0].key != made(stage=1, target_pad=1.25).frozen("target").key
    assert method.frozen("image") is None
    rows = sides[0].run(sides[0].transform.normalise(pixels()))
    assert rows.norm(dim=-1).sub(1).abs().min() > 1e-3
    reference = method.encode_reference(method.transform("reference").normalise(pixels()))
    assert torch.equal(reference[:, 0], rows)


@pytest.mark.parametrize(("tune", "towers"), [("text", ["text"]), ("image", ["image"]), ("both", ["image", "text"])])
def test_stage_1_fits_the_named_towers(tune, towers):
    method = made(stage=1, tune=tune)
    trainable = {name.split(".")[1] for name, p in method.named_parameters() if p.requires_grad}
    assert sorted(trainable) == towers
    assert method.combiner is None
    assert (method.frozen("target") is None) == ("image" in towers)
    second = made(stage=2, tune=tune, **SMALL)
    assert {name.split(".")[0] for name, p in second.named_parameters() if p.requires_grad} == {"combiner"}
    assert second.tuned == method.tuned
    assert second.frozen("target") is not None
    kept = [name for name in second.state_dict() if second.kept(name)]
    assert {name.split(".")[1] for name in kept if name.startswith("backbone.")} == set(towers)


def test_the_gallery_is_that_of_slerp_unless_the_image_tower_was_fitted_or_pictures_are_padded():
    slerp = load_method("slerp", load_backbone("clip-tiny")).gallery_key()
    assert made(stage=1).gallery_key() == made(stage=2, **SMALL).gallery_key() == slerp
    assert made(stage=1, target_pad=1.25).gallery_key() != slerp


@pytest.mark.parametrize("name", ["clip-tiny", "blip-tiny"])
@pytest.mark.parametrize(
    "arguments", [{"stage": 1}, {"stage": 2}, {"stage": 1, "tune": "both"}], ids=["1", "2", "both"]
)
def test_contract(name, arguments):
    method = made(name, **arguments)
    own = batch(method, cached=False)
    if method.frozen("target") is not None:  # apart from each other, which those of random towers are not
        own["reference"], own["target"] = torch.randn(2, 4, 16, generator=torch.Generator().manual_seed(0))
    fresh = load_method("clip4cir", load_backbone(name, "seed-1"), **arguments)
    check_method(method, fresh=fresh, batches=[own])


# ---- texts that are read once ----


def test_texts_are_frozen_where_their_tower_stands_still():
    assert made(stage=1).frozen("text") is made(stage=1, tune="both").frozen("text") is None
    key = made(stage=2, **SMALL).frozen("text").key
    assert made(stage=1, tune="image").frozen("text").key == key
    other = load_method("clip4cir", load_backbone("clip-tiny", "seed-1"), stage=2, **SMALL)
    assert other.frozen("text").key != key
    assert other.frozen("reversed_text") is None


@torch.no_grad()
def test_features_of_frozen_texts_give_the_loss_of_the_texts():
    method = made(stage=2, **SMALL).eval()
    own, rows = batch(method), method.frozen("text").run(TEXTS)
    assert torch.allclose(rows, method.backbone.embed_text(TEXTS), atol=1e-6)
    assert rows.norm(dim=-1).sub(1).abs().min() > 1e-3
    wanted = method.loss(own)["loss"].item()
    assert method.loss({**own, "text": rows})["loss"].item() == pytest.approx(wanted, abs=1e-4)
    assert method.loss({**own, "text": rows.flip(0)})["loss"].item() != pytest.approx(wanted, abs=1e-2)


@torch.no_grad()
def test_a_text_has_the_same_features_in_any_company():
    """To the last bit, on a CPU: a cache may have some of them and not others."""
    run = made(stage=2, **SMALL).frozen("text").run
    assert torch.equal(run(TEXTS)[1:], torch.cat([run(TEXTS[1:3]), run(TEXTS[3:])]))


# ---- pictures that are padded ----


@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([1.0, 1.25, 2.0]))
def test_padding_is_the_authors_arithmetic(width, height, ratio):
    image = Image.new("RGB", (width, height), (9, 9, 9))
    out = padded(image, ratio)
    if max(width, height) / min(width, height) < ratio:
        assert out is image
        return
    wanted = max(width, height) / ratio
    across, down = max(int((wanted - width) / 2), 0), max(int((wanted - height) / 2), 0)
    assert out.size == (width + 2 * across, height + 2 * down)
    shown = np.asarray(out)
    assert (shown[down : down + height, across : across + width] == 9).all()
    assert int(shown.sum()) == 27 * width * height


def test_a_panorama_is_reduced_before_it_is_padded():
    out = padded(Image.new("RGB", (30_000, 3)), 1.25)
    assert out.size[0] == LONGEST
    assert out.size[0] / out.size[1] == pytest.approx(1.25, rel=1e-3)


def test_padded_pictures_keep_what_the_centre_crop_cuts():
    method = made(stage=1, target_pad=1.25)
    # A tall picture with a red head: cropped away without padding.
    image = Image.new("RGB", (20, 60), (0, 0, 255))
    image.paste((255, 0, 0), (0, 0, 20, 12))
    red = method.transform("gallery").pixels(image)[0].max()
    assert red > 200
    assert made(stage=1).transform("gallery").pixels(image)[0].max() < 50
    square = Image.new("RGB", (40, 40), (1, 2, 3))
    plain = made(stage=1).transform("gallery").pixels(square)
    assert np.array_equal(method.transform("gallery").pixels(square), plain)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"stage": 3}, "stage = 3 does not exist"),
        ({"tune": "tex"}, "did you mean 'text'"),
        ({"scale": 0.0}, r"scale = 0\.0 is not above 0"),
        ({"target_pad": 0.5}, r"target_pad = 0\.5 is below 1"),
        ({"stage": 2, "combiner_dropout": 1.5}, r"combiner_dropout = 1\.5"),
        ({"stages": 1}, "did you mean 'stage'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, told):
    with pytest.raises(ComposirError, match=told):
        made(**arguments)
