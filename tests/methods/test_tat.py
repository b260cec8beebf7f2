"""TAT: the loss against a loop, what moves under each anchor, what is cached and kept; its LoRA is in test_lora.py."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from small_tat import ANCHORS, MOVES, TEXTS, TINY, built, features, pixels, trained

from composir import checkpoint
from composir.backbones import load_backbone
from composir.backbones.tokenizer import TextTokenizer
from composir.errors import ComposirError
from composir.methods import load_method
from composir.methods.lora import layers
from composir.methods.tat import Tat
from composir.training import fit
from composir.training.recompute import recomputed


def batch(seed: int = 0) -> dict[str, Any]:
    return {"ids": [f"p{i}" for i in range(4)], "texts": TEXTS, "pixels": pixels(seed)}


# ---- the loss ----


def slow_loss(method: Tat, temperature: float) -> float:
    """Both ways of the batch, one number at a time, in double precision from the raw features."""
    image, text = (
        [[x / math.hypot(*row) for x in row] for row in side.double().tolist()] for side in features(method.backbone)
    )
    total = 0.0
    for one, other in ((image, text), (text, image)):
        for i, row in enumerate(one):
            logits = [sum(x * y for x, y in zip(row, o, strict=True)) / temperature for o in other]
            total -= logits[i] - math.log(sum(math.exp(logit) for logit in logits))
    return total / len(TEXTS)


@pytest.mark.parametrize("backbone", TINY)
@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_loss_is_the_loop(backbone, temperature):
    method = trained(backbone, temperature=temperature)
    loss = method.loss(batch())["loss"]
    assert loss.shape == ()
    # Single precision features, cosines times 1 / temperature.
    assert loss.item() == pytest.approx(slow_loss(method, temperature), abs=2e-6 / temperature)


def test_default_temperature_and_lora_are_the_papers():
    method = built()
    assert (method.temperature, method.rank, method.lora_alpha, method.dropout) == (0.07, 16, 16, 0.1)
    assert method.anchor == "text"


def test_gap_is_the_distance_of_the_centroids():
    method = trained()
    image, text = (F.normalize(side.double(), dim=-1).mean(0) for side in features(method.backbone))
    assert method.loss(batch())["gap"].item() == pytest.approx(math.dist(image.tolist(), text.tolist()), abs=1e-6)


@pytest.mark.parametrize("anchor", ["text", "image"])
def test_precomputed_features_of_the_anchor_give_the_same_loss_and_gradients(anchor):
    method = trained(anchor=anchor)
    frozen = method.frozen(anchor)
    assert frozen is not None
    given = TEXTS if anchor == "text" else method.transform("gallery").normalise(pixels())
    with torch.no_grad():
        rows = frozen.run(given)
    assert torch.allclose(rows.norm(dim=-1), torch.ones(4))
    whole, cached = batch(), {**batch(), anchor: rows}
    del cached["texts" if anchor == "text" else "pixels"]
    results = []
    for one in (whole, cached):
        method.zero_grad()
        loss = method.loss(one)["loss"]
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in method.parameters() if p.grad is not None)])
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


# ---- what moves, and what stands still ----


@pytest.mark.parametrize("backbone", TINY)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_only_lora_of_the_towers_that_move_is_trained(backbone, anchor):
    method = trained(backbone, anchor=anchor)
    trainable = {name for name, p in method.named_parameters() if p.requires_grad}
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)
    assert {name.split(".")[1] for name in trainable} == MOVES[anchor]
    assert method.tuned == tuple(f"backbone.{tower}." for tower in ("image", "text") if tower in MOVES[anchor])
    method.train().loss(batch())["loss"].backward()
    assert {name for name, p in method.named_parameters() if p.grad is not None} == trainable
    assert all(bool(p.grad.any()) for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("backbone", "image", "text"),
    [
        ("clip-tiny", {"self_attn.q_proj", "self_attn.v_proj"}, {"self_attn.q_proj", "self_attn.v_proj"}),
        ("siglip-tiny", {"self_attn.q_proj", "self_attn.v_proj"}, {"self_attn.q_proj", "self_attn.v_proj"}),
        ("blip-tiny", {"self_attn.qkv"}, {"attention.self.query", "attention.self.value"}),
    ],
)
def test_query_and_value_of_every_block_carry_lora(backbone, image, text):
    """In BLIP's texts that is self-attention alone: nothing of the joint space looks at an image."""
    made = built(backbone, anchor="none").backbone
    for tower, blocks, wanted in (("image", 3, image), ("text", 3 if backbone == "siglip-tiny" else 2, text)):
        names = list(layers(getattr(made, tower)))
        assert len(names) == blocks * len(wanted)
        assert {name for name in names if not name.endswith(tuple(wanted))} == set()
        assert not any("crossattention" in name for name in names)


