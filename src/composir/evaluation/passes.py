"""Galleries and composed queries of several methods, in one pass over the pictures.

A picture is decoded once for each way of looking at it, and encoded once for each gallery key: image-only, text-only,
sum and Slerp, which score in one space, share all of it. Galleries are kept in half precision, as an index stores them,
and scored in single precision; composed queries are kept in single precision.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from composir.backbones.transform import Transform
from composir.datasets.base import Dataset
from composir.errors import ComposirError
from composir.evaluation.embedding import composed
from composir.evaluation.texts import each_text_once
from composir.loading import Batch, Failure, pixel_batches
from composir.methods.base import Method
from composir.methods.joint import JointSpace
from composir.types import Task

Progress = Callable[[int, int], None]  # pictures done, pictures in all


@dataclass
class Embedded:
    """What the pass made.

    Attributes:
        rows: Image id -> row of every gallery.
        galleries: Gallery key -> (N, T, D) half precision; rows of pictures that failed are undefined.
        queries: For each method (Q, S, D) over the queries of all tasks, one task after the other.
        failed: Image id -> why it could not be read; with any, and not `partial`, there are no vectors.
    """

    rows: Mapping[str, int]
    galleries: dict[str, Tensor] = field(default_factory=dict)
    queries: dict[str, Tensor] = field(default_factory=dict)
    failed: dict[str, Failure] = field(default_factory=dict)


@torch.inference_mode()
def embed(
    methods: Mapping[str, Method],
    dataset: Dataset,
    tasks: Sequence[Task],
    *,
    controls: Mapping[str, Mapping[str, Any]],
    absent: frozenset[str] = frozenset(),
    partial: bool = False,
    batch_size: int = 128,
    workers: int | None = None,
    progress: Progress = lambda *_: None,
) -> Embedded:
    """Encode the galleries of all tasks and compose all queries, for all methods.

    Args:
        methods: By a name of the caller's; they may share a backbone.
        dataset: Where the pictures are.
        tasks: What is asked.
        controls: For `compose`, by the method's name.
        absent: Pictures not to be opened; queries that refer to them get no vector (zeros).
        partial: Go on where a picture cannot be read; otherwise the rest are only decoded, so that all are listed.
        batch_size: Of encoding and composing.
        workers: Decoding processes, see `pixel_batches`.
        progress: Told after each batch.
    """
    work = _Work(methods, tasks, controls, absent, batch_size)
    total, done = sum(len(work.ids(p)) for p in work.passes), 0
    with each_text_once(method.backbone for method in methods.values()):
        for one in work.passes:
            ids = work.ids(one)
            for batch in pixel_batches(dataset.image, ids, one.transform, batch_size, workers, on_error="collect"):
                work.made.failed.update(batch.failures)
                if partial or not work.made.failed:
                    work.take(one, batch)
                done += len(batch.ids) + len(batch.failures)
                progress(done, total)
    return work.made


@dataclass
class _Pass:
    """One way of looking at pictures, and who reads them so.

    Attributes:
        transform: The way.
        galleries: Gallery key -> a method that encodes it.
        followers: Gallery key -> names of the methods whose references are encoded by the same call.
        alone: Names of the methods that encode references in a way of their own.
    """

    transform: Transform
    galleries: dict[str, Method] = field(default_factory=dict)
    followers: dict[str, list[str]] = field(default_factory=dict)
    alone: list[str] = field(default_factory=list)


class _Work:
    """The plan of the passes, and what they have made so far."""

    def __init__(
        self,
        methods: Mapping[str, Method],
        tasks: Sequence[Task],
        controls: Mapping[str, Mapping[str, Any]],
        absent: frozenset[str],
        batch_size: int,
    ):
        self._methods, self._controls, self._batch_size = methods, controls, batch_size
        self._texts = [task.wording.texts(query) for task in tasks for query in task.queries]
        self._asks: dict[str, list[int]] = {}  # reference -> places of its queries among all
        for place, query in enumerate(query for task in tasks for query in task.queries):
            if query.reference not in absent:
                self._asks.setdefault(query.reference, []).append(place)
        rows = dict.fromkeys(i for task in tasks for i in task.gallery if i not in absent)
        self.made = Embedded({image_id: row for row, image_id in enumerate(rows)})
        passes: dict[str, _Pass] = {}
        for name, method in methods.items():
            method.eval()
            key, gallery, reference = method.gallery_key(), method.transform("gallery"), method.transform("reference")
            one = passes.setdefault(gallery.spec, _Pass(gallery))
            one.galleries.setdefault(key, method)
            # The joint space encodes a reference by calling encode_gallery: on equal pixels that is one vector.
            if type(method).encode_reference is JointSpace.encode_reference and gallery.spec == reference.spec:
                one.followers.setdefault(key, []).append(name)
            else:
                passes.setdefault(reference.spec, _Pass(reference)).alone.append(name)
        self.passes = list(passes.values())

    def ids(self, one: _Pass) -> list[str]:
        """What the pass decodes; references first, for there composing is done in large batches."""
        return list(dict.fromkeys([*self._asks, *(self.made.rows if one.galleries else ())]))

    def take(self, one: _Pass, batch: Batch[str]) -> None:
        """Encode a batch, keep its gallery vectors, and compose the queries that refer to its pictures."""
        if not batch.ids:
            return
        asked = [i in self._asks for i in batch.ids]
        for key, method in one.galleries.items():
            followed = one.followers.get(key, [])
            wanted = [i in self.made.rows or (bool(followed) and a) for i, a in zip(batch.ids, asked, strict=True)]
            ids, vectors = self._encode(method.encode_gallery, method, one.transform, batch, wanted)
            if ids:
                self._keep(key, ids, vectors)
                self._compose(followed, ids, vectors)
        for name in one.alone:
            method = self._methods[name]
            ids, vectors = self._encode(method.encode_reference, method, one.transform, batch, asked)
            self._compose([name], ids, vectors)

    def _encode(
        self,
        run: Callable[[Tensor], Tensor],
        method: Method,
        transform: Transform,
        batch: Batch[str],
        wanted: Sequence[bool],
    ) -> tuple[list[str], Tensor]:
        ids = [i for i, wants in zip(batch.ids, wanted, strict=True) if wants]
        if not ids:
            return ids, torch.empty(0, 1, 1)
        pixels = batch.pixels if len(ids) == len(batch.ids) else batch.pixels[torch.tensor(wanted)]
        try:
            return ids, run(transform.normalise(pixels.to(next(method.parameters()).device)))
        except torch.OutOfMemoryError as error:
            told = f"the device has no room for {len(ids)} pictures at once; give a smaller --batch-size (batch_size)"
            raise ComposirError(told) from error

    def _keep(self, key: str, ids: Sequence[str], vectors: Float[Tensor, "B T D"]) -> None:
        if key not in self.made.galleries:
            shape = (len(self.made.rows), *vectors.shape[1:])
            self.made.galleries[key] = torch.zeros(shape, dtype=torch.float16)
        inside = [place for place, image_id in enumerate(ids) if image_id in self.made.rows]
        rows = [self.made.rows[ids[place]] for place in inside]
        self.made.galleries[key][rows] = vectors[inside].half().cpu()

    def _compose(self, names: Sequence[str], ids: Sequence[str], vectors: Float[Tensor, "B R C"]) -> None:
        asks = [(row, place) for row, image_id in enumerate(ids) for place in self._asks.get(image_id, ())]
        for start in range(0, len(asks), self._batch_size):
            rows, places = (list(x) for x in zip(*asks[start : start + self._batch_size], strict=True))
            texts = [self._texts[place] for place in places]
            for name in names:
                made = composed(self._methods[name], vectors[rows], texts, **self._controls.get(name, {})).float().cpu()
                shape = (len(self._texts), *made.shape[1:])
                self.made.queries.setdefault(name, torch.zeros(shape))[places] = made
