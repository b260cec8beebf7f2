"""Methods whose weights are not those they began with, as a training leaves them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from composir import checkpoint
from composir.backbones import load_backbone
from composir.methods import load_method
from composir.methods.base import Method
from composir.types import Hit


def changed(method: Method, seed: int = 1) -> Method:
    """As after training: everything a checkpoint holds has moved."""
    draw = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in method.state_dict().items():
            if method.kept(name) and tensor.is_floating_point():
                tensor += 0.1 * torch.randn(tensor.shape, generator=draw)
    return method.eval()


def ids(hits: Iterable[Hit]) -> list[str]:
    """Of hits, in their order."""
    return [hit.id for hit in hits]


def trained(path: Path, name: str = "contrastive", **arguments: Any) -> Method:
    """A checkpoint of a method whose weights have moved, read back."""
    method = changed(load_method(name, load_backbone("clip-tiny"), **arguments))
    checkpoint.save(path, method, arguments=arguments)
    return checkpoint.load(path)
