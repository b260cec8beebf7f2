"""Loss formulas that two or more methods use."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def classification(logits: Float[Tensor, "B N"], weights: Float[Tensor, " B"] | None = None) -> Float[Tensor, ""]:
    """Mean over i of -log softmax_j(logits_ij)[i]: row i must pick column i; N >= B.

    Args:
        logits: One row for each query.
        weights: Of the rows, 0 or more, for a weighted mean; 0 if all are 0.
    """
    wanted = torch.arange(len(logits), device=logits.device)
    if weights is None:
        return F.cross_entropy(logits, wanted)
    each = F.cross_entropy(logits, wanted, reduction="none")
    weights = weights.to(each)
    return (weights * each).sum() / weights.sum().clamp(min=torch.finfo(each.dtype).tiny)


def batch_classification(
    query: Float[Tensor, "B D"],
    target: Float[Tensor, "B D"],
    scale: Float[Tensor, ""] | float,
    weights: Float[Tensor, " B"] | None = None,
) -> Float[Tensor, ""]:
    """Mean over i of -log softmax_j(scale * <q_i, t_j>)[i]: each query must pick its own target out of the batch.

    Args:
        query: Unit vectors.
        target: Unit vectors; row i is query i's own.
        scale: Inverse temperature.
        weights: As in `classification`.
    """
    return classification(scale * query @ target.T, weights)


def symmetric_contrastive(
    image: Float[Tensor, "B D"], text: Float[Tensor, "B D"], scale: Float[Tensor, ""] | float
) -> Float[Tensor, ""]:
    """L_I2T + L_T2I, the sum (not the mean) of batch classification both ways."""
    return batch_classification(image, text, scale) + batch_classification(text, image, scale)


def processes() -> int:
    """How many a distributed run has; 1 where there is none."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gathered(rows: Float[Tensor, "B ..."]) -> Float[Tensor, "N ..."]:
    """The rows of all processes of a distributed run, in the order of their ranks; the same rows where there is one.

    A loss over gathered rows, the same in every process, has after DDP's averaging the gradient of the one process that
    holds the whole batch: the gradient of each row is summed over all processes that read it. All must have as many.
    """
    return rows if processes() == 1 else cast(Tensor, _Gather.apply(rows))


class _Gather(torch.autograd.Function):
    """all_gather with a gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        start = dist.get_rank() * ctx.count
        return total[start : start + ctx.count]
