"""Reads and writes what lies in a checkpoint folder: JSON files and safetensors, through transformers but silently."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedConfig
from transformers.utils import logging as transformers_logging

from composir.errors import ComposirError
from composir.tensors import save_file


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' progress bars and load reports inside the block; the caller's settings come back."""
    bars, level = transformers_logging.is_progress_bar_enabled(), transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def load_model(kind: Any, folder: Path, attention: str = "sdpa") -> Any:
    """The transformers model in a folder that `hub.check_folder` passed; float32 whatever the storage, in eval mode.

    Args:
        kind: The transformers class, e.g. CLIPModel.
        folder: As said.
        attention: Kernel, as transformers names it.

    Raises:
        ComposirError: The file is broken, or its tensors are not those that config.json describes.
    """
    try:
        with quiet():
            model, report = kind.from_pretrained(
                folder, dtype=torch.float32, attn_implementation=attention, use_safetensors=True, local_files_only=True,
                trust_remote_code=False, output_loading_info=True, ignore_mismatched_sizes=True,
            )  # fmt: skip
    except Exception as error:  # transformers and safetensors raise many kinds; none says more than its text
        raise ComposirError(
            f"{folder}: config.json and model.safetensors cannot be read ({error}); fetch both files again"
        ) from error
    wrong = sorted(report["missing_keys"]) + sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if wrong:
        raise ComposirError(
            f"{folder}: model.safetensors lacks or has in another shape {len(wrong)} of the tensors that config.json "
            f"describes, among them {', '.join(wrong[:3])}; take both files from one checkpoint"
        )
    return model.eval()


def save_model(
    folder: Path, tensors: Mapping[str, Tensor], config: PreTrainedConfig, dtype: torch.dtype | None
) -> None:
    """Write model.safetensors and config.json as transformers does; stored as `dtype`, or as they are."""
    stored = {name: t.detach().to("cpu", dtype or t.dtype).contiguous() for name, t in tensors.items()}
    config.dtype = next(iter(stored.values())).dtype
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    with quiet():
        config.save_pretrained(folder)


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ComposirError: It cannot be read, or is no object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ComposirError(f"{path} cannot be read ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise ComposirError(f"{path} holds no JSON object; fetch it again")
    return content


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write an object as readable JSON."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
