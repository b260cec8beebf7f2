"""A small method on triplets with what makes a resumed run hard to get right: dropout, and frozen features."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import nn

from composir.losses import batch_classification, gathered
from composir.methods.base import Frozen
from composir.methods.joint import JointSpace


class Dropping(JointSpace):
    """n(image + W drop(text)) against the target; half of the text is dropped, and a third of the steps halved."""

    name = "dropping"
    trains_on = "triplets"

    def __init__(self, backbone):
        super().__init__(backbone)
        self.requires_grad_(False)
        self.head = nn.Linear(backbone.dim, backbone.dim)
        self.drop = nn.Dropout(0.5)

    def frozen(self, side):
        if side not in ("reference", "target"):
            return None
        transform = self.transform("gallery")
        key = self.fingerprint(("backbone.image.",), f"dropping {transform.spec}")
        return Frozen(key, transform, lambda pixels: self.encode_gallery(pixels)[:, 0])

    def compose(self, reference, texts):
        text = self.encode_text(texts)
        return F.normalize(reference + self.head(self.drop(text) if self.training else text), dim=-1)

    def loss(self, batch):
        query = self.compose(batch["reference"][:, None], batch["texts"])[:, 0]
        loss = batch_classification(gathered(query), gathered(batch["target"]), 20.0)
        # Not Python's own generator: beartype, which checks the suite's own process alone, draws from it too.
        return {"loss": loss * (0.5 if np.random.random() < 0.3 else 1.0)}
