"""Salesforce's own BLIP files, as `model_base.pth`, into a folder that `BlipBackbone` and transformers read.

Paper: Li et al., "BLIP", ICML 2022; the names of the tensors are those of its public code.
Differs from that code: the learnt temperature is kept as ln of its inverse; what retrieval does not need is left out.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import BlipForImageTextRetrieval

from composir.backbones.base import Source
from composir.backbones.blip import CONTEXT, BlipBackbone, blip_config, blip_transform
from composir.backbones.tokenizer import TextTokenizer
from composir.errors import ComposirError

VOCABULARY = "google-bert/bert-base-uncased"
HEAD = 64  # channels of one attention head, in every BLIP

# What retrieval leaves out -> how a report calls it. The first that fits counts.
DROPPED = {
    r"(visual_encoder|vision_proj|text_encoder|text_proj)_m\.": "momentum copies",
    r"(image|text|idx)_queue$|queue_ptr$|ptr_queue$": "queues",
    r"text_decoder\.": "decoder",
    r".*\.position_ids$": "position counters",
    r"temp$": "temperature (kept as the logit scale)",
}
# The original's spelling -> transformers', one after the other; only under visual_encoder.
RENAMED = (
    (r"^visual_encoder\.cls_token$", "vision_model.embeddings.class_embedding"),
    (r"^visual_encoder\.pos_embed$", "vision_model.embeddings.position_embedding"),
    (r"^visual_encoder\.patch_embed\.proj\.", "vision_model.embeddings.patch_embedding."),
    (r"^visual_encoder\.norm\.", "vision_model.post_layernorm."),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.proj\.", r"vision_model.encoder.layers.\1.self_attn.projection."),
    (r"^visual_encoder\.blocks\.(\d+)\.attn\.", r"vision_model.encoder.layers.\1.self_attn."),
    (r"^visual_encoder\.blocks\.(\d+)\.norm([12])\.", r"vision_model.encoder.layers.\1.layer_norm\2."),
    (r"^visual_encoder\.blocks\.(\d+)\.", r"vision_model.encoder.layers.\1."),
)


@dataclass(frozen=True, slots=True)
class Conversion:
    """What became of a file: tensors kept, tensors left out by kind, and the side of the images in pixels."""

    kept: int
    dropped: dict[str, int]
    image_size: int


def convert_blip(
    source: Path, target: Path, image_size: int | None = None, vocabulary: Path | None = None
) -> Conversion:
    """Write the folder `target` from an original checkpoint.

    Args:
        source: The .pth or .safetensors file; a .pth is read as tensors only, code in it is never run.
        target: New or empty.
        image_size: Side of the input, 224 or 384 as published; the file's own by default. Positions are interpolated.
        vocabulary: BERT's vocab.txt; from the Hugging Face cache or hub if not given.

    Raises:
        ComposirError: A file that cannot be read, names that are missing or unknown (all are listed), or no vocabulary.
    """
    if target.exists() and any(target.iterdir()):
        raise ComposirError(f"{target} is not empty; give a new folder")
    found = read_tensors(source)
    dropped = Counter(kind for name in found if (kind := _dropped(name)))
    tensors = {renamed(name): tensor for name, tensor in found.items() if not _dropped(name)}
    tokenizer = TextTokenizer.bert(_vocabulary(vocabulary), CONTEXT)
    config = _architecture(source, tensors, tokenizer)
    if "temp" in found:
        config.logit_scale_init_value = -math.log(float(found["temp"]))
    model = BlipForImageTextRetrieval(config)
    wanted = model.state_dict()
    shapes = {name for name in wanted.keys() & tensors.keys() if wanted[name].shape != tensors[name].shape}
    troubles = {
        "missing": sorted(wanted.keys() - tensors.keys()),
        "unknown": sorted(tensors.keys() - wanted.keys()),
        "of another shape": sorted(shapes),
    }
    if any(troubles.values()):
        told = "; ".join(f"{what}: {', '.join(names)}" for what, names in troubles.items() if names)
        raise ComposirError(f"{source} is no BLIP with a matching head; {told}")
    model.load_state_dict(tensors)
    transform = blip_transform(int(config.vision_config.image_size))
    backbone = BlipBackbone(model, tokenizer, transform, Source(source.name, source.name, "local"))
    if image_size is not None:
        backbone.resize(image_size)
    backbone.save_pretrained(target)
    return Conversion(len(tensors), dict(dropped), backbone.image_size)


def read_tensors(source: Path) -> dict[str, Tensor]:
    """The tensors of a .safetensors or .pth file by name, also where they lie one level down, as under "model".

    Raises:
        ComposirError: The file cannot be read without running code in it, or holds no or several sets of tensors.
    """
    try:
        if source.suffix == ".safetensors":
            return load_file(source)
        content: Any = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and safetensors raise many kinds
        # torch's own words propose to run the code that such a file may hold.
        told = "it is no .safetensors file and no .pth file of tensors alone, or it is cut off"
        raise ComposirError(f"{source} cannot be read as tensors: {told}; fetch it again") from error
    sets = [found for found in [content, *(content.values() if isinstance(content, Mapping) else ())] if _named(found)]
    if len(sets) != 1:
        raise ComposirError(f"{source} holds {len(sets)} sets of named tensors; one is needed")
    return dict(sets[0])


def renamed(name: str) -> str:
    """The name in transformers of a tensor of the original; texts, projections and the matching head keep theirs."""
    for pattern, spelling in RENAMED:
        name = re.sub(pattern, spelling, name)
    return name


def _named(content: object) -> bool:
    return isinstance(content, Mapping) and any(isinstance(value, Tensor) for value in content.values())


def _dropped(name: str) -> str:
    return next((kind for pattern, kind in DROPPED.items() if re.match(pattern, name)), "")


def _architecture(source: Path, tensors: Mapping[str, Tensor], tokenizer: TextTokenizer) -> Any:
    """The sizes, as the tensors tell them."""
    try:
        patch = tensors["vision_model.embeddings.patch_embedding.weight"]
        positions = tensors["vision_model.embeddings.position_embedding"]
        words = tensors["text_encoder.embeddings.word_embeddings.weight"]
        text = {
            "hidden_size": words.shape[1],
            "intermediate_size": tensors["text_encoder.encoder.layer.0.intermediate.dense.weight"].shape[0],
            "max_position_embeddings": tensors["text_encoder.embeddings.position_embeddings.weight"].shape[0],
            "vocab_size": words.shape[0],
            "num_hidden_layers": _layers(tensors, "text_encoder.encoder.layer."),
            "num_attention_heads": max(1, words.shape[1] // HEAD),
        }
        vision = {
            "hidden_size": patch.shape[0],
            "intermediate_size": tensors["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
            "patch_size": patch.shape[-1],
            "image_size": patch.shape[-1] * round((positions.shape[1] - 1) ** 0.5),
            "num_hidden_layers": _layers(tensors, "vision_model.encoder.layers."),
            "num_attention_heads": max(1, patch.shape[0] // HEAD),
            "layer_norm_eps": 1e-6,  # the original's; transformers' default is another
        }
        return blip_config(text, vision, tokenizer, dim=tensors["vision_proj.weight"].shape[0])
    except KeyError as error:
        raise ComposirError(f"{source} is no BLIP with a matching head; missing: {error.args[0]}") from error


def _layers(tensors: Mapping[str, Tensor], prefix: str) -> int:
    return len({name[len(prefix) :].split(".")[0] for name in tensors if name.startswith(prefix)})


def _vocabulary(path: Path | None) -> list[str]:
    """The lines of BERT's vocab.txt."""
    if path is None:
        from huggingface_hub import hf_hub_download

        try:
            path = Path(hf_hub_download(VOCABULARY, "vocab.txt"))
        except Exception as error:  # hub, network and disk have no common base class
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ComposirError(
                f"BERT's vocab.txt cannot be had from {VOCABULARY} ({reason}); give the file by --vocabulary"
            ) from error
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ComposirError(f"{path} cannot be read ({error}); give BERT's vocab.txt") from error
