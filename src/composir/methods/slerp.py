"""Slerp: zero-shot composition on the arc between picture and words.

Jang et al., "Spherical Linear Interpolation and Text-Anchoring for Zero-shot Composed Image Retrieval", ECCV 2024.
Differs from the paper: the arc is computed from an orthonormal basis, the same curve without its 0/0 at 0 and pi.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from composir.backbones.base import Backbone
from composir.errors import ComposirError
from composir.methods.joint import JointSpace

DEFAULT_ALPHA = 0.8
# The paper's values where it gives them; "wardrobe" was chosen on its val split with the embedded backbone.
ALPHA: dict[str, float] = {"cirr": 0.9, "circo": 0.8, "fashioniq": 0.8}
_PARALLEL = 1e-12


def slerp(
    start: Float[Tensor, "*B D"], end: Float[Tensor, "*B D"], alpha: Float[Tensor, "*B"]
) -> Float[Tensor, "*B D"]:
    """Spherical interpolation: sin((1-a)t)/sin(t) * start + sin(a*t)/sin(t) * end, t the angle between them.

    Computed as cos(a*t) * start + sin(a*t) * u, u the unit vector towards `end` at right angles to `start`, and t by
    atan2: the same vector, finite with finite gradients for every t. At t = 0 it stays at `start`; at t = pi, where
    the arc is not unique, it takes a fixed one. At alpha = 0 and 1 it is `start` and `end` to the last bit.

    Args:
        start: Unit vectors; the reference image.
        end: Unit vectors; the text.
        alpha: Share of the way to `end`, 0..1, one for each row.

    Returns:
        Unit vectors.
    """
    a = alpha.unsqueeze(-1)
    cosine = (start * end).sum(-1, keepdim=True)
    across = end - cosine * start
    parallel = (across * across).sum(-1, keepdim=True) < _PARALLEL
    # Both branches of `where` are differentiated, so the unused one must be finite too: swap its input, not its output.
    direction = torch.where(parallel, _perpendicular(start), across)
    length = direction.norm(dim=-1, keepdim=True)
    sine = torch.where(parallel, torch.zeros_like(length), length)
    angle = torch.atan2(sine, torch.where(parallel, cosine.sign(), cosine))
    arc = torch.cos(a * angle) * start + torch.sin(a * angle) * (direction / length)
    return torch.where(a == 0, start, torch.where(a == 1, end, arc))


def _perpendicular(vectors: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
    """Some vector at right angles to each, always the same for the same input: its smallest axis made orthogonal."""
    fixed = vectors.detach()
    axis = torch.zeros_like(fixed).scatter(-1, fixed.abs().argmin(-1, keepdim=True), 1.0)
    return axis - (axis * fixed).sum(-1, keepdim=True) * fixed


def checked_alpha(alpha: float | Sequence[float] | Tensor, rows: int, device: torch.device) -> Float[Tensor, "B"]:
    """One alpha for each of `rows` queries.

    Raises:
        ComposirError: A value outside 0..1, or neither one value nor one for each query.
    """
    values = torch.as_tensor(alpha, dtype=torch.float32, device=device)
    if values.ndim > 1 or (values.ndim == 1 and values.numel() not in (1, rows)):
        raise ComposirError(f"alpha has shape {tuple(values.shape)}; give one value or one for each of {rows} queries")
    if not bool(((values >= 0) & (values <= 1)).all()):
        raise ComposirError(f"alpha = {alpha} is outside 0..1 (0 is the picture alone, 1 the words alone)")
    return values.expand(rows)


class Slerp(JointSpace):
    """Interpolate from the reference's feature to the text's.

    Args:
        backbone: CLIP-like towers.
        alpha: Share of the way to the text where a query gives none, 0 (picture) .. 1 (words).
    """

    name: ClassVar[str] = "slerp"
    controls: ClassVar[tuple[str, ...]] = ("alpha",)

    def __init__(self, backbone: Backbone, alpha: float = DEFAULT_ALPHA):
        super().__init__(backbone)
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
