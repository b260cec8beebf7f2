"""Everything a number depends on, written down beside it."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from composir.backbones.transform import Transform
from composir.checkpoint import arguments_of, loaded_from, plain
from composir.methods.base import Method
from composir.types import Task

TIE_RULE = (
    "equal scores are ranked in gallery order (within subsets in subset order); targets that tie with another "
    "picture are counted as tied"
)
INTERVAL = "95 %, percentile bootstrap over queries, 2,000 draws, seed 0; Wilson's where all queries score 0, or all 1"
EMBEDDINGS = "gallery in float16, as an index stores it; queries and scores in float32"


def protocol_of(
    method: Method,
    baselines: Mapping[str, Method],
    tasks: Sequence[Task],
    *,
    data: str,
    split: str,
    controls: Mapping[str, Any],
    missing: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The protocol block of a result, as it goes into JSON.

    Args:
        method: The evaluated one.
        baselines: Those beside it.
        tasks: As they were asked: without the pictures that are missing.
        data: Name of the data set.
        split: Which part of it.
        controls: What `compose` was given.
        missing: What had to be left out, or None where nothing was.
    """
    return {
        "data": data,
        "split": split,
        "tasks": [task_protocol(task) for task in tasks],
        "method": {"name": method.name, "class": _class(method), "arguments": arguments_of(method)},
        "controls": {name: plain(value) for name, value in controls.items()},
        "baselines": {name: arguments_of(baseline) for name, baseline in baselines.items()},
        "backbone": asdict(method.backbone.source),
        "preprocessing": {side: _transform(method.transform(side)) for side in ("gallery", "reference")},
        "gallery_key": method.gallery_key(),
        "weights": weights_hash(method),
        "checkpoint": _checkpoint(method),
        "embeddings": EMBEDDINGS,
        "partial": missing is not None,
        "missing": missing or {"images": 0, "queries": 0, "image_ids": {}, "query_ids": {}, "unlisted": ""},
        "ties": TIE_RULE,
        "intervals": INTERVAL,
        "versions": {
            **{name: version(name) for name in ("composir", "torch", "transformers", "numpy", "pillow")},
            "python": platform.python_version(),
            "device": _device(method),
        },
    }


def task_protocol(task: Task) -> dict[str, Any]:
    """How one task is asked.

    `gallery_ids` fingerprints the gallery's ids in their order: two numbers of one task compare only if it agrees.
    """
    ids = hashlib.sha256("\n".join(task.gallery).encode()).hexdigest()
    return {
        "name": task.name,
        "gallery": {"name": task.gallery_name, "size": len(task.gallery), "ids": ids[:16]},
        "queries": len(task.queries),
        "drop_reference": task.drop_reference,
        "own_candidates": task.own_candidates,
        "caption_join": task.wording.join,
        "prompt": task.wording.template,
        "shared_concept": "{shared_concept}" in task.wording.template,
    }


def weights_hash(method: Method) -> str:
    """SHA-256 over every tensor of the method with its name, type and shape: what `gallery_key` is to one side."""
    digest = hashlib.sha256()
    for name, tensor in sorted(method.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # As bytes, because numpy has no bfloat16.
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return f"sha256:{digest.hexdigest()}"


def _transform(transform: Transform) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(transform).items()}


def _checkpoint(method: Method) -> dict[str, Any] | None:
    origin = loaded_from(method)
    if origin is None:
        return None
    return {"file": str(origin.path), "sha256": origin.sha256, "run": origin.run, "step": origin.step}


def _class(method: Method) -> str:
    return f"{type(method).__module__}:{type(method).__qualname__}"


def _device(method: Method) -> str:
    device = next(method.parameters()).device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
