"""LoRA in a backbone's towers: its share of the parameters, merged against unmerged, and peft's own reading of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from small_tat import ANCHORS, MOVES, TEXTS, TINY, built, features, pixels, trained
from transformers import BlipConfig, BlipForImageTextRetrieval, CLIPConfig, CLIPModel, SiglipModel

from composir.backbones import load_backbone
from composir.errors import ComposirError
from composir.methods.lora import Lora, layers, put_in, trainable_share

# peft's own models ask transformers by a name that it is about to drop.
PEFTS = "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"


# ---- the share of parameters ----


def clip(width: int, layers: int, heads: int, patch: int, text: tuple[int, int], dim: int) -> CLIPConfig:
    vision = {"hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers}
    return CLIPConfig(
        vision_config={**vision, "num_attention_heads": heads, "image_size": 224, "patch_size": patch},
        text_config={
            "hidden_size": text[0], "intermediate_size": 4 * text[0], "num_hidden_layers": 12,
            "num_attention_heads": text[1],
        },
        projection_dim=dim,
    )  # fmt: skip


FULL: dict[str, Any] = {
    "CLIP B/32": lambda: CLIPModel(clip(768, 12, 12, 32, (512, 8), 512)),
    "CLIP L/14": lambda: CLIPModel(clip(1024, 24, 16, 14, (768, 12), 768)),
    "BLIP L/16": lambda: BlipForImageTextRetrieval(
        BlipConfig(
            vision_config={
                "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
                "image_size": 384, "patch_size": 16,
            },
            text_config={"encoder_hidden_size": 1024, "vocab_size": 30_524},
            image_text_hidden_size=256,
        )
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "trainable", "per_cent"),
    [("CLIP B/32", 589_824, 0.388), ("CLIP L/14", 1_572_864, 0.366), ("BLIP L/16", 1_572_864, 0.351)],
)
def test_less_than_half_a_per_cent_is_trained(name, trainable, per_cent):
    """Of the full-size architectures, whose weights are never made."""
    with torch.device("meta"):
        model = FULL[name]().requires_grad_(False)
        put_in(Wrapped(model), "image", Lora())
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == trainable
    share = trainable_share(model)
    assert share < 0.005
    assert 100 * share == pytest.approx(per_cent, abs=0.0006)


class Wrapped(torch.nn.Module):
    """As a backbone's tower holds transformers' vision model: under that name, in a module that has no config."""

    def __init__(self, model: Any):
        super().__init__()
        self.vision_model = model.vision_model


def test_four_matrices_a_block_would_be_more_than_the_paper_says():
    with torch.device("meta"):
        model = FULL["CLIP L/14"]().requires_grad_(False)
        put_in(Wrapped(model), "image", Lora(targets=("q_proj", "k_proj", "v_proj", "out_proj")))
    assert 100 * trainable_share(model) == pytest.approx(0.730, abs=0.0006)


# ---- merged equals unmerged ----


@pytest.mark.parametrize("backbone", TINY)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_merged_equals_unmerged(backbone, anchor):
    method = trained(backbone, anchor=anchor, lora_alpha=8)
    plain = method.merge()
    assert plain.state_dict().keys() == load_backbone(backbone).state_dict().keys()
    assert not layers(plain)
    assert layers(method.backbone)
    fresh = features(load_backbone(backbone))
    for tower, one, other, before in zip(
        ("image", "text"), features(method.backbone), features(plain), fresh, strict=True
    ):
        # W x + B A x against (W + B A) x, in single precision.
        assert torch.allclose(one, other, atol=2e-5 * float(one.abs().max()))
        assert torch.equal(other, before) == (tower not in MOVES[anchor])
    assert all(p.requires_grad for p in plain.parameters())
    assert plain.source.name == f"{backbone}+tat"
    assert method.backbone.source.name == backbone


def test_merged_weights_are_the_formula():
    method = trained(rank=4, lora_alpha=6)
    name = "image.vision_model.encoder.layers.1.self_attn.v_proj"
    own = method.backbone.state_dict()
    a, b = (own[f"{name}.lora_{x}.default.weight"].double() for x in "AB")
    assert a.shape == (4, 32)
    wanted = own[f"{name}.base_layer.weight"].double() + 6 / 4 * b @ a
    assert torch.allclose(method.merged_state()[f"{name}.weight"].double(), wanted, atol=1e-6)


def test_merged_backbone_is_saved_and_loaded_as_any_other(tmp_path):
    plain = trained().merge()
    plain.save_pretrained(tmp_path / "merged")
    for one, other in zip(features(plain), features(load_backbone(str(tmp_path / "merged"))), strict=True):
        assert torch.equal(one, other)


# ---- peft's own format ----


def foreign(kind: Any, folder: Path) -> Any:
    return kind.from_pretrained(folder, local_files_only=True).eval()


@torch.no_grad()
def foreign_features(model: Any, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What transformers' own classes give, in the joint space."""
    shown = load_backbone("clip-tiny").transform().normalise(pixels())
    image, text = model.get_image_features(pixel_values=shown), model.get_text_features(input_ids=ids)
    return image.pooler_output, text.pooler_output


