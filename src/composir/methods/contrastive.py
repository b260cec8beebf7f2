"""Image-text pre-training of both towers: the recipe behind the embedded backbones.

Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021.
Differs from the paper: the two directions are summed, not averaged, as everywhere in this house.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from composir.backbones.base import Backbone
from composir.errors import ComposirError
from composir.losses import gathered, symmetric_contrastive
from composir.methods.slerp import DEFAULT_ALPHA, Slerp

MAX_SCALE = 100.0
# SigLIP's bias, which a softmax does not feel; BLIP's parts that only its matching mode reads.
UNREAD = ("logit_bias", "crossattention", "itm_head")


class Contrastive(Slerp):
    """Symmetric contrastive loss on image-text pairs with everything trainable; answers queries as Slerp does."""

    name: ClassVar[str] = "contrastive"
    trains_on: ClassVar[Literal["nothing", "pairs", "triplets"]] = "pairs"
    tuned: ClassVar[tuple[str, ...]] = ("backbone.",)
    checkpointing: ClassVar[tuple[str, ...]] = (r"backbone\.(image|text)\..*\.layers?\.\d+",)

    def __init__(self, backbone: Backbone, alpha: float | str = DEFAULT_ALPHA):
        super().__init__(backbone, alpha)
        if backbone.logit_scale is None:
            raise ComposirError(f"backbone {backbone.source.name!r} has no logit scale to learn")
        self.requires_grad_(True)
        for name, parameter in backbone.named_parameters():
            if any(part in name for part in UNREAD):
                parameter.requires_grad_(False)

    def loss(self, batch: dict[str, object]) -> dict[str, Tensor]:
        """The contrastive loss of {"pixels": uint8 (B,3,S,S), "texts": B strings}, and the learnt scale."""
        pixels, texts = cast(Tensor, batch["pixels"]), cast(Sequence[str], batch["texts"])
        # Clamped as in the paper, so that the scale cannot run away: at most 100.
        scale = cast(Tensor, self.backbone.logit_scale).clamp(max=math.log(MAX_SCALE)).exp().reshape(())
        device = next(self.parameters()).device
        image = self.encode_gallery(self.transform("gallery").normalise(pixels.to(device)))[:, 0]
        text = self.encode_text(texts)[:, 0]
        with torch.autocast(image.device.type, enabled=False):
            loss = symmetric_contrastive(gathered(image), gathered(text), scale)
        return {"loss": loss, "scale": scale.detach()}
