"""`composir convert blip`: what is left out is said, and an index is made with what came out."""

from __future__ import annotations

import torch

from composir.backbones.blip import BlipBackbone
from composir.backbones.clip import TINY_CORPUS

SHORT = {
    "vision_model.embeddings.class_embedding": "visual_encoder.cls_token",
    "vision_model.embeddings.position_embedding": "visual_encoder.pos_embed",
    "vision_model.embeddings.patch_embedding.": "visual_encoder.patch_embed.proj.",
    "vision_model.post_layernorm.": "visual_encoder.norm.",
    "vision_model.encoder.layers.": "visual_encoder.blocks.",
    ".self_attn.projection.": ".attn.proj.",
    ".self_attn.": ".attn.",
    ".layer_norm": ".norm",
}


def original(key: str) -> str:
    key = key.removeprefix("image.").removeprefix("text.")
    if key.startswith("vision_model."):
        for new, old in SHORT.items():
            key = key.replace(new, old)
    return key


def test_convert_then_index(cli, pictures, tmp_path):
    blip = BlipBackbone.from_scratch(
        TINY_CORPUS, image_size=32, patch_size=8, image_width=64, image_layers=1, image_heads=1, text_width=64,
        text_layers=1, text_heads=1, dim=16, vocab_size=640,
    )  # fmt: skip
    state = {original(key): tensor for key, tensor in blip.state_dict().items() if key != "logit_scale"}
    torch.save({"model": state | {"temp": torch.tensor(0.07), "image_queue": torch.zeros(2)}}, tmp_path / "blip.pth")
    vocab = blip.tokenizer.core.get_vocab(with_added_tokens=False)
    (tmp_path / "vocab.txt").write_text("\n".join(sorted(vocab, key=vocab.__getitem__)), encoding="utf-8")
    out = tmp_path / "out"
    asked = ("convert", "blip", tmp_path / "blip.pth", out, "--vocabulary", tmp_path / "vocab.txt", "--image-size", 48)
    done = cli(*asked)
    assert done.code == 0, done.err
    assert "left out 1 tensor: queues" in done.out
    assert f"{len(state)} tensors, 48 px, in {out}" in done.out
    done = cli("index", pictures(3), "--gallery", tmp_path / "g", "--backbone", out, "--workers", 0)
    assert done.code == 0, done.err
    assert cli(*asked).code == 1, "a folder that is full is refused"


def test_a_file_that_is_not_there(cli, tmp_path):
    done = cli("convert", "blip", tmp_path / "none.pth", tmp_path / "out")
    assert done.code == 1
    assert "none.pth cannot be read as tensors" in done.err