def test_targets_may_be_chosen():
    names = {name.rpartition(".")[2] for name in layers(built(targets=["k_proj", "fc1"]).backbone)}
    assert names == {"k_proj", "fc1"}


@pytest.mark.parametrize("backbone", TINY)
def test_steps_leave_text_tower_and_scale_as_they_were(backbone):
    method = built(backbone)
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    list(fit(method, [batch(i) for i in range(3)], steps=3, lr=1e-2))
    after = method.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if method.kept(name)}
    assert all(name.startswith("backbone.image.") for name in moved)


@pytest.mark.parametrize("backbone", TINY)
def test_recomputed_activations_give_the_same_gradients(backbone):
    """Dropout included: it is drawn again as it was."""
    method = trained(backbone, anchor="none").train()
    found = []
    for wanted in (False, True):
        method.zero_grad()
        torch.manual_seed(0)
        with recomputed(method, wanted):
            method.loss(batch())["loss"].backward()
        found.append({name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_dropout_is_of_training_alone():
    method = trained()
    method.train()
    losses = {method.loss(batch())["loss"].item() for _ in range(4)}
    assert len(losses) > 1
    method.eval()
    assert len({method.loss(batch())["loss"].item() for _ in range(4)}) == 1


@pytest.mark.parametrize("backbone", TINY)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_at_first_it_is_slerp(backbone, anchor):
    method, slerp = built(backbone, anchor=anchor), load_method("slerp", load_backbone(backbone))
    for one, other in zip(features(method.backbone), features(slerp.backbone), strict=True):
        assert torch.equal(one, other)


@torch.no_grad()
def test_composes_as_slerp_over_its_own_towers():
    method = trained(alpha=0.3)
    slerp = load_method("slerp", method.merge(), alpha=0.3)
    reference = method.encode_reference(method.transform("reference").normalise(pixels()))
    # Merged weights are rounded once more.
    assert torch.allclose(method.compose(reference, TEXTS), slerp.compose(reference, TEXTS), atol=1e-5)
    assert torch.equal(method.compose(reference, TEXTS, alpha=0.0), reference)
    assert method.controls == ("alpha",)


# ---- keys, caches and checkpoints ----


def test_the_gallery_key_follows_lora():
    method = trained()
    assert trained().gallery_key() == method.gallery_key()
    key = method.gallery_key()
    with torch.no_grad():
        next(p for p in method.parameters() if p.requires_grad).add_(1e-3)
    assert method.gallery_key() != key
    moved_text, still = trained(anchor="image"), load_method("slerp", load_backbone("clip-tiny"))
    assert moved_text.gallery_key() == still.gallery_key(), "a tower that stands still needs no new index"


def test_what_stands_still_is_named_by_its_weights():
    text, image = trained().frozen("text"), trained(anchor="image").frozen("image")
    assert text is not None
    assert image is not None
    assert text.transform is None
    assert image.transform == load_backbone("clip-tiny").transform()
    assert text.key != image.key
    assert built().frozen("text").key == text.key  # type: ignore[union-attr]
    assert built("clip-tiny", 1).frozen("text").key != text.key  # type: ignore[union-attr]
    assert built("clip-tiny", 1, anchor="image").frozen("image").key != image.key  # type: ignore[union-attr]


@pytest.mark.parametrize("backbone", TINY)
def test_frozen_texts_are_named_by_their_tokenizer_too(backbone, tmp_path):
    """The same tensors behind another tokenizer.json give a text another feature; pictures stay as they are."""
    method = built(backbone)
    keys = [method.frozen("text").key, method.gallery_key()]  # type: ignore[union-attr]
    method.backbone.tokenizer.save(tmp_path)
    own = method.backbone.tokenizer
    method.backbone.tokenizer = TextTokenizer.from_folder(tmp_path, own.context, own.start is not None)
    assert [method.frozen("text").key, method.gallery_key()] == keys  # type: ignore[union-attr]
    told = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    told["normalizer"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(told), encoding="utf-8")
    method.backbone.tokenizer = TextTokenizer.from_folder(tmp_path, own.context, own.start is not None)
    assert method.frozen("text").key != keys[0]  # type: ignore[union-attr]
    assert method.gallery_key() == keys[1]


@pytest.mark.parametrize("anchor", ANCHORS)
def test_nothing_else_stands_still(anchor):
    method = built(anchor=anchor)
    sides = {side for side in ("reference", "target", "image", "text") if method.frozen(side) is not None}
    assert sides == {anchor} - {"none"}


@pytest.mark.parametrize("anchor", ANCHORS)
def test_a_checkpoint_holds_lora_alone_and_comes_back(tmp_path, anchor):
    method = trained(anchor=anchor)
    path = tmp_path / "tat.safetensors"
    arguments = {"anchor": anchor, "alpha": 0.8}
    checkpoint.save(path, method, arguments=arguments, run="tat", step=3)
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == {name for name in method.state_dict() if ".lora_" in name}
    other = checkpoint.load(path)
    assert isinstance(other, Tat)
    assert other.anchor == anchor
    for one, two in zip(features(method.backbone), features(other.backbone), strict=True):
        assert torch.equal(one, two)
    assert other.gallery_key() == method.gallery_key()


def test_its_arguments_are_known_by_their_own_names():
    from composir.checkpoint.origin import arguments_of

    given = {"anchor": "none", "rank": 4, "lora_alpha": 8, "dropout": 0.2, "targets": ["k_proj"], "temperature": 0.1}
    assert arguments_of(built(**given, alpha=0.4)) == {**given, "alpha": 0.4}


@pytest.mark.parametrize("anchor", ANCHORS)
def test_a_supervised_method_may_start_from_it(tmp_path, anchor):
    """It begins over the merged towers; its own checkpoint holds them and comes back over the published backbone."""
    first = trained(anchor=anchor)
    checkpoint.save(tmp_path / "tat.safetensors", first, arguments={"anchor": anchor})
    second = load_method("contrastive", load_backbone("clip-tiny"))
    taken = checkpoint.take_over(second, tmp_path / "tat.safetensors")
    wrapped = {f"backbone.{name}.weight" for name in layers(first.backbone)}
    assert wrapped <= set(taken)
    for one, two in zip(features(first.merge()), features(second.backbone), strict=True):
        assert torch.equal(one, two)
    checkpoint.save(tmp_path / "second.safetensors", second, arguments={})
    again = checkpoint.load(tmp_path / "second.safetensors")
    for one, two in zip(features(second.backbone), features(again.backbone), strict=True):
        assert torch.equal(one, two)


def test_a_method_with_frozen_towers_keeps_what_it_started_from(tmp_path):
    """Slerp trains nothing and so would leave its towers to the backbone; those it took over must not be lost."""
    first = trained()
    checkpoint.save(tmp_path / "tat.safetensors", first, arguments={})
    second = load_method("slerp", load_backbone("clip-tiny"))
    checkpoint.take_over(second, tmp_path / "tat.safetensors")
    checkpoint.save(tmp_path / "slerp.safetensors", second, arguments={})
    assert any(name.endswith("q_proj.weight") for name in load_file(tmp_path / "slerp.safetensors"))
    again = checkpoint.load(tmp_path / "slerp.safetensors")
    assert torch.equal(features(again.backbone)[0], features(first.merge())[0])


# ---- bad input ----


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"anchor": "texts"}, r"unknown anchor 'texts'; did you mean 'text'"),
        ({"temperature": 0.0}, r"temperature = 0\.0 is not above 0"),
        ({"rank": 0}, "rank = 0, .* is no LoRA"),
        ({"dropout": 1.0}, r"dropout = 1\.0 is no LoRA"),
        ({"lora_alpha": 0}, "lora_alpha = 0, .* is no LoRA"),
        ({"targets": ["query"]}, r"no layer of the image tower is called query; .* q_proj"),
        ({"alpha": 2.0}, r"is outside 0\.\.1"),
    ],
)
def test_arguments_outside_what_is_allowed_are_refused(arguments, told):
    with pytest.raises(ComposirError, match=told):
        built(**arguments)


