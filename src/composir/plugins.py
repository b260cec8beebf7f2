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
from typing import get_type_hints

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
        ComposirError: A missing one; a value of another kind than the signature's.
    """
    parameters = [p for p in inspect.signature(call).parameters.values() if p.name not in leave_out]
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    for key in arguments:
        if key in leave_out or not (takes_any or key in {p.name for p in named}):
            raise nearest(key, [p.name for p in named], f"argument of {whose}:")
    _check_kinds(call, whose, arguments)
    missing = [p.name for p in named if p.default is p.empty and p.name not in arguments]
    if missing:
        raise ComposirError(f"{whose} needs {', '.join(missing)}; give it beside its name")


def _check_kinds(call: Callable[..., object], whose: str, arguments: Mapping[str, object]) -> None:
    """Refuse a value that is not of the kind its parameter is annotated with, before a constructor stumbles on it."""
    from pydantic import PydanticSchemaGenerationError, TypeAdapter, ValidationError

    try:
        hints = get_type_hints(call.__init__ if isinstance(call, type) else call)
    except NameError:  # a name that only a type checker sees: nothing is known of any
        return
    for key in arguments.keys() & hints.keys():
        value = arguments[key]
        try:
            # Run files and command lines know lists, and no other sequence.
            TypeAdapter(hints[key]).validate_python(tuple(value) if isinstance(value, list) else value, strict=True)
        except PydanticSchemaGenerationError:  # a class of ours, which no file can spell
            continue
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            spelled = "; write true or false" if str(value) in {"True", "False"} and isinstance(value, str) else ""
            told = f"option {key} of {whose} is {value!r}: {why[0].lower()}{why[1:]}{spelled}"
            raise ComposirError(told) from error


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
