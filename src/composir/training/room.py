"""Room for decoded pictures: memory, or an unnamed file whose disk space is taken before the first of them."""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from composir.errors import ComposirError

IN_MEMORY = 8 * 2**30  # bytes; more of them lie in a file


def room(shape: tuple[int, int, int, int], spill: Path | None) -> UInt8[Tensor, "N 3 S S"]:
    """An unfilled tensor; one above `IN_MEMORY` is a file that is gone with it.

    Args:
        shape: (N, 3, S, S).
        spill: Folder of that file, made if it is not there; the system's for temporary files if None.

    Raises:
        ComposirError: The folder cannot be written or its disk has no such room; how much is needed is told.
    """
    size = math.prod(shape)
    if size <= IN_MEMORY:
        return torch.empty(shape, dtype=torch.uint8)
    folder = Path(tempfile.gettempdir()) if spill is None else spill
    try:
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < size:
            raise _refused(shape, folder, f"{free / 2**30:.1f} GiB are free")
        with tempfile.TemporaryFile(dir=folder) as file:  # it lives on without a name for as long as it is mapped
            if hasattr(os, "posix_fallocate"):
                # Else the file has holes, and a disk that fills up later ends the process by SIGBUS, without a word.
                os.posix_fallocate(file.fileno(), 0, size)
            return torch.from_numpy(np.memmap(file, dtype=np.uint8, shape=shape))
    except OSError as error:
        raise _refused(shape, folder, error.strerror or str(error)) from error


def _refused(shape: tuple[int, int, int, int], folder: Path, why: str) -> ComposirError:
    return ComposirError(
        f"{shape[0]:,} decoded pictures need {math.prod(shape) / 2**30:.1f} GiB on disk in {folder} ({why}); make room "
        "there, or name a folder on another disk by [features] folder or $COMPOSIR_CACHE"
    )
