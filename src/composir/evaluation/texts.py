"""What the text tower makes of a batch of texts, shared by methods that read the same."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from composir.backbones.base import Backbone

REMEMBERED = 4  # batches of texts whose features are kept: two orders, and as many to spare


@contextmanager
def each_text_once(backbones: Iterable[Backbone]) -> Iterator[None]:
    """Let methods that read the same texts one after the other share what the text tower makes of them."""
    each = {id(backbone): backbone for backbone in backbones}.values()
    for backbone in each:
        vars(backbone)["embed_text"] = _Remembering(backbone.embed_text)
    try:
        yield
    finally:
        for backbone in each:
            del vars(backbone)["embed_text"]


class _Remembering:
    """`embed_text` with a short memory for texts that stand alone."""

    def __init__(self, read: Callable[..., Tensor]):
        self._read, self._known = read, dict[tuple[str, ...], Tensor]()

    def __call__(self, texts: Sequence[str], **around: Any) -> Tensor:
        if around:
            return self._read(texts, **around)
        key = tuple(texts)
        if key not in self._known:
            if len(self._known) >= REMEMBERED:
                self._known.clear()
            self._known[key] = self._read(texts)
        return self._known[key]
