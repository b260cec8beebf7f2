"""The three baselines printed beside every result: the picture alone, the words alone, and their plain sum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from composir.methods.joint import JointSpace


class ImageOnly(JointSpace):
    """The reference alone; the text is not read. What it reaches, a data set gives away without its texts."""

    name: ClassVar[str] = "image-only"
    reads: ClassVar[tuple[Literal["reference", "text"], ...]] = ("reference",)

    def compose(self, reference: Float[Tensor, "B 1 D"], texts: Sequence[str]) -> Float[Tensor, "B 1 D"]:  # noqa: ARG002
        """The reference as it is."""
        return reference


class TextOnly(JointSpace):
    """The text alone; the reference is not read."""

    name: ClassVar[str] = "text-only"
    reads: ClassVar[tuple[Literal["reference", "text"], ...]] = ("text",)

    def compose(self, reference: Float[Tensor, "B 1 D"], texts: Sequence[str]) -> Float[Tensor, "B 1 D"]:  # noqa: ARG002
        """The text's feature."""
        return self.encode_text(texts)


class Sum(JointSpace):
    """n(v + w): the unit features of picture and words added, and normalised again."""

    name: ClassVar[str] = "sum"

    def compose(self, reference: Float[Tensor, "B 1 D"], texts: Sequence[str]) -> Float[Tensor, "B 1 D"]:
        """The normalised sum."""
        return F.normalize(reference + self.encode_text(texts), dim=-1)
