"""What every method offers: encode the gallery, encode the reference once, compose it with many texts."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from composir.backbones.base import Backbone
from composir.backbones.transform import Transform
from composir.errors import ComposirError

Side = Literal["gallery", "reference"]
FrozenSide = Literal["reference", "target", "image", "text", "reversed_text"]


@dataclass(frozen=True)
class Frozen:
    """What no training step changes of one side: computed once, before training, and kept in a cache on disk.

    Attributes:
        key: Fingerprint of everything the result depends on beside the picture or text itself: the tensors, the
            transform, the computation. It names the cache; see `Method.fingerprint`.
        transform: The picture -> pixels map, without any random step; None for texts.
        run: Normalised pixels (B, 3, S, S) on the method's device, or a list of B texts -> (B, ...), row by row: a row
            does not depend on the others. Called in eval mode and without gradients.
    """

    key: str
    transform: Transform | None
    run: Callable[[Any], Tensor]


class Method(nn.Module):
    """One way to answer (reference, text) with an embedding that is compared to gallery embeddings by max-sim.

    Attributes:
        name: The plug-in name, equal to what a user types.
        trains_on: Which data `loss` takes.
        tuned: Prefixes of backbone tensors that training changes, hence that a checkpoint must hold.
        gallery_side: Prefixes of the tensors that `encode_gallery` reads: they make the gallery key.
        reference_side: Prefixes of the tensors that `encode_reference` reads; "" stands for all. Validation encodes
            again only what training has changed, and keeps the rest on disk under `reference_key`.
        checkpointing: Regular expressions, each for the whole name of modules whose activations may be computed again
            in the backward pass instead of being kept, where a run says `checkpointing = true`.
        reads: What `compose` takes account of; all but two baselines read both.
        controls: Keyword arguments that `compose` takes beside reference and texts, e.g. ("alpha",).
        bidirectional: Whether it has learnt the way back and offers `compose_reversed`.
        inherited: Tensors that it would leave to its backbone, but that an earlier stage changed; set when a method
            takes an earlier one's weights over.
    """

    name: ClassVar[str]
    trains_on: ClassVar[Literal["nothing", "pairs", "triplets"]] = "nothing"
    tuned: ClassVar[tuple[str, ...]] = ()
    gallery_side: ClassVar[tuple[str, ...]] = ("backbone.image.",)
    reference_side: ClassVar[tuple[str, ...]] = ("",)
    checkpointing: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[tuple[Literal["reference", "text"], ...]] = ("reference", "text")
    controls: ClassVar[tuple[str, ...]] = ()
    bidirectional: bool = False
    inherited: frozenset[str] = frozenset()

    def __init__(self, backbone: Backbone):
        super().__init__()
        self.backbone = backbone

    def transform(self, side: Side, train: bool = False) -> Transform:  # noqa: ARG002  (asymmetric methods use it)
        """The picture -> pixels map of one side."""
        return self.backbone.transform(train)

    def unread(self, text: str) -> str:
        """The end of a query's text that its text tower does not read; "" where it reads all."""
        return self.backbone.unread(text)

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

    def compose_reversed(
        self,
        reference: Float[Tensor, "B R C"],  # noqa: ARG002  (methods that have learnt the way back use them all)
        texts: Sequence[str],  # noqa: ARG002
        *args: Any,  # noqa: ARG002
        **controls: Any,  # noqa: ARG002
    ) -> Float[Tensor, "B S D"]:
        """Unit query vectors that look for the picture which, changed as each text says, gives an image.

        `reference` is what `encode_reference` makes of the images that would be the targets.

        Raises:
            ComposirError: The method has not learnt the way back; `bidirectional` says so.
        """
        raise ComposirError(f"method {self.name!r} has not learnt the way back; `composir.reverse` asks it forwards")

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

    def frozen(self, side: FrozenSide) -> Frozen | None:  # noqa: ARG002  (methods with a frozen tower use it)
        """What no training step changes of a side, if anything; then batches hold its result instead of the input.

        Args:
            side: "reference", "target", "text" and "reversed_text" of triplets, "image" and "text" of pairs. Features
                of texts stand in a batch under these names, beside "texts" and "reversed_texts".
        """
        return None

    def first_stage(self) -> Mapping[str, Any]:
        """What an earlier stage must have been trained with for this one to stand on it: attribute -> value.

        Not empty where a run without an `init` would train upon a tower that no stage has fitted.
        """
        return {}

    def kept(self, name: str) -> bool:
        """Whether a checkpoint holds the tensor of this name: all but what the backbone's own weights give anyway."""
        return not name.startswith("backbone.") or name.startswith(self.tuned)

    def parameter_groups(self, weight_decay: float) -> list[dict[str, object]]:
        """Trainable parameters for the optimiser: weight decay on matrices only, not on gains, biases and scales.

        A group may hold, beside torch's own keys, "lr_scale": its learning rate in multiples of the run's, and
        "schedule": "constant", which exempts it from the run's schedule, warm-up included.
        """
        trainable = [p for p in self.parameters() if p.requires_grad]
        decay = [p for p in trainable if p.ndim >= 2]
        rest = [p for p in trainable if p.ndim < 2]
        return [{"params": decay, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]

    def gallery_key(self) -> str:
        """Fingerprint of everything a gallery embedding depends on: two methods of one key share one gallery.

        Hashes the class that defines `encode_gallery`, the gallery transform and the tensors under `gallery_side`.
        """
        definer = next(c for c in type(self).__mro__ if "encode_gallery" in vars(c))
        head = f"{definer.__module__}:{definer.__name__}\n{self.transform('gallery').spec}\n"
        return self.fingerprint(self.gallery_side, head)

    def reference_key(self) -> str:
        """Likewise of everything that `encode_reference` depends on; where that is an argument too, override it.

        Hashes the class that defines `encode_reference`, the reference transform and the tensors under
        `reference_side`.
        """
        definer = next(c for c in type(self).__mro__ if "encode_reference" in vars(c))
        head = f"{definer.__module__}:{definer.__name__} reference\n{self.transform('reference').spec}\n"
        return self.fingerprint(self.reference_side, head)

    def fingerprint(self, prefixes: tuple[str, ...], head: str) -> str:
        """16 hexadecimal digits of the tensors whose names begin so, and of `head`, which says what else matters."""
        return fingerprint({name: own for name, own in self.state_dict().items() if name.startswith(prefixes)}, head)


def fingerprint(tensors: Mapping[str, Tensor], head: str = "") -> str:
    """16 hexadecimal digits of `head` and of names, types, shapes and bytes of tensors, whatever their order."""
    digest = hashlib.sha256(head.encode())
    read = sorted(tensors.items(), key=lambda pair: pair[0])
    with ThreadPoolExecutor() as pool:  # hashing lets other threads run
        for (name, tensor), own in zip(read, pool.map(_digest, (tensor for _, tensor in read)), strict=True):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode() + own)
    return digest.hexdigest()[:16]


def _digest(tensor: Tensor) -> bytes:
    # As bytes, because numpy has no bfloat16.
    return hashlib.sha256(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data).digest()
