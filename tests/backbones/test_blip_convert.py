"""The authors' own BLIP files: a state dict with the original names becomes the same backbone."""

from __future__ import annotations

import math

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from composir.backbones import load_backbone
from composir.backbones.blip import BlipBackbone
from composir.backbones.blip_convert import convert_blip, read_tensors
from composir.backbones.clip import TINY_CORPUS
from composir.errors import ComposirError

TEXTS = ["red", "is darker, has longer sleeves and a floral print"]
LAYERS = 2


def original_names() -> dict[str, str]:
    """transformers' name -> the original's, tensor by tensor, written from BLIP's public classes."""
    names = {
        "image.vision_model.embeddings.class_embedding": "visual_encoder.cls_token",
        "image.vision_model.embeddings.position_embedding": "visual_encoder.pos_embed",
    }
    pairs = {
        "image.vision_model.embeddings.patch_embedding": "visual_encoder.patch_embed.proj",
        "image.vision_model.post_layernorm": "visual_encoder.norm",
        "image.vision_proj": "vision_proj",
        "text.text_proj": "text_proj",
        "text.itm_head": "itm_head",
        "text.text_encoder.embeddings.LayerNorm": "text_encoder.embeddings.LayerNorm",
    }
    for i in range(LAYERS):
        ours, original = f"image.vision_model.encoder.layers.{i}", f"visual_encoder.blocks.{i}"
        pairs |= {
            f"{ours}.layer_norm1": f"{original}.norm1",
            f"{ours}.layer_norm2": f"{original}.norm2",
            f"{ours}.self_attn.qkv": f"{original}.attn.qkv",
            f"{ours}.self_attn.projection": f"{original}.attn.proj",
            f"{ours}.mlp.fc1": f"{original}.mlp.fc1",
            f"{ours}.mlp.fc2": f"{original}.mlp.fc2",
        }
        inner = [
            *(f"{a}.self.{x}" for a in ("attention", "crossattention") for x in ("query", "key", "value")),
            *(f"{a}.output.{x}" for a in ("attention", "crossattention") for x in ("dense", "LayerNorm")),
            "intermediate.dense", "output.dense", "output.LayerNorm",
        ]  # fmt: skip
        pairs |= {f"text.text_encoder.encoder.layer.{i}.{x}": f"text_encoder.encoder.layer.{i}.{x}" for x in inner}
    for table in ("word_embeddings", "position_embeddings"):
        names[f"text.text_encoder.embeddings.{table}.weight"] = f"text_encoder.embeddings.{table}.weight"
    for ours, original in pairs.items():
        names |= {f"{ours}.{part}": f"{original}.{part}" for part in ("weight", "bias")}
    return names


@pytest.fixture(scope="module")
def blip() -> BlipBackbone:
    """14 x 14 patches, heads of 64 channels and norms as in every published BLIP; otherwise small."""
    made = BlipBackbone.from_scratch(
        TINY_CORPUS, image_size=112, patch_size=8, image_width=128, image_layers=LAYERS, image_heads=2, text_width=64,
        text_layers=LAYERS, text_heads=1, dim=16, vocab_size=640,
    )  # fmt: skip
    for module in made.image.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-6
    return made.eval()


@pytest.fixture
def state(blip) -> dict[str, Tensor]:
    """As in `model_base.pth`: the trained model, and all that pre-training needed beside it."""
    names = original_names()
    found = {names[key]: tensor.clone() for key, tensor in blip.state_dict().items() if key != "logit_scale"}
    assert len(found) == len(names), "every tensor has its original name"
    trained = dict(found)
    for part in ("visual_encoder", "vision_proj", "text_encoder", "text_proj"):
        momentum = {f"{part}_m{key[len(part) :]}": t for key, t in trained.items() if key.startswith(f"{part}.")}
        found |= momentum
    found |= {"image_queue": torch.zeros(16, 8), "text_queue": torch.zeros(16, 8)}
    found |= {"queue_ptr": torch.zeros(1, dtype=torch.long), "temp": torch.tensor(0.05)}
    found |= {"text_decoder.bert.embeddings.word_embeddings.weight": torch.zeros(5, 4)}
    found |= {"text_decoder.cls.predictions.bias": torch.zeros(5)}
    found |= {"text_encoder.embeddings.position_ids": torch.arange(77)[None]}
    return found


