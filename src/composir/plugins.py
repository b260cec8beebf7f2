"""From a name to the part that bears it: one file per part, the file name is the plug-in name.

A part outside the house is named "package.module:Class"; it needs no registration.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterable

from composir.errors import ComposirError, UnknownNameError


def nearest(name: str, known: Iterable[str], what: str) -> UnknownNameError:
    """Build the error for an unknown `name`, naming the nearest `known` ones (all of them if none is near)."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(repr(n) for n in near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return UnknownNameError(f"unknown {what} {name!r}; {hint}")


def modules_in(package: str) -> list[str]:
    """Names of the public modules and sub-packages of `package`, "base" left out."""
    found = pkgutil.iter_modules(importlib.import_module(package).__path__)
    return sorted(m.name for m in found if not m.name.startswith("_") and m.name != "base")


def load_object(spec: str, what: str) -> object:
    """Import "package.module:Name".

    Raises:
        ComposirError: The module cannot be imported or has no such name.
    """
    module_name, _, attribute = spec.partition(":")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ComposirError(f"{what} {spec!r} cannot be loaded ({error}); write it as 'package.module:Class'") from error
