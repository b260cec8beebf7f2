"""What every data set offers: ranking tasks, training triplets and pairs, and images by id. Torch-free."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar, Literal

from PIL import Image

from composir.types import Pair, Query, Task

Split = Literal["train", "val", "test"]


class Dataset(ABC):
    """Image ids, annotations over them, and the pictures themselves.

    Attributes:
        name: The plug-in name.
        splits: Those that exist.
        disjoint: Whether no picture belongs to two splits; CIRCO's do, for one gallery serves all.
        aliases: What their authors call splits, where that is another name.
        averages: Each paper's own summary, by name: the metrics whose means over all tasks it averages.
    """

    name: ClassVar[str]
    splits: ClassVar[tuple[Split, ...]] = ("train", "val", "test")
    disjoint: ClassVar[bool] = True
    aliases: ClassVar[Mapping[str, Split]] = {}
    averages: ClassVar[Mapping[str, tuple[str, ...]]] = {}

    @abstractmethod
    def tasks(self, split: Split) -> list[Task]:
        """The ranking problems of a split, each with its protocol."""

    @abstractmethod
    def triplets(self, split: Split) -> Sequence[Query]:
        """Annotated (reference, captions, targets) for training."""

    @abstractmethod
    def pairs(self, split: Split) -> Sequence[Pair]:
        """Images with their captions; empty where a set has none."""

    @abstractmethod
    def image(self, image_id: str) -> Image.Image:
        """The picture, RGB, upright.

        Raises:
            DataError: No picture bears this id or its file cannot be read; the path and the remedy are named.
        """

    @property
    def title(self) -> str:
        """What results call it: its name, unless one reader serves many sets, which then have names of their own."""
        return self.name

    @property
    def asked(self) -> Split:
        """The split that is evaluated where none is named: val, or test where a set has no val."""
        wished: tuple[Split, ...] = ("val", "test", *self.splits)
        return next(split for split in wished if split in self.splits)

    def split_called(self, name: str) -> str:
        """The split that its authors call so; any other name as it is, known or not."""
        return self.aliases.get(name, name)

    def unlisted(self, split: Split) -> str:  # noqa: ARG002  (most sets list their galleries themselves)
        """Why the gallery of a split cannot be known in full, or ""; numbers over what is known of it are partial."""
        return ""

    def notes(self, split: Split) -> Sequence[str]:  # noqa: ARG002  (most sets have nothing to add)
        """What is not evaluated on a split though its annotations hint at it, and why; a sentence each.

        Raises:
            DataError: Its annotations cannot be read.
        """
        return ()

    def missing(self, ids: Iterable[str]) -> list[str]:  # noqa: ARG002  (a set that draws its pictures lacks none)
        """Those of `ids` for which there is no file, in their order; told without opening any."""
        return []
