"""Image and text towers, by name, folder or hub repository; importing this package does not import torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from composir.backbones import catalog
from composir.backbones.catalog import names
from composir.errors import ComposirError
from composir.plugins import load_object, nearest

if TYPE_CHECKING:
    from composir.backbones.base import Attention, Backbone

__all__ = ["load_backbone", "names"]


def load_backbone(name: str, revision: str | None = None, attention: Attention | None = None) -> Backbone:
    """Load a backbone, in eval mode.

    Args:
        name: A short name (see `names`), a local folder, or a hub repository "org/repo", also "org/repo@revision".
        revision: Hub commit, tag or branch; a short name brings its own, otherwise "main". "seed-7" picks the random
            weights of a tiny one, so that `load_backbone(source.name, source.revision)` loads the same again.
        attention: Kernel, if not the backbone's own: "sdpa" is made for inference and GPUs, "eager" compiles to faster
            training on a CPU.

    Raises:
        ComposirError: Nothing of that name, or its files are missing; the message says where they may be put.
    """
    backbone = _loaded(name, revision)
    if attention is not None:
        backbone.use_attention(attention)
    return backbone


def _loaded(name: str, revision: str | None) -> Backbone:
    """The backbone as it comes."""
    if name in catalog.TINY:
        spec, arguments = catalog.TINY[name]
        tiny: Any = load_object(spec, "backbone")
        seed = (revision or "seed-0").removeprefix("seed-")
        if not seed.isdecimal():
            raise ComposirError(f"revision {revision!r} of {name!r} is not a seed; write it as 'seed-0', 'seed-1', ...")
        return tiny.tiny(seed=int(seed), **arguments)

    from composir.backbones import hub, weights
    from composir.backbones.base import Source

    place, revision = _locate(name, revision)
    # A short name means its pinned commit, even where a folder of the repository's name happens to lie.
    folder = hub.find_repository(place, revision) if name in catalog.VARIANTS else hub.find_folder(place, revision)
    model_type = str(weights.read_json(folder / "config.json").get("model_type"))
    if model_type not in catalog.MODEL_TYPES:
        known = ", ".join(sorted(catalog.MODEL_TYPES))
        raise ComposirError(f"{folder}: model_type {model_type!r} in config.json is not supported; known: {known}")
    kind: Any = load_object(catalog.MODEL_TYPES[model_type], "backbone")
    backbone: Backbone = kind.from_pretrained(folder)
    backbone.source = Source(name, name if name in catalog.EMBEDDED else place, revision)
    return backbone


def _locate(name: str, revision: str | None) -> tuple[str, str]:
    """(folder or hub repository, revision) of any name but the tiny ones."""
    if name in catalog.VARIANTS:
        return catalog.VARIANTS[name].repo, revision or catalog.VARIANTS[name].revision
    if name in catalog.EMBEDDED:
        folder = catalog.EMBEDDED[name]
        if not folder.is_dir():
            raise ComposirError(
                f"backbone {name!r} is not in this installation: {folder} is missing; reinstall composir"
            )
        return str(folder), "embedded"
    if Path(name).expanduser().is_dir():
        return name, "local"
    if "/" not in name:
        raise nearest(name, names(), "backbone (nor a folder or 'org/repo')")
    repo, _, tag = name.partition("@")
    return repo, revision or tag or "main"
