"""What is kept from one request to the next: the latest values of a kind, and what a text tower made of words."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from composir.backbones.base import Backbone
from composir.reverse import reading
from composir.server.service import Clock

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The most lately used values; safe to use from several threads."""

    def __init__(self, count: int):
        self._count, self._values = count, OrderedDict[object, Value]()
        self._lock = threading.Lock()

    def __contains__(self, key: object) -> bool:
        return key in self._values

    def get(self, key: object):
        """The value, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: object, value: Value) -> None:
        """Keep a value, at the price of the oldest."""
        with self._lock:
            self._values[key] = value
            while len(self._values) > self._count:
                self._values.popitem(last=False)


class Words:
    """What text towers made of texts; used by the one thread that computes.

    Kept by the backbone itself, not by a key of the gallery: a gallery key says nothing of the text tower, which
    methods over one gallery may have trained each for itself. It goes when the backbone goes.

    Args:
        count: Texts kept of each backbone.
    """

    def __init__(self, count: int):
        self._count = count
        self._kept: WeakKeyDictionary[Backbone, Kept[Tensor]] = WeakKeyDictionary()

    @contextmanager
    def read_once(self, backbone: Backbone, clock: Clock) -> Iterator[None]:
        """Let the text tower read only what it has not read lately, timed as "encode_text"."""
        read: Callable[..., Tensor] = backbone.embed_text
        kept = self._kept.setdefault(backbone, Kept(self._count))

        def once(texts: Sequence[str], *, before: str = "", **around: Any) -> Tensor:
            # Pseudo-words come of a picture: they differ from query to query.
            if not texts or any(own is not None for own in around.values()):
                with clock("encode_text"):
                    return read(texts, before=before, **around)
            rows = {text: row for text in texts if (row := kept.get((before, text))) is not None}
            if fresh := [text for text in dict.fromkeys(texts) if text not in rows]:
                with clock("encode_text"):
                    for text, row in zip(fresh, read(fresh, before=before), strict=True):
                        rows[text] = row.clone()  # a view would keep the whole batch
                        kept.put((before, text), rows[text])
            return torch.stack([rows[text] for text in texts])

        with reading(backbone, once):
            yield