@pytest.fixture
def vocabulary(blip, tmp_path):
    """BERT's vocab.txt: one token a line, without the two that BLIP adds."""
    vocab = blip.tokenizer.core.get_vocab(with_added_tokens=False)
    path = tmp_path / "vocab.txt"
    path.write_text("\n".join(sorted(vocab, key=vocab.__getitem__)[:-2]) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("form", ["pth", "nested pth", "safetensors"])
def test_the_same_backbone_comes_out(blip, state, vocabulary, tmp_path, form):
    source = tmp_path / ("blip.safetensors" if form == "safetensors" else "blip.pth")
    if form == "safetensors":
        save_file({key: tensor.contiguous().clone() for key, tensor in state.items()}, source)
    else:
        torch.save({"model": state, "epoch": 3} if form == "nested pth" else state, source)
    done = convert_blip(source, tmp_path / "out", vocabulary=vocabulary)
    assert done.kept == len(original_names())
    assert done.image_size == 112
    momentum = sum(key.split(".")[0].endswith("_m") for key in state)
    assert done.dropped == {
        "momentum copies": momentum, "queues": 3, "decoder": 2, "position counters": 1,
        "temperature (kept as the logit scale)": 1,
    }  # fmt: skip
    made = load_backbone(str(tmp_path / "out"))
    assert isinstance(made, BlipBackbone)
    pixels = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        tokens = blip.tokens(pixels)
        assert torch.allclose(made.embed_image(pixels), blip.embed_image(pixels), atol=1e-6)
        assert torch.allclose(made.embed_text(TEXTS), blip.embed_text(TEXTS), atol=1e-6)
        assert torch.allclose(made.match(TEXTS, tokens), blip.match(TEXTS, tokens), atol=1e-6)
    assert made.logit_scale.item() == pytest.approx(-math.log(0.05))
    assert (made.transform().size, made.transform().resize) == (112, "exact")


def test_positions_are_interpolated_to_another_size(state, vocabulary, tmp_path):
    """14 x 14 patches become 24 x 24, as from 224 to 384 px."""
    source = tmp_path / "blip.pth"
    torch.save({"model": state}, source)
    assert convert_blip(source, tmp_path / "out", 192, vocabulary).image_size == 192
    made = load_backbone(str(tmp_path / "out"))
    assert isinstance(made, BlipBackbone)
    old, new = state["visual_encoder.pos_embed"], made.image.vision_model.embeddings.position_embedding.detach()
    assert new.shape == (1, 1 + 24 * 24, 128)
    assert torch.equal(new[:, 0], old[:, 0])
    expected = torch.nn.functional.interpolate(
        old[:, 1:].reshape(1, 14, 14, 128).permute(0, 3, 1, 2), size=(24, 24), mode="bicubic", align_corners=False
    )
    assert torch.allclose(new[:, 1:].reshape(1, 24, 24, 128).permute(0, 3, 1, 2), expected, atol=1e-6)


def test_missing_and_unknown_names_are_all_listed(state, vocabulary, tmp_path):
    del state["itm_head.weight"], state["visual_encoder.blocks.1.norm2.bias"]
    state |= {"extra.weight": torch.zeros(1), "text_encoder.pooler.bias": torch.zeros(1)}
    state["vision_proj.bias"] = torch.zeros(3)
    torch.save({"model": state}, tmp_path / "blip.pth")
    with pytest.raises(ComposirError) as caught:
        convert_blip(tmp_path / "blip.pth", tmp_path / "out", vocabulary=vocabulary)
    assert "missing: itm_head.weight, vision_model.encoder.layers.1.layer_norm2.bias" in str(caught.value)
    assert "unknown: extra.weight, text_encoder.pooler.bias" in str(caught.value)
    assert "of another shape: vision_proj.bias" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_other_files_are_refused(state, vocabulary, tmp_path):
    source = tmp_path / "blip.pth"
    with pytest.raises(ComposirError, match="cannot be read as tensors"):
        read_tensors(source)
    torch.save({"epoch": 3}, source)
    with pytest.raises(ComposirError, match="holds 0 sets of named tensors"):
        read_tensors(source)
    torch.save({"model": state, "other": state}, source)
    with pytest.raises(ComposirError, match="holds 2 sets"):
        read_tensors(source)
    torch.save({"a.weight": torch.zeros(2)}, source)
    with pytest.raises(ComposirError, match=r"no BLIP with a matching head; missing: vision_model\.embeddings"):
        convert_blip(source, tmp_path / "out", vocabulary=vocabulary)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(ComposirError, match="is not empty"):
        convert_blip(source, tmp_path / "full", vocabulary=vocabulary)


def test_code_in_a_file_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'sprung')!r}, 'w')",))

    torch.save({"model": {"a": torch.zeros(1)}, "trap": Trap()}, tmp_path / "blip.pth")
    with pytest.raises(ComposirError, match="cannot be read as tensors"):
        read_tensors(tmp_path / "blip.pth")
    assert not (tmp_path / "sprung").exists()


def test_a_vocabulary_that_is_not_there(state, tmp_path, monkeypatch):
    torch.save({"model": state}, tmp_path / "blip.pth")
    with pytest.raises(ComposirError, match=r"none\.txt cannot be read"):
        convert_blip(tmp_path / "blip.pth", tmp_path / "out", vocabulary=tmp_path / "none.txt")
    (tmp_path / "short.txt").write_text("[PAD]\n[UNK]\nred\n", encoding="utf-8")
    with pytest.raises(ComposirError, match=r"lacks \[CLS\], \[SEP\], \[MASK\]"):
        convert_blip(tmp_path / "blip.pth", tmp_path / "out", vocabulary=tmp_path / "short.txt")

    def offline(*_: object) -> str:
        raise OSError("no network")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", offline)
    with pytest.raises(ComposirError, match=r"bert-base-uncased \(no network\); give the file by --vocabulary"):
        convert_blip(tmp_path / "blip.pth", tmp_path / "out")
