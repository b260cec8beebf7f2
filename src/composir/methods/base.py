"""What every method offers: encode the gallery, encode the reference once, compose it with many texts."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from composir.backbones.base import Backbone
from composir.backbones.transform import Transform
from composir.errors import ComposirError

Side = Literal["gallery", "reference"]


class Method(nn.Module):
    """One way to answer (reference, text) with an embedding that is compared to gallery embeddings by max-sim.

    Attributes:
        name: The plug-in name, equal to what a user types.
        trains_on: Which data `loss` takes.
        tuned: Prefixes of backbone tensors that training changes, hence that a checkpoint must hold.
        gallery_side: Prefixes of the tensors that `encode_gallery` reads: they make the gallery key.
        reads: What `compose` takes account of; all but two baselines read both.
        controls: Keyword arguments that `compose` takes beside reference and texts, e.g. ("alpha",).
    """

    name: ClassVar[str]
    trains_on: ClassVar[Literal["nothing", "pairs", "triplets"]] = "nothing"
    tuned: ClassVar[tuple[str, ...]] = ()
    gallery_side: ClassVar[tuple[str, ...]] = ("backbone.image.",)
    reads: ClassVar[tuple[Literal["reference", "text"], ...]] = ("reference", "text")
    controls: ClassVar[tuple[str, ...]] = ()

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone

    def transform(self, side: Side, train: bool = False) -> Transform:  # noqa: ARG002  (asymmetric methods use it)
        """The picture -> pixels map of one side."""
        return self.backbone.transform(train)

    @abstractmethod
    def encode_gallery(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T D"]:
        """Unit vectors of gallery images."""

    @abstractmethod
    def encode_reference(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B R C"]:
        """Everything `compose` needs of a reference: computed once, composed with many texts."""

    @abstractmethod
    def compose(
        self, reference: Float[Tensor, "B R C"], texts: Sequence[str], *args: Any, **controls: Any
    ) -> Float[Tensor, "B S D"]:
        """Unit query vectors of (reference, text); `controls` are those the class names."""

    def loss(self, batch: dict[str, object]) -> dict[str, Tensor]:  # noqa: ARG002
        """{"loss": total, further parts}; only for methods that train."""
        raise ComposirError(f"method {self.name!r} has nothing to train; methods that train say so in `trains_on`")

    def forward(self, batch: dict[str, object]) -> dict[str, Tensor]:
        """The loss; under this name so that wrappers for several devices can stand around a method."""
        return self.loss(batch)

    def train(self, mode: bool = True) -> Method:
        """Switch to training; parts with only frozen parameters stay in eval mode, so that nothing frozen drifts."""
        super().train(mode)
        for module in self.modules():
            parameters = list(module.parameters())
            # One without any, as a dropout, goes with the part it stands in.
            if mode and parameters and not any(p.requires_grad for p in parameters):
                module.train(False)
        return self

    def parameter_groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Trainable parameters for the optimiser: weight decay on matrices only, not on gains, biases and scales."""
        trainable = [p for p in self.parameters() if p.requires_grad]
        decay = [p for p in trainable if p.ndim >= 2]
        rest = [p for p in trainable if p.ndim < 2]
        return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]

    def gallery_key(self) -> str:
        """Fingerprint of everything a gallery embedding depends on: two methods of one key share one gallery.

        Hashes the class that defines `encode_gallery`, the gallery transform and the tensors under `gallery_side`.
        """
        digest = hashlib.sha256()
        definer = next(c for c in type(self).__mro__ if "encode_gallery" in vars(c))
        digest.update(f"{definer.__module__}:{definer.__name__}\n{self.transform('gallery').spec}\n".encode())
        read = sorted((name, own) for name, own in self.state_dict().items() if name.startswith(self.gallery_side))
        with ThreadPoolExecutor() as pool:  # hashing lets other threads run
            for (tensor_name, tensor), own in zip(read, pool.map(_digest, (tensor for _, tensor in read)), strict=True):
                digest.update(f"{tensor_name} {tensor.dtype} {tuple(tensor.shape)} ".encode() + own)
        return digest.hexdigest()[:16]


def _digest(tensor: Tensor) -> bytes:
    # As bytes, because numpy has no bfloat16.
    return hashlib.sha256(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data).digest()
