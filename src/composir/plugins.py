"""From a name to the part that bears it: one file per part, the file name is the plug-in name.

A part outside the house is named "package.module:Class"; it needs no registration.
"""

from __future__ import annotations

import ast
import difflib
import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Literal, Union, get_args, get_origin, get_type_hints

from composir.errors import ComposirError, UnknownNameError


def nearest(name: str, known: Iterable[str], what: str) -> UnknownNameError:
    """Build the error for an unknown `name`, naming the nearest `known` ones (all of them if none is near)."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {', '.join(repr(n) for n in near)}?" if near else f"known: {', '.join(names) or 'none'}"
    return UnknownNameError(f"unknown {what} {name!r}; {hint}")


def load_class(package: str, name: str, what: str, arguments: Mapping[str, object], leave_out: str = "") -> type:
    """The class that bears `name`, its constructor known to take `arguments`.

    Args:
        package: Where the house keeps such parts.
        name: A plug-in name, or "package.module:Class".
        what: The kind of part, for messages.
        arguments: Keyword arguments it is to be called with; the signature is the schema.
        leave_out: A parameter that the caller fills, which no user may name.

    Raises:
        UnknownNameError: Unknown name or argument; the nearest known ones are listed.
        ComposirError: An out-of-tree class that cannot be imported, or a missing argument.
    """
    known = classes_in(package)
    if ":" not in name and name not in known:
        raise nearest(name, known, what)
    kind = load_object(name if ":" in name else known[name], what)
    if not isinstance(kind, type):
        raise ComposirError(f"{what} {name!r} is {kind!r}; name a class as 'package.module:Class'")
    check_arguments(kind, f"{what} {name!r}", arguments, (leave_out,))
    return kind


def check_arguments(
    call: Callable[..., object], whose: str, arguments: Mapping[str, object], leave_out: Sequence[str] = ()
) -> None:
    """Refuse arguments that `call` does not take, values of another kind, and the lack of one that it needs.

    Args:
        call: Its signature is the schema.
        whose: For messages, e.g. "method 'slerp'".
        arguments: By keyword.
        leave_out: Parameters that the caller fills, which no user may name.

    Raises:
        UnknownNameError: An unknown argument; the nearest known ones are listed.
        ComposirError: A missing one; a value that is no number, truth value, text or choice where the signature has
            nothing else.
    """
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name not in leave_out]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for key in arguments:
        if key in leave_out or not (takes_any or key in {p.name for p in named}):
            raise nearest(key, [p.name for p in named], f"argument of {whose}:")
    hints = _hints(call)
    for key, value in arguments.items():
        kinds = _kinds(hints.get(key))
        if kinds and not any(_fits(value, kind) for kind in kinds):
            spelled = "; write true or false" if bool in kinds and str(value).lower() in {"true", "false"} else ""
            told = " or ".join(_KINDS.get(kind, repr(kind)) for kind in kinds)
            raise ComposirError(f"option {key} of {whose} is {value!r}: input should be {told}{spelled}")
    missing = [p.name for p in named if p.default is p.empty and p.name not in arguments]
    if missing:
        raise ComposirError(f"{whose} needs {', '.join(missing)}; give it beside its name")


_KINDS: Mapping[object, str] = {
    bool: "a valid boolean",
    int: "a valid whole number",
    float: "a valid number",
    str: "a valid text",
    type(None): "nothing",
}


def _hints(call: Callable[..., object]) -> dict[str, object]:
    try:
        return get_type_hints(call.__init__ if isinstance(call, type) else call)
    except (NameError, TypeError):  # names that only a type checker sees
        return {}


def _kinds(hint: object) -> list[object]:
    """What a hint of plain kinds and choices allows; nothing for any other hint, of which no value is judged."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    if get_origin(hint) in (Union, UnionType):
        parts = [_kinds(part) for part in get_args(hint)]
        return [kind for part in parts for kind in part] if all(parts) else []
    return [hint] if hint in _KINDS else []


def _fits(value: object, kind: object) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind) if isinstance(kind, type) else type(value) is type(kind) and value == kind


def load_object(spec: str, what: str) -> object:
    """Import "package.module:Name".

    Raises:
        ComposirError: The module cannot be imported or has no such name.
    """
    module_name, _, attribute = spec.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise ComposirError(f"{what} {spec!r} cannot be loaded; write it as 'package.module:Class'")
    try:
        return getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ComposirError(
            f"{what} {spec!r} cannot be loaded ({error}); write it as 'package.module:Class'"
        ) from error


@functools.cache
def classes_in(package: str) -> dict[str, str]:
    """Every plug-in of a package: the `name = "..."` of each class in its files -> "module:Class".

    Reads the sources instead of importing them, so that a list of names costs no import of torch.
    """
    found = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}."):
        spec = importlib.util.find_spec(module.name)
        if spec is None or spec.origin is None:
            continue
        for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and (name := _name_attribute(node)):
                found[name] = f"{module.name}:{node.name}"
    return found


def _name_attribute(node: ast.ClassDef) -> str | None:
    """The literal assigned to `name` in a class body, if any."""
    for statement in node.body:
        target = statement.target if isinstance(statement, ast.AnnAssign) else None
        value = statement.value if isinstance(statement, ast.AnnAssign) else None
        if isinstance(target, ast.Name) and target.id == "name" and isinstance(value, ast.Constant):
            return str(value.value)
    return None
