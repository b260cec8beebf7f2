"""What the methods share that compare both sides in the backbone's own joint space, one vector an item."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from composir.methods.base import Method


class JointSpace(Method):
    """Gallery and reference are the backbone's image feature, unit length; subclasses say how the text joins in."""

    def encode_gallery(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 D"]:
        """Unit image features."""
        return F.normalize(self.backbone.embed_image(images).float(), dim=-1)[:, None]

    def encode_reference(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 D"]:
        """The same as for the gallery."""
        return self.encode_gallery(images)

    def reference_key(self) -> str:
        """The gallery's, where references are encoded as it is."""
        same = type(self).encode_reference is JointSpace.encode_reference
        return self.gallery_key() if same else super().reference_key()

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "B 1 D"]:
        """Unit text features."""
        return F.normalize(self.backbone.embed_text(texts).float(), dim=-1)[:, None]
