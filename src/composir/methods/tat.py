"""Text-anchored tuning (TAT): the image tower learns by LoRA to meet a text tower that stands still; Slerp composes.

Jang et al., "Spherical Linear Interpolation and Text-Anchoring for Zero-shot Composed Image Retrieval", ECCV 2024.
Differs from the paper: which layers get LoRA is not stated there; query and value are the choice whose share of
parameters is the paper's "< 0.5 %". Its "fixed to 1/0.07" is read as the factor of the cosines, a temperature of 0.07.
The full text was not at hand: rank, alpha, dropout and data are known from notes on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Literal, cast

import torch
from torch import Tensor

from composir.backbones.base import Backbone
from composir.errors import ComposirError
from composir.losses import gathered, symmetric_contrastive
from composir.methods import lora
from composir.methods.base import Frozen, FrozenSide
from composir.methods.lora import Lora, Tower
from composir.methods.slerp import DEFAULT_ALPHA, Slerp
from composir.plugins import nearest

# anchor -> the towers that move.
TUNED: Mapping[str, tuple[Tower, ...]] = {"text": ("image",), "none": ("image", "text"), "image": ("text",)}


class Tat(Slerp):
    """Symmetric contrastive loss on image-caption pairs, at a fixed temperature, with LoRA in the towers that move.

    Args:
        backbone: Two towers; it is wrapped in place, and everything but LoRA is frozen.
        alpha: As for Slerp.
        anchor: The tower that stands still: "text" (TAT), "image", or "none" (both move).
        rank: Of LoRA.
        lora_alpha: The low-rank product counts lora_alpha / rank times.
        dropout: On LoRA's input in training, 0..1.
        targets: Names of the linear layers that get LoRA; query and value if not given.
        temperature: Cosines are divided by it, above 0.

    Attributes:
        tuned: The towers that move.

    Raises:
        ComposirError: peft is missing, or an argument is outside what is allowed.
    """

    name: ClassVar[str] = "tat"
    trains_on: ClassVar[Literal["nothing", "pairs", "triplets"]] = "pairs"
    tuned: ClassVar[tuple[str, ...]] = ("backbone.image.", "backbone.text.")
    checkpointing: ClassVar[tuple[str, ...]] = (r"backbone\..*\.encoder\.layers?\.\d+",)

    def __init__(
        self,
        backbone: Backbone,
        alpha: float | str = DEFAULT_ALPHA,
        *,
        anchor: str = "text",
        rank: int = 16,
        lora_alpha: int = 16,
        dropout: float = 0.1,
        targets: Sequence[str] | None = None,
        temperature: float = 0.07,
    ):
        super().__init__(backbone, alpha)
        if anchor not in TUNED:
            raise nearest(anchor, TUNED, "anchor")
        if not temperature > 0:
            raise ComposirError(f"temperature = {temperature} is not above 0; the paper's is 0.07")
        # Under the arguments' own names, so that a checkpoint can tell them.
        self.anchor, self.temperature, self.targets = anchor, temperature, targets
        self.rank, self.lora_alpha, self.dropout = rank, lora_alpha, dropout
        self.lora = Lora(rank, lora_alpha, dropout, tuple(targets) if targets else None)
        if lora.layers(backbone):
            raise ComposirError(f"backbone {backbone.source.name!r} carries LoRA already; load it anew")
        self.requires_grad_(False)
        for tower in TUNED[anchor]:
            lora.put_in(getattr(backbone, tower), tower, self.lora)
        # Narrower than the class says, so that a checkpoint and a cache know what moves.
        self.tuned = tuple(f"backbone.{tower}." for tower in TUNED[anchor])  # pyright: ignore[reportAttributeAccessIssue]

    def frozen(self, side: FrozenSide) -> Frozen | None:
        """The unit features (B, D) of the anchor, "text" or "image": the other tower is all that a step runs."""
        if side != self.anchor:
            return None
        head = f"{Tat.__module__}:{Tat.__name__} {side}\n"
        if side == "text":
            key = self.fingerprint(("backbone.text.",), f"{head}{self.backbone.reading()}\n")
            return Frozen(key, None, lambda texts: self.encode_text(texts)[:, 0])
        plain = self.transform("gallery")
        key = self.fingerprint(("backbone.image.",), head + plain.spec)
        return Frozen(key, plain, lambda images: self.encode_gallery(images)[:, 0])

    def kept(self, name: str) -> bool:
        """A checkpoint holds LoRA alone; the rest is the backbone's."""
        return ".lora_" in name

    def loss(self, batch: dict[str, object]) -> dict[str, Tensor]:
        """L_I2T + L_T2I of {"pixels": uint8 (B,3,S,S) or "image": (B,D)}, {"texts": B strings or "text": (B,D)}.

        Returns:
            The loss, and "gap", the distance between the centroids of the batch's unit features.
        """
        device = next(self.parameters()).device
        image, text = batch.get("image"), batch.get("text")
        if image is None:
            pixels = cast(Tensor, batch["pixels"]).to(device)
            image = self.encode_gallery(self.transform("gallery").normalise(pixels))[:, 0]
        if text is None:
            text = self.encode_text(cast(Sequence[str], batch["texts"]))[:, 0]
        image, text = cast(Tensor, image).to(device).float(), cast(Tensor, text).to(device).float()
        image, text = gathered(image), gathered(text)
        with torch.autocast(device.type, enabled=False):
            loss = symmetric_contrastive(image, text, 1 / self.temperature)
        gap = (image.detach().mean(0) - text.detach().mean(0)).norm()
        return {"loss": loss, "gap": gap}

    def merged_state(self) -> dict[str, Tensor]:
        """The backbone's tensors under their plain names, LoRA added in: what a supervised method may start from."""
        return lora.merged_state(self.backbone)

    def merge(self) -> Backbone:
        """A copy of the backbone with LoRA added in and gone: the same features, at the speed of the plain towers."""
        return lora.merged(self.backbone)

    def save_adapter(self, folder: Path | str) -> None:
        """Write LoRA as peft does, so that `peft.PeftModel.from_pretrained` puts it onto transformers' own class."""
        lora.save(self.backbone, Path(folder), self.lora, TUNED[self.anchor])

    def load_adapter(self, folder: Path | str) -> None:
        """Read what `save_adapter` or peft wrote.

        Raises:
            ComposirError: No adapter lies there, or one of another rank, alpha, anchor or backbone.
        """
        lora.load(self.backbone, Path(folder), self.lora, TUNED[self.anchor])
