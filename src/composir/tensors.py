"""Tensors in files that others may read as far as the system's umask lets them: safetensors' own are their owner's."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from pathlib import Path

from safetensors import torch as safetensors
from torch import Tensor


def save_file(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """As `safetensors.torch.save_file`; the file has the mode that any new one gets, or had before.

    Raises:
        SafetensorError: It cannot be written.
        OSError: Likewise.
    """
    path.open("ab").close()
    mode = stat.S_IMODE(path.stat().st_mode)
    safetensors.save_file(dict(tensors), path, dict(metadata) if metadata is not None else None)
    path.chmod(mode)
