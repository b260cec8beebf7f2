"""The Combiner of CLIP4Cir, and every reference of a batch composed with every text at the cost of a small layer.

Baldrati et al., "Effective Conditioned and Composed Image Retrieval Combining CLIP-based Features", CVPR 2022;
Liu et al., "Bi-directional Training for Composed Image Retrieval via Text Prompt Learning", WACV 2024.
Differs from the papers: nothing in the values. The hidden layers read [text; image] after a concatenation, so W [t; i]
is W_t t + W_i i: each half is computed once for a vector and added for a pair, before the ReLU. Of the B * B pairs
only one block exists at a time; the backward pass computes it again. In training, dropout of the projected features
draws one mask for a vector and not one for a pair, unless `separable` is false; hidden layers have one for a pair.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from composir.errors import ComposirError

# Per feature dimension: 2560 and 5120 for BLIP's 256, as both papers have it.
PROJECTION, HIDDEN = 10, 20
CHUNK = 4096  # pairs composed at a time
SHORTEST = 1e-12  # a shorter sum is divided by this, as F.normalize does


class Half(NamedTuple):
    """What one modality gives to a pair: its raw feature, and its part of both hidden layers."""

    feature: Tensor
    mixture: Tensor
    gate: Tensor

    def spread(self, axis: int) -> Half:
        """The same with an axis to broadcast along."""
        return Half(*(own.unsqueeze(axis) for own in self))

    def split(self, size: int) -> list[Half]:
        """Pieces of up to `size` rows."""
        return [Half(*own) for own in zip(*(own.split(size) for own in self), strict=True)]


class Combiner(nn.Module):
    """f(image, text) = n(mixture + s * text + (1 - s) * image), mixture and s in 0..1 learnt from both.

    t = Drop(ReLU(W_t text)), i = Drop(ReLU(W_i image)), r = [t; i]; mixture = W_o Drop(ReLU(W_m r)),
    s = sigmoid(w_s Drop(ReLU(W_g r))), all with biases. The features are the backbone's raw ones.

    Args:
        dim: D, width of the joint space.
        projection_dim: Width of t and of i; 10 D if not given.
        hidden_dim: Width of the hidden layers; 20 D if not given.
        dropout: Of all four dropouts, 0..1 (1 excluded).
        separable: See the module; false is the papers' own dropout and needs B * B rows of the hidden layers.

    Raises:
        ComposirError: A width below 1 or a dropout outside its range.
    """

    def __init__(
        self,
        dim: int,
        projection_dim: int | None = None,
        hidden_dim: int | None = None,
        dropout: float = 0.5,
        separable: bool = True,
    ):
        super().__init__()
        projection = PROJECTION * dim if projection_dim is None else projection_dim
        hidden = HIDDEN * dim if hidden_dim is None else hidden_dim
        for what, width in (("projection_dim", projection), ("hidden_dim", hidden)):
            if width < 1:
                raise ComposirError(f"{what} = {width} is no width; give 1 or more")
        if not 0 <= dropout < 1:
            raise ComposirError(f"combiner_dropout = {dropout} is outside 0..1 (1 excluded)")
        self.text_projection = nn.Linear(dim, projection)
        self.image_projection = nn.Linear(dim, projection)
        self.mixture = nn.Linear(2 * projection, hidden)
        self.mixture_out = nn.Linear(hidden, dim)
        self.gate = nn.Linear(2 * projection, hidden)
        self.gate_out = nn.Linear(hidden, 1)
        self.dropout, self.separable = dropout, separable

    def forward(self, image: Float[Tensor, "*B D"], text: Float[Tensor, "*B D"]) -> Float[Tensor, "*B D"]:
        """Unit vectors of pairs, row by row; leading axes broadcast."""
        return F.normalize(self._joined(*self._halves(text, image)), dim=-1)

    def scores(
        self,
        image: Float[Tensor, "N D"],
        text: Float[Tensor, "B D"],
        against: Float[Tensor, "B D"],
        chunk: int = CHUNK,
    ) -> Float[Tensor, "B N"]:
        """<f(image_j, text_i), against_i>: every image with every text, each compared to the text's own vector.

        With I_T for `image`, the reversed texts and the unit I_R for `against` these are the cosines of the reversed
        loss. Needs chunk * H numbers a few times over, be B * N what it may.

        Args:
            image: Raw features.
            text: Raw features.
            against: Unit vectors.
            chunk: Pairs composed at a time.
        """
        whole = self.separable or not self.training or self.dropout == 0
        texts, images = self._halves(text, image) if whole else (_raw(text), _raw(image))
        block = self._block if whole else self._block_of_pairs
        if torch.is_grad_enabled():
            block = _recomputed(block)
        columns = min(len(image), chunk)
        rows = max(1, chunk // columns)
        lines = [
            torch.cat([block(*part, *other, own) for other in images.split(columns)], dim=1)
            for part, own in zip(texts.split(rows), against.split(rows), strict=True)
        ]
        return torch.cat(lines)

    def _halves(self, text: Tensor, image: Tensor) -> tuple[Half, Half]:
        seen = [
            self._dropped(F.relu(layer(own)))
            for layer, own in ((self.text_projection, text), (self.image_projection, image))
        ]
        # Cut at once: two slices would each have a gradient of the whole weight's size.
        cut = [torch.split(layer.weight, seen[0].shape[-1], dim=1) for layer in (self.mixture, self.gate)]
        theirs = (F.linear(seen[0], own) for own, _ in cut)
        ours = (
            F.linear(seen[1], own, layer.bias) for (_, own), layer in zip(cut, (self.mixture, self.gate), strict=True)
        )
        return Half(text, *theirs), Half(image, *ours)

    def _joined(self, text: Half, image: Half) -> Tensor:
        mixture = self.mixture_out(self._dropped(F.relu_(text.mixture + image.mixture)))
        gate = torch.sigmoid(self.gate_out(self._dropped(F.relu_(text.gate + image.gate)))).to(text.feature)
        return mixture.to(text.feature) + gate * text.feature + (1 - gate) * image.feature

    def _dropped(self, x: Tensor) -> Tensor:
        if not self.training or self.dropout == 0:
            return x
        return x * _mask(x, self.dropout) if x.device.type == "cpu" else F.dropout(x, self.dropout)

    def _block(self, *parts: Tensor) -> Tensor:
        text, image, against = Half(*parts[:3]).spread(1), Half(*parts[3:6]).spread(0), parts[6]
        return _cosine(self._joined(text, image), against)

    def _block_of_pairs(self, *parts: Tensor) -> Tensor:
        text, image, against = parts[0][:, None], parts[3][None], parts[6]
        text, image = torch.broadcast_tensors(text, image)
        return _cosine(self._joined(*self._halves(text, image)), against)


def sum_scores(
    image: Float[Tensor, "N D"], text: Float[Tensor, "B D"], against: Float[Tensor, "B D"]
) -> Float[Tensor, "B N"]:
    """<n(image_j + text_i), against_i>, the sum's counterpart of `Combiner.scores`, from four products of matrices.

    <image_j, against_i> + <text_i, against_i> over the root of |image_j|^2 + |text_i|^2 + 2 <image_j, text_i>,
    of 1e-24 at least.
    """
    with torch.autocast(image.device.type, enabled=False):
        dots = against @ image.T + _dot(text, against)
        squares = _dot(text, text) + _dot(image, image).T + 2 * text @ image.T
        return dots / squares.clamp(min=SHORTEST**2).sqrt()


def _mask(x: Tensor, dropout: float) -> Tensor:
    """Zeros, with probability `dropout` to 1 / 65536, and 1 / (1 - dropout).

    Four are drawn from one 64-bit number: torch's own dropout takes 12 ns for each on a CPU, this 2, and there are
    2 B * B * H of them.
    """
    drawn = torch.empty(x.numel() // 4 + 1, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
    kept = drawn[: x.numel()] >= min(round(dropout * 2**16), 2**16 - 1) - 2**15
    return kept.view(x.shape).to(x.dtype).mul_(1 / (1 - dropout))


def _raw(features: Float[Tensor, "B D"]) -> Half:
    """A half whose layers are left to the pairs."""
    return Half(features, features, features)


def _recomputed(block: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Keep nothing of a block but its inputs and outputs; dropout draws the same masks the second time."""
    return lambda *parts: cast(Tensor, checkpoint(block, *parts, use_reentrant=False))


def _cosine(made: Float[Tensor, "R C D"], against: Float[Tensor, "R D"]) -> Float[Tensor, "R C"]:
    # Products and sums, because autocast would round a matrix product.
    return (F.normalize(made, dim=-1) * against[:, None]).sum(-1)


def _dot(left: Float[Tensor, "B D"], right: Float[Tensor, "B D"]) -> Float[Tensor, "B 1"]:
    return (left * right).sum(-1, keepdim=True)
