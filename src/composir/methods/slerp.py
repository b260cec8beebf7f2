"""Slerp: zero-shot composition on the arc between picture and words.

Jang et al., "Spherical Linear Interpolation and Text-Anchoring for Zero-shot Composed Image Retrieval", ECCV 2024.
Differs from the paper: the arc is computed from an orthonormal basis, the same curve without its 0/0 at 0 and pi.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from composir.backbones.base import Backbone
from composir.errors import ComposirError
from composir.methods.joint import JointSpace
from composir.plugins import nearest

DEFAULT_ALPHA = 0.8
# The paper's values where it gives them; "wardrobe" was chosen on its val split with the embedded backbone.
ALPHA: dict[str, float] = {"cirr": 0.9, "circo": 0.8, "fashioniq": 0.8, "wardrobe": 0.3}
# What a backbone that has seen one kind of picture alone is used for, where nothing else is said.
MADE_FOR = {"wardrobe-clip": "wardrobe"}
_PARALLEL = 1e-12  # squared sine; below, single precision leaves nothing of the direction


def slerp(
    start: Float[Tensor, "*B D"], end: Float[Tensor, "*B D"], alpha: Float[Tensor, "*B"]
) -> Float[Tensor, "*B D"]:
    """Spherical interpolation: sin((1-a)t)/sin(t) * start + sin(a*t)/sin(t) * end, t the angle between them.

    Computed as cos(a*t) * start + sin(a*t)/sin(t) * p, p the part of `end` at right angles to `start`, and t by atan2:
    the same vector, finite with finite gradients for every t. At t = 0 both are the limits; at t = pi, where the arc is
    not unique, it takes a fixed one. At alpha = 0 and 1 it is `start` and `end` to the last bit.

    Args:
        start: Unit vectors, D >= 2; the reference image.
        end: Unit vectors; the text.
        alpha: Share of the way to `end`, 0..1, one for each row.

    Returns:
        Unit vectors; half precision is computed in single precision and rounded.
    """
    given = torch.promote_types(start.dtype, end.dtype)
    start, end, a = (x.to(torch.promote_types(given, torch.float32)) for x in (start, end, alpha.unsqueeze(-1)))
    cosine = _dot(start, end)
    across = end - cosine * start
    # Once more: near 0 and pi the first pass leaves a part along `start` that is as large as the rest.
    across = across - _dot(across, start) * start
    square = _dot(across, across)
    parallel, ahead = square < _PARALLEL, cosine > 0
    # Both branches of `where` are differentiated, so the unused one must be finite too: swap its input, not its output.
    sine = torch.where(parallel, torch.ones_like(square), square).sqrt()
    angle = torch.where(parallel, math.pi * (~ahead).to(start), torch.atan2(sine, cosine))
    share = torch.where(parallel & ahead, a, torch.sin(a * angle) / sine)
    arc = torch.cos(a * angle) * start + share * torch.where(parallel & ~ahead, _perpendicular(start), across)
    return torch.where(a == 0, start, torch.where(a == 1, end, arc)).to(given)


def _dot(left: Float[Tensor, "*B D"], right: Float[Tensor, "*B D"]) -> Float[Tensor, "*B 1"]:
    return (left * right).sum(-1, keepdim=True)


def _perpendicular(vectors: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Some unit vector at right angles to each, always the same for the same input: from its smallest axis."""
    fixed = vectors.detach()
    axis = torch.zeros_like(fixed).scatter(-1, fixed.abs().argmin(-1, keepdim=True), 1.0)
    return F.normalize(axis - _dot(axis, fixed) * fixed, dim=-1)


def checked_alpha(alpha: float | Sequence[float] | Tensor, rows: int, device: torch.device) -> Float[Tensor, " B"]:
    """One alpha for each of `rows` queries.

    Raises:
        ComposirError: Not numbers, a value outside 0..1, or neither one value nor one for each query.
    """
    try:
        values = torch.as_tensor(alpha, dtype=torch.float32, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ComposirError(f"alpha = {alpha!r} is no number; give one value in 0..1 or one for each query") from error
    if values.ndim > 1 or (values.ndim == 1 and values.numel() not in (1, rows)):
        raise ComposirError(f"alpha has shape {tuple(values.shape)}; give one value or one for each of {rows} queries")
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise ComposirError(f"alpha = {alpha} is outside 0..1 (0 is the picture alone, 1 the words alone)")
    return values.expand(rows)


class Slerp(JointSpace):
    """Interpolate from the reference's feature to the text's.

    Args:
        backbone: CLIP-like towers.
        alpha: Share of the way to the text where a query gives none, 0 (picture) .. 1 (words); or the name of a data
            set in `ALPHA`, for its default.

    Raises:
        ComposirError: A number outside 0..1, or a name that is not in `ALPHA` (the nearest ones are listed).
    """

    name: ClassVar[str] = "slerp"
    controls: ClassVar[tuple[str, ...]] = ("alpha",)

    def __init__(self, backbone: Backbone, alpha: float | str = DEFAULT_ALPHA):
        super().__init__(backbone)
        if isinstance(alpha, str):
            if alpha not in ALPHA:
                raise nearest(alpha, ALPHA, "data set with a default alpha")
            alpha = ALPHA[alpha]
        self.alpha = float(checked_alpha(alpha, 1, torch.device("cpu"))[0])

    def compose(
        self,
        reference: Float[Tensor, "B 1 D"],
        texts: Sequence[str],
        alpha: float | Sequence[float] | Tensor | None = None,
    ) -> Float[Tensor, "B 1 D"]:
        """The point `alpha` of the way along the arc from picture to words; `alpha` may differ from query to query."""
        share = checked_alpha(self.alpha if alpha is None else alpha, len(texts), reference.device)
        return slerp(reference, self.encode_text(texts), share[:, None])
