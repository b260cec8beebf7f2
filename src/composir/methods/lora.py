"""LoRA on a backbone's towers through peft: put in, merged, and read and written in peft's own format.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.
Differs from the paper: nothing; beside W stands B A scaled by alpha / r, with A random and B zero at first.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from composir.backbones.base import Backbone, Source
from composir.errors import ComposirError
from composir.tensors import save_file

Tower = Literal["image", "text"]

# The part of a tower that holds its blocks, in transformers' names, and what its query and value layers are called:
# BLIP has query, key and value of a picture in one matrix.
BLOCKS: Mapping[Tower, str] = {"image": "vision_model", "text": "text_(?:model|encoder)"}
TARGETS: Mapping[Tower, tuple[str, ...]] = {
    "image": ("q_proj", "v_proj", "qkv"),
    "text": ("q_proj", "v_proj", "query", "value"),
}
WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
ADAPTER = "default"  # peft's name for the only one
# What of a config decides what its weights mean.
MEANING = (
    "peft_type", "r", "lora_alpha", "bias", "use_rslora", "use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lora:
    """What stands beside the weights.

    Attributes:
        rank: r, width of the low-rank product, 1 or more.
        alpha: The product counts alpha / rank times.
        dropout: Share of the input that the product does not see in training, 0..1.
        targets: Names of the linear layers that get one, in the towers that are tuned; `TARGETS` if not given.
    """

    rank: int = 16
    alpha: int = 16
    dropout: float = 0.1
    targets: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.rank < 1 or self.alpha <= 0 or not 0 <= self.dropout < 1:
            told = f"rank = {self.rank}, lora_alpha = {self.alpha}, dropout = {self.dropout}"
            raise ComposirError(f"{told} is no LoRA; give rank >= 1, lora_alpha > 0 and 0 <= dropout < 1")

    def pattern(self, tower: Tower) -> str:
        """The whole names of the target layers, as peft reads a text: a regular expression."""
        names = "|".join(name.replace(".", r"\.") for name in self.targets or TARGETS[tower])
        # Cross-attention is no part of the joint space.
        return rf".*{BLOCKS[tower]}\.(?!.*crossattention).*\.(?:{names})"

    def config(self, towers: Sequence[Tower], source: Source | None = None) -> Any:
        """The same as peft has it, for some towers; `source` names the model it belongs to."""
        return peft().LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            lora_dropout=self.dropout,
            bias="none",
            target_modules="|".join(self.pattern(tower) for tower in towers),
            base_model_name_or_path=source.repo if source else None,
            revision=source.revision if source else None,
        )


def peft() -> Any:
    """The library, imported where it is needed: nobody else waits for it.

    Raises:
        ComposirError: It is missing.
    """
    try:
        import peft as library
    except ImportError as error:
        raise ComposirError("LoRA needs the train extra: pip install 'composir[train]'") from error
    return library


def put_in(module: nn.Module, tower: Tower, lora: Lora) -> None:
    """Wrap the target layers of one tower in place; everything but the new matrices is frozen.

    Raises:
        ComposirError: No layer has such a name; those that there are are listed.
    """
    library = peft()
    try:
        library.inject_adapter_in_model(lora.config([tower]), module, adapter_name=ADAPTER)
    except ValueError as error:
        linear = {name.rpartition(".")[2] for name, own in module.named_modules() if isinstance(own, nn.Linear)}
        raise ComposirError(
            f"no layer of the {tower} tower is called {' or '.join(lora.targets or TARGETS[tower])}; "
            f"name some of its linear layers in `targets`: {', '.join(sorted(linear))}"
        ) from error


def trainable_share(module: nn.Module) -> float:
    """Trainable parameters over all of them, the new ones counted, 0..1."""
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(size for size, trains in sizes if trains) / sum(size for size, _ in sizes)


def layers(module: nn.Module) -> dict[str, Any]:
    """The wrapped layers by name."""
    return {name: own for name, own in module.named_modules() if hasattr(own, "lora_A") and hasattr(own, "base_layer")}


def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """All tensors under the names they have without LoRA, each W beside which it stands become W + alpha / r B A."""
    wrapped, state = layers(module), {}
    for name, tensor in module.state_dict().items():
        owner, inside, leaf = name.rpartition(".base_layer.")
        if ".lora_" in name:
            continue
        if not inside:
            state[name] = tensor
        elif leaf == "weight":
            state[f"{owner}.weight"] = tensor + wrapped[owner].get_delta_weight(ADAPTER).detach().to(tensor)
        else:
            state[f"{owner}.{leaf}"] = tensor
    return state


def merged(backbone: Backbone) -> Backbone:
    """A copy without LoRA that gives the same features, in eval mode and as trainable as a loaded one.

    Its source says that its weights are not the published ones.
    """
    plain, state = copy.deepcopy(backbone), merged_state(backbone)
    for name, layer in layers(plain).items():
        plain.set_submodule(name, layer.get_base_layer())
    plain.load_state_dict(state)
    source = backbone.source
    plain.source = Source(f"{source.name}+tat", source.repo, f"{source.revision}+tat")
    return cast("Backbone", plain.requires_grad_(True).eval())


def _foreign(name: str) -> str:
    """What peft calls one of our tensors, over transformers' class of the whole model."""
    return "base_model.model." + name.removeprefix("image.").removeprefix("text.").replace(f".{ADAPTER}.", ".")


def save(backbone: Backbone, folder: Path, lora: Lora, towers: Sequence[Tower]) -> None:
    """Write the two files that peft reads onto transformers' class of this backbone."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {_foreign(n): t.detach().cpu().contiguous() for n, t in backbone.state_dict().items() if ".lora_" in n}
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    config = lora.config(towers, backbone.source)
    config.inference_mode = True
    config.save_pretrained(folder)


def load(backbone: Backbone, folder: Path, lora: Lora, towers: Sequence[Tower]) -> None:
    """Read an adapter in peft's format into the wrapped layers.

    Raises:
        ComposirError: A file is missing or broken, was made with another rank or alpha, or holds other layers; they are
            listed.
    """
    try:
        given = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        tensors = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ComposirError(f"{folder} holds no adapter ({error}); it needs {CONFIG} and {WEIGHTS}") from error
    mine = json.loads(json.dumps(lora.config(towers).to_dict(), default=sorted))
    unlike = [f"{k} = {given[k]!r}, here {mine[k]!r}" for k in MEANING if given.get(k, mine[k]) != mine[k]]
    if unlike:
        raise ComposirError(f"{folder} was made with {'; '.join(unlike)}; build the method with the same")
    own = {_foreign(name): tensor for name, tensor in backbone.state_dict().items() if ".lora_" in name}
    wrong = sorted(own.keys() ^ tensors.keys()) or sorted(k for k in own if own[k].shape != tensors[k].shape)
    if wrong:
        raise ComposirError(
            f"{folder} does not fit backbone {backbone.source.name!r} with these anchor and targets: {len(wrong)} "
            f"tensors are in one of both only or of another shape, among them {', '.join(wrong[:3])}"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(tensors[name])
