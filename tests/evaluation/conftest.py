"""Methods and data sets whose scores are exact, so that a slow loop must give the very same ranks, ties included."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from composir.backbones import load_backbone
from composir.datasets.base import Dataset
from composir.datasets.wardrobe import Wardrobe
from composir.methods.base import Method
from composir.types import Query, Task

VECTORS, WIDTH = 32, 4


class Signs(Method):
    """32 vectors a picture with entries of +-1/2: unit length, exact in half precision, and ties in plenty.

    Whatever the batch, a picture's vectors are the same; scores are multiples of 1/2.
    """

    name: ClassVar[str] = "signs"
    controls: ClassVar[tuple[str, ...]] = ("flip",)

    def encode_gallery(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T D"]:
        """The first 128 of the picture's 3 x 8 x 8 blocks, each brighter or darker than the picture's mean."""
        blocks = F.avg_pool2d(images.double(), images.shape[-1] // 8).flatten(1)
        bright = blocks[:, : VECTORS * WIDTH] > blocks.mean(dim=1, keepdim=True)
        return (bright.float() - 0.5).reshape(-1, VECTORS, WIDTH)

    def encode_reference(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B R C"]:
        """The first four of them, turned: not what the gallery is encoded to."""
        return -self.encode_gallery(images)[:, :4]

    def compose(self, reference: Float[Tensor, "B R C"], texts: Sequence[str], flip: int = 0) -> Float[Tensor, "B S D"]:
        """Four vectors; the text's length, and `flip`, choose the axis that changes its sign."""
        axis = torch.tensor([(len(text) + flip) % WIDTH for text in texts])
        return reference * (1 - 2 * F.one_hot(axis, WIDTH)[:, None])


class Subset(Dataset):
    """Some tasks over Wardrobe's pictures, as a test writes them."""

    name: ClassVar[str] = "subset"
    averages: ClassVar[dict[str, tuple[str, ...]]] = {}

    def __init__(self, data: Wardrobe, *tasks: Task, gone: Sequence[str] = (), broken: Sequence[str] = ()):
        self.data, self.made, self.gone, self.broken = data, tasks, frozenset(gone), frozenset(broken)

    def tasks(self, split: str) -> list[Task]:
        return list(self.made)

    def triplets(self, split: str) -> list[Query]:
        return []

    def pairs(self, split: str) -> list:
        return []

    def missing(self, ids) -> list[str]:
        return [image_id for image_id in ids if image_id in self.gone]

    def image(self, image_id: str):
        assert image_id not in self.gone, "what is known to be missing is not opened"
        if image_id in self.broken:
            raise OSError("cut off")
        return self.data.image(image_id)


@pytest.fixture(scope="session")
def data() -> Wardrobe:
    return Wardrobe(train=6, val=6, test=60, seed=3)


@pytest.fixture(scope="session")
def tiny():
    return load_backbone("clip-tiny")


@pytest.fixture(scope="session")
def signs(tiny) -> Signs:
    return Signs(tiny).eval()


@pytest.fixture(scope="session")
def subset_class() -> type[Subset]:
    return Subset


@functools.cache
def slow_vectors(method, data, image_id: str, side: str) -> Tensor:
    """One picture's vectors, encoded alone."""
    pixels = method.transform(side)(data.image(image_id))[None]
    return (method.encode_gallery(pixels) if side == "gallery" else method.encode_reference(pixels))[0]


def slow_order(method, task, data, query, candidates: Sequence[str], flip: int = 0) -> list[tuple[float, str]]:
    """(score, id) of the candidates, best first, ties in their order: one picture, one vector at a time."""
    reference = slow_vectors(method, data, query.reference, "reference")[None]
    ours = method.compose(reference, list(task.wording.texts(query)), flip)[0].tolist()
    scored = []
    for place, image_id in enumerate(candidates):
        theirs = slow_vectors(method, data, image_id, "gallery").tolist()
        best = [max(sum(x * y for x, y in zip(s, t, strict=True)) for t in theirs) for s in ours]
        scored.append((-sum(best) / len(best), place, image_id))
    return [(-score, image_id) for score, _, image_id in sorted(scored)]


@pytest.fixture(scope="session")
def slow():
    return slow_order
