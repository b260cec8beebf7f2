"""What a user names, opened: a data set with its options; for methods see `composir.opening`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from composir import datasets
from composir.datasets.base import Dataset
from composir.errors import ComposirError, DataError
from composir.plugins import load_class, nearest


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
        at = options["root"]
        raise ComposirError(f"the folder of data set {name!r} is no option; {at!r} belongs where the folder is named")
    kind = load_class("composir.datasets", name, "data set", options, leave_out="root")
    takes = "root" in inspect.signature(kind).parameters
    if takes and root is None:
        raise ComposirError(f"data set {name!r} lies in a folder; name it with --root")
    if not takes and root is not None:
        raise ComposirError(f"data set {name!r} has no folder; leave {root} out")
    if root is not None and not root.is_dir() and getattr(kind, "root_is_folder", True):
        what = "not a folder" if root.exists() else "missing"
        raise DataError(f"{root} is {what}; name the folder of data set {name!r}")
    return datasets.load_dataset(name, **({"root": root} if takes else {}), **options)
