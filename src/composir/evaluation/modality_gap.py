"""How far apart a backbone keeps pictures and texts: distance of the centroids, and what a linear probe tells apart.

Liang et al., "Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation Learning",
NeurIPS 2022.
Differs from the paper: the probe's accuracy is that on pairs which it was not fitted on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from composir.errors import ComposirError
from composir.methods.joint import JointSpace

FOLDS = 5


@dataclass(frozen=True, slots=True)
class ModalityGap:
    """The gap over some pairs of a picture and its text.

    Attributes:
        pairs: How many.
        distance: Between the mean unit picture vector and the mean unit text vector, 0..2.
        separability: Accuracy of a linear probe that tells pictures from texts, on pairs held out; 0.5 is chance, 1 is
            a hyperplane between the two.
        cosine: Mean cosine of a picture and its own text, -1..1.
        other: Mean cosine of a picture and the text of another pair.
    """

    pairs: int
    distance: float
    separability: float
    cosine: float
    other: float


def modality_gap(image: Float[Tensor, "N D"], text: Float[Tensor, "N D"], seed: int = 0) -> ModalityGap:
    """The gap between vectors of pictures and of their texts, row by row; they are normalised here.

    Args:
        image: Of N pictures, at least one for each fold.
        text: Of their texts.
        seed: Deals the pairs to the folds of the probe.

    Raises:
        ComposirError: Too few pairs for the folds.
    """
    n = len(image)
    if n < FOLDS:
        raise ComposirError(f"{n} pairs are too few to measure a gap; at least {FOLDS} are needed")
    image, text = (F.normalize(side.detach().double().cpu(), dim=-1) for side in (image, text))
    centres = image.mean(0), text.mean(0)
    own = float((image * text).sum(-1).mean())
    everyone = float(centres[0] @ centres[1])  # the mean over all N * N cosines, the N own ones among them
    return ModalityGap(
        pairs=n,
        distance=float((centres[0] - centres[1]).norm()),
        separability=_held_out_accuracy(image, text, seed),
        cosine=own,
        other=(n * everyone - own) / (n - 1),
    )


@torch.inference_mode()
def encode_texts(method: JointSpace, texts: Sequence[str], batch_size: int = 128) -> Float[Tensor, "N D"]:
    """Unit vectors of texts, in eval mode."""
    method.eval()
    return torch.cat(
        [method.encode_text(texts[i : i + batch_size])[:, 0].cpu() for i in range(0, len(texts), batch_size)]
    )


def _held_out_accuracy(image: Float[Tensor, "N D"], text: Float[Tensor, "N D"], seed: int) -> float:
    """Over all folds; a picture and its text are always on the same side, or the probe would know half of a pair."""
    folds = torch.from_numpy(np.random.default_rng(seed).permutation(len(image)) % FOLDS)
    right = 0
    for fold in range(FOLDS):
        held = folds == fold
        weight, bias = _probe(image[~held], text[~held])
        right += int((image[held] @ weight + bias > 0).sum()) + int((text[held] @ weight + bias <= 0).sum())
    return right / (2 * len(image))


def _probe(image: Float[Tensor, "N D"], text: Float[Tensor, "N D"]) -> tuple[Float[Tensor, " D"], Float[Tensor, ""]]:
    """Logistic regression, pictures above 0: the least of sum log(1 + e^-m) + |w|^2 / 2 over margins m."""
    rows = torch.cat([image, text])
    signs = torch.cat([torch.ones(len(image)), -torch.ones(len(text))]).to(rows)
    with torch.enable_grad():
        weight = torch.zeros(rows.shape[1], dtype=rows.dtype, requires_grad=True)
        bias = torch.zeros((), dtype=rows.dtype, requires_grad=True)
        optimizer = torch.optim.LBFGS(
            [weight, bias], max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-12, line_search_fn="strong_wolfe"
        )

        def cost() -> Tensor:
            optimizer.zero_grad()
            value = F.softplus(-signs * (rows @ weight + bias)).sum() + weight.square().sum() / 2
            value.backward()
            return value

        optimizer.step(cost)  # pyright: ignore[reportArgumentType]
    return weight.detach(), bias.detach()
