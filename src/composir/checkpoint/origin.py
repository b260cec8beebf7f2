"""What a built method tells of itself: how another process names it, its arguments, the checkpoint it came from."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from composir.plugins import classes_in

if TYPE_CHECKING:
    from composir.methods.base import Method


@dataclass(frozen=True, slots=True)
class Loaded:
    """The checkpoint that a method came from.

    Attributes:
        path: Absolute.
        sha256: Of the file.
        run, step: As its header has them.
        arguments: The constructor was called with.
    """

    path: Path
    sha256: str
    run: str
    step: int
    arguments: dict[str, Any]


def loaded_from(method: Method) -> Loaded | None:
    """The checkpoint that a method came from, or None."""
    return vars(method).get("loaded")


def held(method: Method, name: str) -> bool:
    """Whether a checkpoint of the method holds the tensor."""
    return method.kept(name) or name in method.inherited


def spelled(method: Method) -> str:
    """What names the method's class to another process: a plug-in name, or "package.module:Class"."""
    kind = type(method)
    full = f"{kind.__module__}:{kind.__qualname__}"
    return method.name if classes_in("composir.methods").get(method.name) == full else full


def arguments_of(method: Method) -> dict[str, Any]:
    """The constructor's arguments: those its checkpoint names, and those it keeps under their own names."""
    names = [name for name in inspect.signature(type(method).__init__).parameters if name not in ("self", "backbone")]
    kept = {name: getattr(method, name, None) for name in names}
    known = {name: plain(own) for name, own in kept.items() if isinstance(own, bool | int | float | str | list | tuple)}
    origin = loaded_from(method)
    return {**(origin.arguments if origin else {}), **known}


def plain(value: Any) -> Any:
    """An argument as JSON has it; numbers as they were typed, not as single precision kept them."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return float(f"{value:.7g}")
    return value if isinstance(value, bool | int | str) or value is None else [plain(part) for part in value]
