"""What a user names, opened: a data set with its options; a method, or the folder of a run that trained one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_type_hints

from composir import datasets, methods
from composir.datasets.base import Dataset
from composir.errors import ComposirError, DataError
from composir.plugins import load_class, nearest

if TYPE_CHECKING:
    from composir.methods.base import Method

DEFAULT_BACKBONE = "wardrobe-clip"


def open_dataset(name: str, root: Path | None = None, options: Mapping[str, Any] | None = None) -> Dataset:
    """Open a data set as the command line names it; torch-free.

    Args:
        name: A plug-in name, or "package.module:Class".
        root: Its folder; sets that draw their pictures have none.
        options: Further arguments of its constructor.

    Raises:
        ComposirError: Unknown name or option (the nearest known ones are listed), a root that is missing or not taken.
    """
    options = dict(options or {})
    known = datasets.names()
    if ":" not in name and name not in known:
        raise nearest(name, known, "data set")
    if "root" in options:
        raise ComposirError(f"the folder of data set {name!r} is no option; give it as --root {options['root']}")
    kind = load_class("composir.datasets", name, "data set", options, leave_out="root")
    _check_kinds(kind, name, options)
    takes = "root" in inspect.signature(kind).parameters
    if takes and root is None:
        raise ComposirError(f"data set {name!r} lies in a folder; name it with --root")
    if not takes and root is not None:
        raise ComposirError(f"data set {name!r} has no folder; leave --root out")
    if root is not None and not root.is_dir():
        what = "not a folder" if root.exists() else "missing"
        raise DataError(f"{root} is {what}; name the folder of data set {name!r} with --root")
    return datasets.load_dataset(name, **({"root": root} if takes else {}), **options)


def _check_kinds(kind: type, name: str, options: Mapping[str, Any]) -> None:
    """Refuse a value that is not of the kind its parameter is annotated with, before a constructor stumbles on it."""
    from pydantic import TypeAdapter, ValidationError

    hints = get_type_hints(kind.__init__)
    for key, value in options.items():
        try:
            TypeAdapter(hints.get(key, Any)).validate_python(value, strict=True)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise ComposirError(f"option {key} of data set {name!r} is {value!r}: {why[0].lower()}{why[1:]}") from error


@dataclass(frozen=True, slots=True)
class Wanted:
    """A method as it was named, before anything heavy is loaded.

    Attributes:
        name: A plug-in name, or "package.module:Class".
        arguments: Of its constructor.
        backbone: A name, a folder or "org/repo@revision".
        label: Short, for folders and tables.
    """

    name: str
    arguments: Mapping[str, Any]
    backbone: str
    label: str


def find_method(what: str, backbone: str | None = None) -> Wanted:
    """Tell what a user means by METHOD; torch is not imported.

    Args:
        what: A plug-in name, "package.module:Class", or the folder of a run made by `composir train`.
        backbone: A name, a folder or "org/repo@revision"; not for a run, which brings its own.

    Raises:
        ComposirError: Nothing of that name (the nearest are listed), or a folder without a finished run.
    """
    if what in methods.names() or (":" in what and not Path(what).is_dir()):
        return Wanted(what, {}, backbone or DEFAULT_BACKBONE, what.rpartition(":")[2])
    folder = Path(what).expanduser()
    if not folder.exists():
        if "/" in what:
            raise ComposirError(f"there is no folder {what}; name a run made by `composir train`, or a method")
        raise nearest(what, methods.names(), "method (nor the folder of a run)")
    from composir.config import load_config

    for part in ("config.toml", "backbone"):
        if not (folder / part).exists():
            known = ", ".join(methods.names())
            raise ComposirError(
                f"{folder} has no {part}: it is not the folder of a run that `composir train` has saved; name one, "
                f"or a method: {known}"
            )
    if backbone is not None:
        raise ComposirError(f"{folder} is a run, which brings its own backbone; leave --backbone {backbone} out")
    section = load_config(folder / "config.toml").method
    return Wanted(section.name, section.arguments, str(folder / "backbone"), folder.resolve().name)


def load_wanted(wanted: Wanted, data: str = "", device: str = "auto") -> Method:
    """Build a method.

    Args:
        wanted: Which.
        data: Name of the data set it is for: Slerp and its kin take their alpha by it where none is given.
        device: auto, cpu, cuda, cuda:1, mps.

    Raises:
        ComposirError: A part is not usable, or the device is not.
    """
    from composir.backbones import load_backbone
    from composir.methods.slerp import ALPHA, Slerp

    arguments = dict(wanted.arguments)
    kind = load_class("composir.methods", wanted.name, "method", arguments, leave_out="backbone")
    if issubclass(kind, Slerp) and "alpha" not in arguments and data in ALPHA:
        arguments["alpha"] = data
    method = methods.load_method(wanted.name, load_backbone(wanted.backbone), **arguments)
    return cast("Method", on_device(method, device))


def on_device(method: Method, device: str) -> Method:
    """The method on its device; "auto" is a GPU where there is one.

    Raises:
        ComposirError: There is no such device.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return method.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ComposirError(f"device {device!r} cannot be used ({error}); say --device cpu") from error
