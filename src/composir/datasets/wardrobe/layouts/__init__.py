"""Wardrobe in the file layouts of the benchmarks: which pictures lie where, and what the annotation files say.

Nothing is drawn or written here. What only Wardrobe has (attributes, captions, the truth of a hidden test split) never
lies among a benchmark's own files but in `truth/`, where a hidden file is repeated whole under its own path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from composir.datasets.wardrobe import Wardrobe
from composir.datasets.wardrobe.layouts import circo, cirr, fashioniq, folder, lasco
from composir.datasets.wardrobe.layouts.base import Layout, Sizes

__all__ = ["FORMATS", "Format", "Layout", "Sizes"]


@dataclass(frozen=True, slots=True)
class Format:
    """How a data set of a given size is divided over the splits, and how it is laid out."""

    divide: Callable[[int], Sizes]
    build: Callable[[Wardrobe, Sizes], Layout]


FORMATS = {
    "folder": Format(folder.divide, folder.build),
    "fashioniq": Format(fashioniq.divide, fashioniq.build),
    "cirr": Format(cirr.divide, cirr.build),
    "circo": Format(circo.divide, circo.build),
    "lasco": Format(lasco.divide, lasco.build),
}