@pytest.mark.filterwarnings(PEFTS)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_peft_reads_the_adapter_onto_transformers_clip(tmp_path, anchor):
    method = trained(anchor=anchor, lora_alpha=8)
    method.save_adapter(tmp_path / "adapter")
    load_backbone("clip-tiny").save_pretrained(tmp_path / "clip")
    model = foreign(CLIPModel, tmp_path / "clip")
    tokenizer = method.backbone.tokenizer
    rows, _ = tokenizer.frame(TEXTS)
    length = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.pad] * (length - len(row)) for row in rows])
    plain = foreign_features(model, ids)
    read = PeftModel.from_pretrained(model, tmp_path / "adapter").eval()
    for tower, got, own, before in zip(
        ("image", "text"), foreign_features(read.base_model.model, ids), features(method.backbone), plain, strict=True
    ):
        assert torch.allclose(got, own, atol=1e-5)
        assert torch.allclose(before, own, atol=1e-5) == (tower not in MOVES[anchor])


@pytest.mark.parametrize(("backbone", "kind"), [("siglip-tiny", SiglipModel), ("blip-tiny", BlipForImageTextRetrieval)])
@pytest.mark.filterwarnings(PEFTS)
@pytest.mark.parametrize("anchor", ANCHORS)
def test_peft_puts_every_tensor_where_it_belongs(tmp_path, backbone, kind, anchor):
    method = trained(backbone, anchor=anchor)
    method.save_adapter(tmp_path / "adapter")
    load_backbone(backbone).save_pretrained(tmp_path / "base")
    read = PeftModel.from_pretrained(foreign(kind, tmp_path / "base"), tmp_path / "adapter")
    theirs = {name.removeprefix("base_model.model."): t for name, t in read.state_dict().items() if ".lora_" in name}
    own = {name.partition(".")[2]: t for name, t in method.backbone.state_dict().items() if ".lora_" in name}
    assert theirs.keys() == own.keys()
    assert all(torch.equal(theirs[name], own[name]) for name in own)


@pytest.mark.filterwarnings(PEFTS)
def test_an_adapter_that_peft_wrote_is_read(tmp_path):
    load_backbone("clip-tiny").save_pretrained(tmp_path / "clip")
    config = LoraConfig(
        r=4, lora_alpha=12, target_modules=r".*vision_model.*\.(q_proj|v_proj)", init_lora_weights=False
    )
    model = get_peft_model(foreign(CLIPModel, tmp_path / "clip"), config)
    model.save_pretrained(tmp_path / "adapter")
    method = built(rank=4, lora_alpha=12)
    before = features(method.backbone)[0]
    method.load_adapter(tmp_path / "adapter")
    theirs = foreign_features(model.eval().base_model.model, torch.ones(1, 3, dtype=torch.long))[0]
    assert torch.allclose(features(method.backbone)[0], theirs, atol=1e-5)
    assert not torch.allclose(before, theirs, atol=1e-3)


def test_an_adapter_comes_back(tmp_path):
    method, other = trained(anchor="none"), built(anchor="none")
    method.save_adapter(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"adapter_config.json", "adapter_model.safetensors"}
    other.load_adapter(tmp_path)
    assert other.gallery_key() == method.gallery_key()
    for one, two in zip(features(method.backbone), features(other.backbone), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"rank": 4}, "r = 16, here 4; build"),
        ({"lora_alpha": 32}, "lora_alpha = 16, here 32; build"),
        ({"anchor": "image"}, r"does not fit backbone 'clip-tiny'.*20 tensors"),
        ({"anchor": "none"}, r"does not fit backbone 'clip-tiny'.*8 tensors"),
        ({"targets": ["k_proj"]}, r"does not fit backbone .*base_model\.model\.vision_model"),
    ],
)
def test_an_adapter_of_another_kind_is_refused(tmp_path, arguments, told):
    trained().save_adapter(tmp_path)
    with pytest.raises(ComposirError, match=told):
        built(**arguments).load_adapter(tmp_path)


def test_no_adapter_is_an_error(tmp_path):
    with pytest.raises(ComposirError, match=r"holds no adapter .*adapter_config\.json"):
        built().load_adapter(tmp_path)
    trained().save_adapter(tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ComposirError, match="holds no adapter"):
        built().load_adapter(tmp_path)
