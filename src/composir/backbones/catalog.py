"""Names of backbones and where their weights lie; torch-free, so that the command line lists them at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Variant:
    """A published checkpoint: hub repository and pinned commit."""

    repo: str
    revision: str


# Commits found in public code that loads them (2026). No hub could be reached from where this table was written, so
# whether each commit holds model.safetensors is by hearsay:
#   - ViT-B/32: `main` (3d74acf9) has only a pickle; this is the repository's safetensors conversion commit.
#   - ViT-L/14@336: only a pickle was ever seen at this commit; then loading says so and names the remedy.
#   - the others: model.safetensors was seen listed at the commit, or on `main` while it was the latest one.
VARIANTS: dict[str, Variant] = {
    "clip-vit-b-32": Variant("openai/clip-vit-base-patch32", "c237dc49a33fc61debc9276459120b7eac67e7ef"),
    "clip-vit-b-16": Variant("openai/clip-vit-base-patch16", "57c216476eefef5ab752ec549e440a49ae4ae5f3"),
    "clip-vit-l-14": Variant("openai/clip-vit-large-patch14", "32bd64288804d66eefd0ccbe215aa642df71cc41"),
    "clip-vit-l-14-336": Variant("openai/clip-vit-large-patch14-336", "ce19dc912ca5cd21c8a653c79e251e808ccabcd1"),
    "clip-vit-b-32-laion2b": Variant(
        "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "1a25a446712ba5ee05982a381eed697ef9b435cf"
    ),
    "fashion-clip": Variant("patrickjohncyh/fashion-clip", "7e3ba62ce16b379a1ab479346b66f192e76f51b7"),
    # No pinned commit is known for these: `main` of repositories that have not changed for years.
    "blip-itm-base-coco": Variant("Salesforce/blip-itm-base-coco", "main"),
    "blip-itm-base-flickr": Variant("Salesforce/blip-itm-base-flickr", "main"),
    "blip-itm-large-coco": Variant("Salesforce/blip-itm-large-coco", "main"),
    "siglip-base-patch16-224": Variant("google/siglip-base-patch16-224", "7fd15f0689c79d79e38b1c2e2e2370a7bf2761ed"),
}

# Random weights, no download: name -> "module:Class" and the arguments of its `tiny`.
TINY: dict[str, tuple[str, dict[str, str]]] = {
    "clip-tiny": ("composir.backbones.clip:ClipBackbone", {"family": "clip"}),
    "siglip-tiny": ("composir.backbones.clip:ClipBackbone", {"family": "siglip"}),
    "blip-tiny": ("composir.backbones.blip:BlipBackbone", {}),
}

# Weights inside the package: name -> folder.
EMBEDDED: dict[str, Path] = {
    name: Path(__file__).parent / "embedded" / name for name in ("wardrobe-clip", "wardrobe-blip")
}

# What a folder's config.json says under "model_type" -> the class that reads it.
MODEL_TYPES: dict[str, str] = {
    "blip": "composir.backbones.blip:BlipBackbone",
    "clip": "composir.backbones.clip:ClipBackbone",
    "siglip": "composir.backbones.clip:ClipBackbone",
}


def names() -> list[str]:
    """Every short name that `load_backbone` knows, sorted."""
    return sorted([*VARIANTS, *TINY, *EMBEDDED])
