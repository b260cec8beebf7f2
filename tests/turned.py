"""Methods from outside: own weights, own words, a tuned text tower, references that are no gallery vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from composir.methods.joint import JointSpace


class Turned(JointSpace):
    name: ClassVar[str] = "turned"
    trains_on: ClassVar[Literal["nothing", "pairs", "triplets"]] = "triplets"
    tuned: ClassVar[tuple[str, ...]] = ("backbone.text.",)

    def __init__(self, backbone, share: float = 0.5, words: Sequence[str] = (), width: int | None = None):
        if words:
            backbone.add_words(words)
        super().__init__(backbone)
        self.share = share
        self.mix = nn.Linear(backbone.dim, width or backbone.dim, bias=False)

    def encode_reference(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B R C"]:
        return self.backbone.embed_image(images)[:, None]

    def compose(self, reference: Float[Tensor, "B R C"], texts: Sequence[str]) -> Float[Tensor, "B S D"]:
        return F.normalize(self.share * self.mix(reference) + self.encode_text(texts), dim=-1)


class Returning(Turned):
    """One that has learnt the way back."""

    name: ClassVar[str] = "returning"
    bidirectional = True

    def compose_reversed(self, reference: Float[Tensor, "B R C"], texts: Sequence[str]) -> Float[Tensor, "B S D"]:
        return F.normalize(self.mix(reference) - self.encode_text(texts), dim=-1)
