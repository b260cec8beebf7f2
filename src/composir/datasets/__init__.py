"""Data sets by name; torch-free."""

from __future__ import annotations

from typing import cast

from composir.datasets.base import Dataset
from composir.plugins import classes_in, load_class

__all__ = ["load_dataset", "names"]


def names() -> list[str]:
    """Names of the data sets of this house."""
    return sorted(classes_in(__name__))


def load_dataset(name: str, /, **arguments: object) -> Dataset:
    """Open a data set.

    Args:
        name: One of `names()`, or "package.module:Class".
        arguments: Of its constructor.

    Raises:
        ComposirError: Unknown name or argument (the nearest known ones are listed), or the data is not usable.
    """
    return cast("type[Dataset]", load_class(__name__, name, "data set", arguments))(**arguments)
