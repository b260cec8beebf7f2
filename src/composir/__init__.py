"""composir: composed image retrieval. This picture, but changed as these words say.

The names below are the public ones; each is imported on first use, so that `import composir` costs nothing.
"""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from composir.backbones import load_backbone as load_backbone
    from composir.datasets import load_dataset as load_dataset
    from composir.engine import Engine as Engine
    from composir.errors import ComposirError as ComposirError
    from composir.evaluation import rank as rank
    from composir.evaluation import report as report
    from composir.gallery.store import Gallery as Gallery
    from composir.images import load_image as load_image
    from composir.methods import load_method as load_method
    from composir.training import fit as fit
    from composir.types import Hit as Hit
    from composir.types import Item as Item
    from composir.types import Pair as Pair
    from composir.types import Query as Query
    from composir.types import Task as Task

_HOME = {
    "ComposirError": "errors",
    "Engine": "engine",
    "Gallery": "gallery.store",
    "Hit": "types",
    "Item": "types",
    "Pair": "types",
    "Query": "types",
    "Task": "types",
    "fit": "training",
    "load_backbone": "backbones",
    "load_dataset": "datasets",
    "load_image": "images",
    "load_method": "methods",
    "rank": "evaluation",
    "report": "evaluation",
}
__all__ = [
    "ComposirError",
    "Engine",
    "Gallery",
    "Hit",
    "Item",
    "Pair",
    "Query",
    "Task",
    "fit",
    "load_backbone",
    "load_dataset",
    "load_image",
    "load_method",
    "rank",
    "report",
]
__version__ = metadata.version("composir")


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'composir' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(import_module(f"composir.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