def test_a_backbone_is_wrapped_once():
    method = built()
    with pytest.raises(ComposirError, match="'clip-tiny' carries LoRA already"):
        Tat(method.backbone)


def test_without_peft_the_remedy_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ComposirError, match=r"pip install 'composir\[train\]'"):
        built()


def test_peft_is_not_imported_before_it_is_needed():
    code = "import sys; import composir.methods.tat; sys.exit('peft' in sys.modules or 'torchvision' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# Written down with torch 2.13, transformers 5.23 and peft 0.21; dropout is drawn as torch's CPU generator gives it. One
# and two threads agree to all digits shown. The mean of both ways instead of the sum halves every number, no dropout
# moves some by 60 times the tolerance, and one per cent more learning rate by five times.
GOLD = {
    "text": [3.44447, 4.84296, 2.74071, 3.47379, 4.68245, 3.29832],
    "none": [3.44447, 4.82764, 2.68647, 2.92698, 3.67454, 2.30213],
    "image": [3.44447, 5.10473, 2.89197, 3.43117, 3.92326, 3.43513],
}


@pytest.mark.parametrize("anchor", ANCHORS)
def test_a_few_steps_of_gold(anchor):
    method = built(anchor=anchor)
    torch.manual_seed(0)
    losses = [s.losses["loss"] for s in fit(method, [batch(i) for i in range(6)], steps=6, lr=1e-2, weight_decay=0.1)]
    assert losses == pytest.approx(GOLD[anchor], abs=1e-3)
