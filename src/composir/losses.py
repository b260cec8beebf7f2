"""Loss formulas that two or more methods use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def batch_classification(
    query: Float[Tensor, "B D"], target: Float[Tensor, "B D"], scale: Float[Tensor, ""] | float
) -> Float[Tensor, ""]:
    """Mean over i of -log softmax_j(scale * <q_i, t_j>)[i]: each query must pick its own target out of the batch."""
    logits = scale * query @ target.T
    return F.cross_entropy(logits, torch.arange(len(logits), device=logits.device))


def symmetric_contrastive(
    image: Float[Tensor, "B D"], text: Float[Tensor, "B D"], scale: Float[Tensor, ""] | float
) -> Float[Tensor, ""]:
    """L_I2T + L_T2I, the sum (not the mean) of batch classification both ways."""
    return batch_classification(image, text, scale) + batch_classification(text, image, scale)
