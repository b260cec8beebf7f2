"""TAT over tiny backbones, and pictures and texts for it: what the tests of the method and of its LoRA share."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from composir.backbones import load_backbone
from composir.backbones.base import Backbone
from composir.methods import load_method
from composir.methods.tat import Tat

TINY = ("clip-tiny", "siglip-tiny", "blip-tiny")
ANCHORS = ("text", "none", "image")
TEXTS = ["a red dress", "a long blue shirt", "white hoodie with a star logo", "a photo of a black jacket"]
MOVES = {"text": {"image"}, "none": {"image", "text"}, "image": {"text"}}


def built(backbone: str = "clip-tiny", seed: int = 0, /, **arguments: Any) -> Tat:
    """TAT over a tiny backbone of its own; its LoRA is still without effect."""
    torch.manual_seed(7)
    made = load_method("tat", load_backbone(backbone, f"seed-{seed}"), **arguments)
    assert isinstance(made, Tat)
    return made


def trained(backbone: str = "clip-tiny", /, **arguments: Any) -> Tat:
    """The same with a LoRA that matters."""
    made = built(backbone, **arguments)
    with torch.no_grad():
        for name, tensor in made.named_parameters():
            if ".lora_B." in name:
                tensor.normal_(0, 0.2)
    return made


def pixels(seed: int = 0) -> torch.Tensor:
    """Plain stripes, of whole numbers: the same bytes on every machine."""
    columns = np.random.default_rng(seed).integers(0, 256, (4, 3, 1, 4), dtype=np.uint8)
    return torch.from_numpy(np.repeat(np.repeat(columns, 8, axis=3), 32, axis=2).copy())


@torch.no_grad()
def features(backbone: Backbone) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the stripes and of `TEXTS`."""
    shown = backbone.transform().normalise(pixels())
    return backbone.embed_image(shown), backbone.embed_text(TEXTS)
