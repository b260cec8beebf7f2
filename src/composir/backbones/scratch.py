"""Fresh backbones to be trained from nothing, by family; what `[backbone] name = "scratch"` of a run file builds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from composir.backbones.base import Backbone
from composir.plugins import check_arguments, load_object, nearest

# family -> the class whose `from_scratch` builds it.
FAMILIES = {
    "clip": "composir.backbones.clip:ClipBackbone",
    "blip": "composir.backbones.blip:BlipBackbone",
}


def fresh_backbone(corpus_texts: Sequence[str], arguments: Mapping[str, Any], seed: int = 0) -> Backbone:
    """A backbone with random weights and a tokenizer learnt from the corpus.

    Args:
        corpus_texts: What the tokenizer learns from.
        arguments: "family" ("clip" if absent, or "blip") and the keywords of that family's `from_scratch`.
        seed: Fixes the weights.

    Raises:
        ComposirError: Unknown family or argument; the nearest known ones are listed.
    """
    family = str(arguments.get("family", "clip"))
    if family not in FAMILIES:
        raise nearest(family, FAMILIES, "family of a scratch backbone")
    kind: Any = load_object(FAMILIES[family], "backbone")
    sizes = {key: value for key, value in arguments.items() if key != "family"}
    check_arguments(kind.from_scratch, "backbone 'scratch'", sizes, ("corpus_texts", "seed"))
    return kind.from_scratch(corpus_texts, seed=seed, **sizes)
