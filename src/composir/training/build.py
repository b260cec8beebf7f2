"""What a run file names, built: the backbone, the method over it, and the weights it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from composir import checkpoint
from composir.backbones import load_backbone, names
from composir.backbones.base import Backbone
from composir.backbones.scratch import fresh_backbone
from composir.config import RunConfig
from composir.datasets.base import Dataset
from composir.errors import ComposirError
from composir.methods import load_method
from composir.methods.base import Method
from composir.plugins import check_arguments, nearest

SCRATCH = "scratch"


def build_backbone(config: RunConfig, texts: Sequence[str]) -> Backbone:
    """The backbone a run starts from: `name = "scratch"` makes a fresh one, any other name is loaded."""
    name, arguments = config.backbone.name, config.backbone.arguments
    if name == SCRATCH:
        return fresh_backbone(texts, arguments, seed=config.train.seed)
    if name not in names() and "/" not in name and not Path(name).expanduser().is_dir():
        raise nearest(name, [SCRATCH, *names()], "backbone (nor a folder or 'org/repo')")
    check_arguments(load_backbone, f"backbone {name!r}", arguments, ("name",))
    return load_backbone(name, **arguments)


def build_method(config: RunConfig, dataset: Dataset) -> Method:
    """The method of a run, with the weights of its first stage where `init` names one.

    Raises:
        ComposirError: An unknown name or argument, a method that trains on nothing, or an `init` that does not fit, or
            is missing though the method stands on an earlier stage; what is allowed is named.
    """
    if config.init:
        checkpoint.locate(config.init)  # before anything heavy is loaded
    texts = _corpus(dataset) if config.backbone.name == SCRATCH else []
    method = load_method(config.method.name, build_backbone(config, texts), **config.method.arguments)
    if method.trains_on == "nothing":
        raise ComposirError(
            f"method {method.name!r} trains on 'nothing': it needs no run, `composir eval` takes it as it is"
        )
    wanted = method.first_stage()
    if wanted and not config.init:
        told = ", ".join(f"{name} = {checkpoint.plain(value)!r}" for name, value in wanted.items())
        raise ComposirError(
            f'this run of method {method.name!r} stands on an earlier stage and names none: give init = "FOLDER" of a '
            f"finished run of its first stage, one with {told}"
        )
    if config.init:
        checkpoint.take_over(method, config.init)
    return method


def _corpus(dataset: Dataset) -> list[str]:
    """What a fresh tokenizer learns its words from."""
    captions = [caption for pair in dataset.pairs("train") for caption in pair.captions]
    return captions or [caption for query in dataset.triplets("train") for caption in query.captions]
