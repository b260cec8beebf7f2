"""Writes and reads checkpoints: what training changed, beside the backbone that has the rest."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composir.backbones import catalog, load_backbone
from composir.checkpoint.header import FORMAT, KEY, Header, content_hash, described, read_header
from composir.checkpoint.origin import Loaded, held, spelled
from composir.errors import ComposirError
from composir.methods import load_method
from composir.plugins import load_class

if TYPE_CHECKING:
    from composir.backbones.base import Backbone, Source
    from composir.methods.base import Method

LISTED = 8  # things told in one line; more of them get one each


def save(
    path: Path,
    method: Method,
    *,
    arguments: Mapping[str, Any],
    run: str = "",
    step: int = 0,
    scores: Mapping[str, float] | None = None,
) -> None:
    """Write a checkpoint; at every moment `path` is the old one or the new one, whole.

    Args:
        path: Ends in .safetensors.
        method: Its tensors that `kept` names are written, and those that an earlier stage changed.
        arguments: Of its constructor, as JSON has them.
        run: Name of the run.
        step: Optimiser steps done.
        scores: Of validation, by metric; finite numbers.

    Raises:
        ComposirError: An argument or a score that JSON does not have.
    """
    from composir.tensors import save_file

    state = method.state_dict()
    mine = {name: tensor.detach() for name, tensor in state.items() if held(method, name)}
    content = {
        "format": FORMAT,
        "method": spelled(method),
        "arguments": dict(arguments),
        "backbone": {**place_of(method.backbone.source), "rest": _rest(method)},
        "gallery_key": method.gallery_key(),
        "run": run,
        "step": step,
        "scores": dict(scores or {}),
        "versions": _versions(),
        "inherited": sorted(method.inherited),
    }
    try:
        told = json.dumps(content, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ComposirError(
            f"{path}: {error}; arguments and scores are finite numbers, texts, lists, tables"
        ) from error
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"{path.name}.writing")
    # Copied, because tensors that share memory are not written.
    save_file({name: own.to("cpu", copy=True).contiguous() for name, own in mine.items()}, fresh, {KEY: told})
    _sync(fresh)
    os.replace(fresh, path)
    _sync(path.parent)


def load(path: Path, backbone: Backbone | None = None, *, arguments: Mapping[str, Any] | None = None) -> Method:
    """The method of a checkpoint, in eval mode.

    Args:
        path: The file.
        backbone: The one it stands on, where that is loaded already or lies elsewhere now; it becomes part of the
            method and gets the checkpoint's weights. None = the one that the header names.
        arguments: Of the constructor, for what the header leaves open, e.g. an alpha.

    Raises:
        ComposirError: An unknown method or argument, a backbone that is missing or another one, or tensors that do not
            match; they are listed.
    """
    from safetensors.torch import load_file

    from composir.methods.base import Method

    header = read_header(path)
    given = {**(arguments or {}), **header.arguments}
    try:
        kind = load_class("composir.methods", header.method, "method", given, leave_out="backbone")
    except ComposirError as error:
        raise ComposirError(f"{path}: {error}") from error
    if not issubclass(kind, Method):  # or a forged file could have any class called
        raise ComposirError(f"{path} names {header.method!r}, which is no method; do not trust it")
    method = load_method(header.method, backbone or _backbone(path, header), **given)
    method.inherited = frozenset(header.inherited)
    _check_tensors(path, header, method)
    if _rest(method) != header.backbone.rest:
        raise ComposirError(
            f"{path} was trained over other weights of backbone {header.backbone.name!r} (revision "
            f"{header.backbone.revision}) than those of {method.backbone.source.name!r} here; restore them, or train "
            "again"
        )
    method.load_state_dict(load_file(path), strict=False)
    vars(method)["loaded"] = Loaded(path.resolve(), content_hash(path), header.run, header.step, given)
    return method


def place_of(source: Source) -> dict[str, str]:
    """Where a backbone came from, as another process finds it: a local folder by its absolute path."""
    if source.revision != "local":
        return {"name": source.name, "repo": source.repo, "revision": source.revision}
    folder = str(Path(source.name).expanduser().resolve())
    return {"name": folder, "repo": folder, "revision": "local"}


def _backbone(path: Path, header: Header) -> Backbone:
    base = header.backbone
    fresh = base.revision.startswith("seed-") and base.name not in catalog.TINY
    # One that was made for the run lies beside the checkpoint: nothing else has its tokenizer.
    name, revision = (str(path.resolve().parent / "backbone"), None) if fresh else (base.name, base.revision)
    try:
        return load_backbone(name, revision)
    except ComposirError as error:
        raise ComposirError(
            f"{path} stands on backbone {name!r}, which cannot be loaded: {error}. If it lies elsewhere now, name the "
            "place with --backbone"
        ) from error


def _check_tensors(path: Path, header: Header, method: Method) -> None:
    state = method.state_dict()
    wanted = {name: described(str(own.dtype), tuple(own.shape)) for name, own in state.items() if held(method, name)}
    found = header.tensors
    wrong = [f"{name} is missing" for name in sorted(wanted.keys() - found.keys())]
    wrong += [f"{name} is not the method's" for name in sorted(found.keys() - wanted.keys())]
    both = sorted(wanted.keys() & found.keys())
    wrong += [f"{name} is {found[name]}, not {wanted[name]}" for name in both if found[name] != wanted[name]]
    if wrong:
        versions = ", ".join(f"{name} {own}" for name, own in header.versions.items() if name in ("composir", "peft"))
        raise ComposirError(
            f"{path} does not match method {header.method!r} over backbone {method.backbone.source.name!r}: "
            f"{listed(wrong)}. It was written by {versions}; load it with the code it was written by, or train again"
        )


def listed(things: list[str]) -> str:
    """All of them: a few in the sentence, many with a line each."""
    if len(things) <= LISTED:
        return "; ".join(things)
    return "\n  ".join([f"{len(things):,} in all:", *things])


def _rest(method: Method) -> str:
    """Fingerprint of what a checkpoint leaves to the backbone."""
    return method.fingerprint(tuple(name for name in method.state_dict() if not held(method, name)), "")


def _versions() -> dict[str, str]:
    named = ("composir", "torch", "transformers", "safetensors")
    return {**{name: version(name) for name in named}, "python": platform.python_version()}


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk and not in its cache."""
    if path.is_dir() and os.name == "nt":  # has no handles of folders
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
