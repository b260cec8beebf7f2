"""CLIP4Cir: fit the encoders until text is a displacement between pictures, then a Combiner over them.

Baldrati et al., "Conditioned and Composed Image Retrieval Combining and Partially Fine-Tuning CLIP-based Features",
CVPR Workshops 2022; "Effective Conditioned and Composed Image Retrieval Combining CLIP-based Features", CVPR 2022.
Differs from the papers: pictures go through the backbone's own transform unless `target_pad` is given; weights of
queries, where a data set has them, count in the loss. In the second stage each text is encoded once, before training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from composir.backbones.base import Backbone
from composir.backbones.transform import Transform
from composir.errors import ComposirError
from composir.losses import batch_classification, gathered
from composir.methods.base import Frozen, FrozenSide, Side
from composir.methods.combiner import Combiner
from composir.methods.joint import JointSpace
from composir.methods.target_pad import TargetPad
from composir.plugins import nearest

TUNED: Mapping[str, tuple[str, ...]] = {
    "text": ("backbone.text.",),
    "image": ("backbone.image.",),
    "both": ("backbone.image.", "backbone.text."),
}
# Of a text tower, what its feature does not come through: BLIP's cross-attention and matching head.
UNREAD = ("crossattention", "itm_head")


class Clip4Cir(JointSpace):
    """Stage 1 fits the encoders under n(v + w), stage 2 the Combiner f(v, w) over the frozen ones; v, w raw features.

    Args:
        backbone: Its towers.
        stage: 1 or 2. A run of stage 2 names one of stage 1 as its `init`.
        tune: Which encoders stage 1 fits: "text", "image" or "both"; say the same in both stages.
        projection_dim: Of the Combiner; 10 D if not given.
        hidden_dim: Of the Combiner; 20 D if not given.
        combiner_dropout: Of the Combiner, 0..1.
        scale: Factor of the cosines in the loss, above 0.
        target_pad: Pad pictures of at least this aspect, 1 or more (1.25 in the papers); 0 leaves the backbone's own
            transform, so that the gallery is that of other methods over the same image tower.

    Attributes:
        tuned: The encoders that are fitted.

    Raises:
        ComposirError: A value outside what is allowed.
    """

    name: ClassVar[str] = "clip4cir"
    trains_on: ClassVar[Literal["nothing", "pairs", "triplets"]] = "triplets"
    tuned: ClassVar[tuple[str, ...]] = TUNED["text"]
    reference_side: ClassVar[tuple[str, ...]] = ("backbone.image.",)
    checkpointing: ClassVar[tuple[str, ...]] = (r"backbone\.(image|text)\..*\.layers?\.\d+",)

    def __init__(
        self,
        backbone: Backbone,
        stage: int = 1,
        *,
        tune: str = "text",
        projection_dim: int | None = None,
        hidden_dim: int | None = None,
        combiner_dropout: float = 0.5,
        scale: float = 100.0,
        target_pad: float = 0.0,
    ):
        super().__init__(backbone)
        if stage not in (1, 2):
            raise ComposirError(f"stage = {stage} does not exist; 1 fits the encoders, 2 the Combiner")
        if tune not in TUNED:
            raise nearest(tune, TUNED, "value of tune:")
        if not scale > 0:
            raise ComposirError(f"scale = {scale} is not above 0; the papers' is 100")
        self.stage, self.tune, self.scale, self.target_pad = stage, tune, scale, target_pad
        self.combiner_dropout = combiner_dropout
        self.tuned = TUNED[tune]  # pyright: ignore[reportAttributeAccessIssue]
        self.requires_grad_(False)
        if stage == 1:
            for name, parameter in self.named_parameters():
                read = name.startswith(self.tuned) and not any(part in name for part in UNREAD)
                parameter.requires_grad_(read)
        self.combiner = Combiner(backbone.dim, projection_dim, hidden_dim, combiner_dropout) if stage == 2 else None
        if self.combiner is not None:
            self.projection_dim = self.combiner.text_projection.out_features
            self.hidden_dim = self.combiner.gate_out.in_features
        self.transform("gallery")  # refuses a wrong ratio

    def transform(self, side: Side, train: bool = False) -> Transform:
        """The backbone's own map, or the papers' padding in front of it."""
        plain = super().transform(side, train)
        return TargetPad.around(plain, self.target_pad) if self.target_pad else plain

    def encode_reference(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 1 D"]:
        """Raw image features: what is composed is not of unit length."""
        return self.backbone.embed_image(images).float()[:, None]

    def compose(self, reference: Float[Tensor, "B 1 D"], texts: Sequence[str]) -> Float[Tensor, "B 1 D"]:
        """Unit query vectors: the normalised sum, or the Combiner's."""
        return self.joined(reference[:, 0], self.text_features(texts))[:, None]

    def joined(self, image: Float[Tensor, "B D"], text: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """f(v, w) of raw features, unit length."""
        return F.normalize(image + text, dim=-1) if self.combiner is None else self.combiner(image, text)

    def text_features(self, texts: Sequence[str], before: str = "") -> Float[Tensor, "B D"]:
        """Raw text features, of `before` and each text."""
        return self.backbone.embed_text(texts, before=before).float()

    def first_stage(self) -> Mapping[str, Any]:
        """In stage 2, what fixes the features that the Combiner gets."""
        return {} if self.stage == 1 else {"tune": self.tune, "target_pad": self.target_pad}

    def frozen(self, side: FrozenSide) -> Frozen | None:
        """Raw features (B, D) of either picture of a triplet, and of its text, where their towers stand still."""
        if side == "text":
            return self._frozen_text("", lambda texts: (texts, ""))
        if side not in ("reference", "target") or (self.stage == 1 and "backbone.image." in self.tuned):
            return None
        plain = self.transform("gallery")
        key = self.fingerprint(("backbone.image.",), f"{Clip4Cir.__module__}:{Clip4Cir.__name__} raw\n{plain.spec}\n")
        return Frozen(key, plain, lambda images: self.backbone.embed_image(images).float())

    def loss(self, batch: dict[str, object]) -> dict[str, Tensor]:
        """Batch classification of {"reference", "target", "texts", "weights"} among the targets of the batch.

        With "text", (B,D) raw features of the texts, these are not read.
        """
        reference, target, weights = self._given(batch)
        text = self._words(batch, "text", cast(Sequence[str], batch["texts"]))
        return {"loss": self._forward_loss(reference, text, gathered(target), weights)}

    def _given(self, batch: Mapping[str, object]) -> tuple[Tensor, Tensor, Tensor | None]:
        """Raw features of the references and of the targets, and the weights of all processes."""
        weights = cast("Tensor | None", batch.get("weights"))
        reference, target = (self._seen(cast(Tensor, batch[side])) for side in ("reference", "target"))
        return reference, target, None if weights is None else gathered(weights.to(target))

    def _seen(self, rows: Tensor) -> Tensor:
        """Raw features, from pixels or as a cache has them."""
        device = next(self.parameters()).device
        if rows.dtype == torch.uint8:
            return self.backbone.embed_image(self.transform("gallery").normalise(rows.to(device))).float()
        return rows.to(device).float()

    def _words(self, batch: Mapping[str, object], side: FrozenSide, texts: Sequence[str], before: str = "") -> Tensor:
        """Raw text features for the loss, as a cache has them or of `before` and each text."""
        kept = cast("Tensor | None", batch.get(side))
        if kept is None:
            return self.text_features(texts, before)
        return kept.to(next(self.parameters()).device).float()

    def _frozen_text(self, head: str, read: Callable[[Sequence[str]], tuple[Sequence[str], str]]) -> Frozen | None:
        """Raw text features (B, D) of what `read` makes of texts, where the text tower stands still.

        On a CPU of each alone: with others it would be filled up to the longest, and its last bit would depend on which
        texts a cache had already, so that a run with a fresh one would not be the same run.
        """
        if self.stage == 1 and "backbone.text." in self.tuned:
            return None

        def run(texts: Sequence[str]) -> Tensor:
            shown, before = read(texts)
            parts = [[one] for one in shown] if next(self.parameters()).device.type == "cpu" else [shown]
            return torch.cat([self.text_features(part, before) for part in parts])

        name = f"{Clip4Cir.__module__}:{Clip4Cir.__name__} raw text\n{self.backbone.reading()}\n{head}\n"
        return Frozen(self.fingerprint(("backbone.text.",), name), None, run)

    def _forward_loss(self, reference: Tensor, text: Tensor, targets: Tensor, weights: Tensor | None) -> Tensor:
        query = gathered(self.joined(reference, text))
        with torch.autocast(query.device.type, enabled=False):
            return batch_classification(query, F.normalize(targets, dim=-1), self.scale, weights)
