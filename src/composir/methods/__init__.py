"""Ways to answer (reference, text), by name; importing this package does not import torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from composir.plugins import classes_in, load_class

if TYPE_CHECKING:
    from composir.backbones.base import Backbone
    from composir.methods.base import Method

__all__ = ["load_method", "names"]


def names() -> list[str]:
    """Names of the methods of this house."""
    return sorted(classes_in(__name__))


def load_method(name: str, backbone: Backbone, /, **arguments: object) -> Method:
    """Build a method over a backbone, in eval mode.

    Args:
        name: One of `names()`, or "package.module:Class".
        backbone: Its towers.
        arguments: Of the method's constructor.

    Raises:
        ComposirError: Unknown name or argument; the nearest known ones are listed.
    """
    kind = cast("type[Method]", load_class(__name__, name, "method", arguments, leave_out="backbone"))
    return kind(backbone, **arguments).eval()  # pyright: ignore[reportCallIssue]
