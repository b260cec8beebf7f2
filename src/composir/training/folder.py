"""The folder of a run: what lies in it, whether it may be written, and from where a run in it goes on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from composir.backbones.base import Backbone
from composir.config import RunConfig, dump, load_config
from composir.errors import ComposirError
from composir.training.fit import NotFiniteError, fit
from composir.training.state import Saved, load_state, save_state

# These say nothing of the result, so a run may go on with others.
FREE = {"train": ("workers", "save_every", "tensorboard"), "features": ("folder",)}
# What a state tells of its run.
NOTED = {"best", "seconds", "log"}


@dataclass(frozen=True)
class RunFolder:
    """runs/<name>/{config.toml, log.jsonl, best.safetensors, last.safetensors, README.md, state.safetensors, ...}."""

    path: Path

    @property
    def log(self) -> Path:
        """One JSON object a line."""
        return self.path / "log.jsonl"

    @property
    def best(self) -> Path:
        """The checkpoint with the best validation."""
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        """The checkpoint of the last validation."""
        return self.path / "last.safetensors"

    @property
    def state(self) -> Path:
        """What an unfinished run goes on from."""
        return self.path / "state.safetensors"

    @property
    def backbone(self) -> Path:
        """A folder that `load_backbone` reads, of runs that train all of it."""
        return self.path / "backbone"

    def saved(self, config: RunConfig, resume: bool) -> Saved | None:
        """The state to go on from, None for a run from the beginning; changes nothing.

        Raises:
            ComposirError: A finished run, an unfinished one that is not to be gone on with, or one of another run file;
                or the path is, or leads through, a file.
        """
        there = next((own for own in (self.path, *self.path.parents) if own.exists()), None)
        if there is not None and not there.is_dir():
            raise ComposirError(f"{there} is a file, so no run can be kept in {self.path}; give another --out")
        if (self.path / "report.json").exists():
            raise ComposirError(f"{self.path} already holds a finished run; remove it or give another --out")
        if not self.state.exists():
            return None
        saved = load_state(self.state)
        unsaid = sorted(NOTED - saved.notes.keys())
        if unsaid:
            raise ComposirError(f"{self.state} does not say {', '.join(unsaid)}, so no run goes on from it; remove it")
        if not resume:
            raise ComposirError(
                f"{self.path} holds an unfinished run, saved at step {saved.step}; go on with it by --resume, or "
                "remove it or give another --out"
            )
        other = _differences(load_config(self.path / "config.toml"), config)
        if other:
            raise ComposirError(
                f"{self.path} holds an unfinished run of another run file ({'; '.join(other)}); go on with its own, or "
                "give another --out"
            )
        return saved

    def begin(self, config: RunConfig) -> None:
        """Make the folder, write the run file as it took effect, and put back a backbone that a kill left aside."""
        self.path.mkdir(parents=True, exist_ok=True)
        _put_back(self.backbone)
        _written(self.path / "config.toml", dump(config))

    def keep_card(self, text: str) -> None:
        """Write README.md, the model card of the best checkpoint."""
        _written(self.path / "README.md", text)

    def keep_backbone(self, backbone: Backbone) -> None:
        """Write beside and rename, so that a kill never leaves half a backbone under the name that is read."""

        def write(fresh: Path) -> None:
            backbone.save_pretrained(fresh, dtype=torch.float16)

        _replaced(self.backbone, write)

    def keep_failure(self, steps: fit, error: NotFiniteError, notes: Mapping[str, Any]) -> Path:
        """Save the state before a step that failed, with a run's notes, and what was in its batch; returns where.

        In a distributed run all processes call this, and the first one writes.
        """
        folder = self.path / "failed"
        save_state(folder / "state.safetensors", steps, {**notes, "log": self._logged()}, before=True)
        if not steps.accelerator.is_main_process:
            return folder
        told = {"step": error.step, "value": repr(error.value), "message": str(error), "ids": error.ids}
        (folder / "batch.json").write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        return folder

    def finish(self, report: Mapping[str, Any]) -> None:
        """Write report.json; a finished run has nothing to go on from."""
        _written(self.path / "report.json", json.dumps(report, indent=2, ensure_ascii=False) + "\n")
        self.state.unlink(missing_ok=True)

    def _logged(self) -> int:
        """Bytes of the log that stand."""
        return self.log.stat().st_size if self.log.exists() else 0


def _written(path: Path, text: str) -> None:
    """At every moment the old file or the new one, whole."""
    fresh = path.with_name(f"{path.name}.writing")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def _replaced(folder: Path, write: Callable[[Path], None]) -> None:
    """A folder cannot be renamed onto another, so the old one steps aside; `_put_back` undoes what a kill left."""
    _put_back(folder)
    fresh, old = _beside(folder)
    shutil.rmtree(fresh, ignore_errors=True)
    write(fresh)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _put_back(folder: Path) -> None:
    """Leave one whole folder under its name, if there is one at all."""
    _, old = _beside(folder)
    if not folder.exists() and old.exists():
        old.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f"{folder.name}.writing"), folder.with_name(f"{folder.name}.old")


def _differences(one: RunConfig, other: RunConfig) -> list[str]:
    """Keys whose values differ, as "[train] lr: 0.1 there, 0.2 here"."""
    found = []
    left, right = one.model_dump(), other.model_dump()
    for section, values in left.items():
        if not isinstance(values, dict):
            if values != right[section]:
                found.append(f"{section}: {values!r} there, {right[section]!r} here")
            continue
        for key in sorted(values.keys() | right[section].keys()):
            mine, its = values.get(key), right[section].get(key)
            if mine != its and key not in FREE.get(section, ()):
                found.append(f"[{section}] {key}: {mine!r} there, {its!r} here")
    return found
