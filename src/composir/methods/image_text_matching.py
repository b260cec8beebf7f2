"""Training of a whole BLIP on image-text pairs: contrast first, then matching against the hardest of the batch.

Papers: Li et al., "Align before Fuse: Vision and Language Representation Learning with Momentum Distillation",
NeurIPS 2021, equations 2 and 4; Li et al., "BLIP", ICML 2022.
Differs from the papers: no momentum copies, no queues and no language modelling, so negatives come from the batch
alone, those of matching in a distributed run from a process's own share; the learnt scale is clamped at 100 as in CLIP;
a pair with the same text is no negative.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from composir.backbones.base import Backbone
from composir.errors import ComposirError
from composir.losses import gathered, symmetric_contrastive
from composir.methods.contrastive import MAX_SCALE, UNREAD, Contrastive
from composir.methods.slerp import DEFAULT_ALPHA, Slerp


def hard_negatives(
    scores: Float[Tensor, "B N"], allowed: Bool[Tensor, "B N"], uniform: float = 0.0
) -> tuple[Int[Tensor, " M"], Int[Tensor, " M"]]:
    """For each row one allowed column, drawn with probability (1 - uniform) * softmax(scores) + uniform / their number.

    Args:
        scores: Scaled similarities.
        allowed: Where a column may be a row's negative.
        uniform: Share of easy draws, 0..1.

    Returns:
        (rows, columns); a row that allows nothing is left out.
    """
    rows = allowed.any(dim=1).nonzero()[:, 0]
    open_ = allowed[rows].float()
    hard = scores[rows].float().masked_fill(~allowed[rows], -torch.inf).softmax(dim=1)
    weights = (1 - uniform) * hard + uniform * open_ / open_.sum(dim=1, keepdim=True)
    return rows, torch.multinomial(weights, 1)[:, 0]


class ImageTextMatching(Slerp):
    """Contrastive plus matching loss on image-text pairs, everything trainable; answers queries as Slerp does.

    Args:
        backbone: One with a matching head: BLIP.
        alpha: As in Slerp.
        share: Share of the batch, 0..1, whose pairs the matching loss reads; it costs three more text passes for
            each, of one pair at least. 0 leaves the contrastive loss alone, and what only matching reads as it is.
        uniform: Share of negatives, 0..1, drawn from the batch at random, whatever their similarity. The papers have
            none, but start from trained towers: fresh ones do not learn from hard negatives alone, which agree with
            the positive in all that is easy.

    Raises:
        ComposirError: A backbone without a matching head, or a share outside 0..1.
    """

    name: ClassVar[str] = "image-text-matching"
    trains_on: ClassVar[Literal["nothing", "pairs", "triplets"]] = "pairs"
    tuned: ClassVar[tuple[str, ...]] = ("backbone.",)
    checkpointing: ClassVar[tuple[str, ...]] = Contrastive.checkpointing

    def __init__(
        self, backbone: Backbone, alpha: float | str = DEFAULT_ALPHA, share: float = 1.0, uniform: float = 0.0
    ):
        super().__init__(backbone, alpha)
        if not hasattr(backbone, "match"):
            raise ComposirError(f"backbone {backbone.source.name!r} has no matching head; take a BLIP")
        for what, value in (("share", share), ("uniform", uniform)):
            if not 0 <= value <= 1:
                raise ComposirError(f"{what} = {value} is outside 0..1")
        self.share, self.uniform = share, uniform
        self.requires_grad_(True)
        if share == 0:  # no gradient would reach it, which distributed training does not forgive
            for name, parameter in backbone.named_parameters():
                if any(part in name for part in UNREAD):
                    parameter.requires_grad_(False)

    def loss(self, batch: dict[str, object]) -> dict[str, Tensor]:
        """Of {"pixels": uint8 (B,3,S,S), "texts": B strings}: total = ITC (mean of both ways) + ITM.

        Returns:
            "loss", its parts "itc" and "itm", the share "itm_right" of matchings told right, and the learnt "scale".
        """
        pixels, texts = cast(Tensor, batch["pixels"]), cast(Sequence[str], batch["texts"])
        backbone = cast(Any, self.backbone)
        scale = backbone.logit_scale.clamp(max=math.log(MAX_SCALE)).exp()
        device = next(self.parameters()).device
        tokens = backbone.tokens(self.transform("gallery").normalise(pixels.to(device)))
        image = F.normalize(backbone.project(tokens).float(), dim=-1)
        text = self.encode_text(texts)[:, 0]
        with torch.autocast(image.device.type, enabled=False):
            itc = symmetric_contrastive(gathered(image), gathered(text), scale) / 2
        parts = {"loss": itc, "itc": itc.detach(), "scale": scale.detach()}
        chosen = max(1, round(self.share * len(texts))) if self.share else 0
        if chosen:
            itm, right = self._matching(tokens, texts, (scale * image @ text.T).detach(), chosen)
            parts |= {"loss": itc + itm, "itm": itm.detach(), "itm_right": right}
        return parts

    def _matching(
        self, tokens: Float[Tensor, "B T V"], texts: Sequence[str], scores: Float[Tensor, "B B"], chosen: int
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
        """Cross-entropy of the first `chosen` pairs, each with a hard text for its image and a hard image for its text.

        Args:
            tokens: Of the images.
            texts: Theirs.
            scores: Scaled similarities, images in rows.
            chosen: Pairs that are matched; negatives come from the whole batch.
        """
        number = {text: i for i, text in enumerate(texts)}
        same = torch.tensor([number[text] for text in texts], device=tokens.device)
        other = same[:, None] != same[None, :]
        positive = torch.arange(chosen, device=tokens.device)
        kept, wrong_texts = hard_negatives(scores[:chosen], other[:chosen], self.uniform)
        asked, wrong_images = hard_negatives(scores.T[:chosen], other[:chosen], self.uniform)
        images = torch.cat([positive, kept, wrong_images])
        words = torch.cat([positive, wrong_texts, asked]).tolist()
        logits = cast(Any, self.backbone).match([texts[i] for i in words], tokens[images]).float()
        labels = (torch.arange(len(images), device=tokens.device) < chosen).long()
        return F.cross_entropy(logits, labels), (logits.argmax(dim=1) == labels).float().mean()
