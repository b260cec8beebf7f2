"""The header of a checkpoint, and where a checkpoint lies; read without torch and without the weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from composir.errors import ComposirError

FORMAT = 1
KEY = "composir"  # of the safetensors metadata
BEST = "best.safetensors"
MOST = 100_000_000  # bytes, the limit of the safetensors format
DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16", "I64": "int64", "BOOL": "bool"}


@dataclass(frozen=True, slots=True)
class Base:
    """The backbone that a checkpoint stands on.

    Attributes:
        name, repo, revision: Its source; a local folder by its absolute path.
        rest: Fingerprint of the tensors that the checkpoint leaves to it.
    """

    name: str
    repo: str
    revision: str
    rest: str


@dataclass(frozen=True, slots=True)
class Header:
    """What a checkpoint says of itself.

    Attributes:
        method: A plug-in name, or "package.module:Class".
        arguments: Of its constructor.
        backbone: Where the rest of the weights is.
        gallery_key: Of the method with its weights.
        run: Name of the run that wrote it, or "".
        step: Optimiser steps done.
        scores: Of validation, by metric.
        versions: Of the libraries that wrote it.
        inherited: Tensors that it holds only because an earlier stage changed them.
        tensors: Name -> type and shape, as `described` tells them.
    """

    method: str
    arguments: Mapping[str, Any]
    backbone: Base
    gallery_key: str
    run: str
    step: int
    scores: Mapping[str, float]
    versions: Mapping[str, str]
    inherited: tuple[str, ...]
    tensors: Mapping[str, str]


def locate(place: Path | str) -> Path:
    """The checkpoint that a user means: a .safetensors file, or the best one of a run's folder.

    Raises:
        ComposirError: There is none.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        if not (path / BEST).is_file():
            raise ComposirError(f"{path} has no {BEST}; name the folder of a run that `composir train` has saved")
        return path / BEST
    if not path.exists():
        raise ComposirError(f"there is no {path}; name the folder of a run, or a checkpoint in it")
    if path.suffix != ".safetensors":
        raise ComposirError(f"{path} is no .safetensors file; name the folder of a run, or a checkpoint in it")
    return path


def read_header(path: Path) -> Header:
    """What a checkpoint says of itself.

    Raises:
        ComposirError: No such file, one that is cut off or no checkpoint, or one that a newer composir wrote.
    """
    tensors = _raw(path)
    metadata = tensors.pop("__metadata__", {})
    if KEY not in metadata:
        raise ComposirError(f"{path} is a safetensors file, but no checkpoint; `composir train` writes those")
    try:
        content = json.loads(metadata[KEY])
        if content["format"] > FORMAT:
            raise ComposirError(f"{path} has format {content['format']}, this composir reads {FORMAT}; update composir")
        return Header(
            method=str(content["method"]),
            arguments=dict(content["arguments"]),
            backbone=Base(**{key: str(content["backbone"][key]) for key in ("name", "repo", "revision", "rest")}),
            gallery_key=str(content["gallery_key"]),
            run=str(content["run"]),
            step=int(content["step"]),
            scores=dict(content["scores"]),
            versions=dict(content["versions"]),
            inherited=tuple(content["inherited"]),
            tensors={name: described(own["dtype"], own["shape"]) for name, own in sorted(tensors.items())},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ComposirError(f"{path} has a damaged header ({error!r}); copy or train it again") from error


def _raw(path: Path) -> dict[str, Any]:
    """The JSON object that a safetensors file begins with: its length in 8 bytes, then the text."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            content = json.loads(file.read(length)) if length <= MOST else None
            size = file.seek(0, 2) - 8 - length
    except FileNotFoundError as error:
        raise ComposirError(
            f"there is no checkpoint {path}; name the folder of a run, or a checkpoint in it"
        ) from error
    except ValueError as error:
        raise ComposirError(f"{path} is no safetensors file, or cut off; copy or train it again") from error
    if not isinstance(content, dict):
        raise ComposirError(f"{path} is no safetensors file; name the folder of a run, or a checkpoint in it")
    ends = [own["data_offsets"][1] for name, own in content.items() if name != "__metadata__"]
    if max(ends, default=0) != size:
        raise ComposirError(f"{path} is cut off: {size:,} of {max(ends, default=0):,} bytes; copy or train it again")
    return content


def described(dtype: str, shape: tuple[int, ...] | list[int]) -> str:
    """Type and shape of a tensor, e.g. "float32 (256, 768)"; the type in torch's spelling or in that of the format."""
    return f"{DTYPES.get(dtype, dtype.removeprefix('torch.'))} ({', '.join(map(str, shape))})"


def content_hash(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
