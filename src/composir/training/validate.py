"""Validation during training: captions to pictures for methods on pairs, and the tasks by the same `rank` as `eval`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import UInt8
from numpy.typing import NDArray
from torch import Tensor

from composir.errors import ComposirError
from composir.evaluation.bench import tasks_of
from composir.evaluation.ranking import rank
from composir.evaluation.scoring import per_query
from composir.features import image_features
from composir.methods.base import Frozen, Method, Side
from composir.methods.joint import JointSpace
from composir.metrics import hit_rates
from composir.plugins import nearest
from composir.similarity import target_ranks
from composir.training.pictures import Source, decoded
from composir.types import Pair, Task

CUTOFFS = (1, 5, 10)
CAPTION = "caption "
CAPTION_METRICS = tuple(f"{CAPTION}R@{k}" for k in CUTOFFS)
BATCH = 128  # pictures encoded at once, as in evaluation: sums of another batch may differ in the last bit
Scores = dict[str, float]  # per cent


def caption_scores(
    method: JointSpace, pairs: Sequence[Pair], pixels: UInt8[Tensor, "N 3 S S"], caption: int = 0, batch_size: int = 256
) -> Scores:
    """Caption -> its image among all images of the pairs: R@1, R@5, R@10 in per cent; see `caption_ranks`."""
    ranks = caption_ranks(method, pairs, pixels, caption, batch_size)
    return {name: float(100 * hits.mean()) for name, hits in hit_rates(ranks, CUTOFFS).items()}


@torch.no_grad()
def caption_ranks(
    method: JointSpace, pairs: Sequence[Pair], pixels: UInt8[Tensor, "N 3 S S"], caption: int = 0, batch_size: int = 256
) -> NDArray[np.int64]:
    """(N,) place from 1 of each pair's image among all images of the pairs, for its caption.

    Args:
        method: Encodes both sides.
        pairs: N pairs.
        pixels: Their pictures.
        caption: Which caption of each pair asks; 0 is the full one in Wardrobe.
        batch_size: Of encoding.
    """
    method.eval()
    gallery = _encoded(method, "gallery", pixels, batch_size)
    texts = [p.captions[caption] for p in pairs]
    query = torch.cat([method.encode_text(texts[i : i + batch_size]) for i in range(0, len(texts), batch_size)])
    return target_ranks(query.cpu(), gallery, torch.arange(len(pairs))).numpy()


class Validation:
    """What a run is judged by.

    Args:
        method: In training; it is left in eval mode by each validation.
        source: Data set, workers.
        metric: The name that decides, see `EvalConfig.metric`; "" for the default.

    Attributes:
        metric: The name that decides.

    Raises:
        ComposirError: An unknown metric (the nearest ones are listed), or a data set that has nothing to validate with.
    """

    def __init__(self, method: Method, source: Source, metric: str):
        self._method, self._source = method, source
        captions = method.trains_on == "pairs"
        self._pairs = self._joint_pairs() if captions and metric in ("", *CAPTION_METRICS) else []
        self._tasks = [] if self._pairs else tasks_of(source.dataset, "val")
        self._averages = source.dataset.averages if self._tasks else {}
        names = [*self._averages, *_names(self._tasks), *(CAPTION_METRICS if captions else ())]
        self.metric = metric or self._default()
        if self.metric not in names:
            raise nearest(self.metric, names, "metric in [eval]")
        self._pixels: Tensor | None = None
        self._sides: dict[Side, _Encoder] = {}

    def prepare(self) -> None:
        """Read every picture that validations look at, before the first step; encode those that no step changes.

        Raises:
            DataError: One cannot be read; nothing is left out of a gallery.
        """
        self._method.eval()
        if self._pairs:
            ids = [pair.image for pair in self._pairs]
            self._pixels = _all(ids, _decoded(self._method, self._source, "gallery", list(dict.fromkeys(ids))))
        for side, ids in _needed(self._tasks).items():
            self._sides[side] = _Encoder(self._method, side, self._source, tuple(ids))

    def __call__(self) -> Scores:
        """All metrics in per cent; those that apply to no query are left out."""
        if self._pairs and isinstance(self._method, JointSpace) and self._pixels is not None:
            scores = caption_scores(self._method, self._pairs, self._pixels)
            return {f"{CAPTION}{name}": score for name, score in scores.items()}
        self._method.eval()
        vectors: dict[Side, Tensor] = {side: encoder() for side, encoder in self._sides.items()}
        per_task = {task.name: self._task_scores(task, vectors) for task in self._tasks}
        found = {f"{name} {metric}": score for name, own in per_task.items() for metric, score in own.items()}
        found |= _means(per_task.values(), self.metric)
        for name, over in self._averages.items():
            means = [own[metric] for own in per_task.values() for metric in over if metric in own]
            if len(means) == len(over) * len(per_task):
                found[name] = float(np.mean(means))
        if self.metric not in found:
            raise ComposirError(f"metric {self.metric!r} of [eval] applies to no query; choose another")
        return found

    def _joint_pairs(self) -> list[Pair]:
        if not isinstance(self._method, JointSpace):
            raise ComposirError(
                f"method {self._method.name!r} has no joint space in which captions find pictures; give [eval] metric "
                "the name of a task's metric"
            )
        pairs = list(self._source.dataset.pairs("val"))
        if not pairs:
            raise ComposirError(f"{self._source.dataset.name} has no pairs in val; give it some, or a task's metric")
        return pairs

    def _default(self) -> str:
        if self._pairs:
            return CAPTION_METRICS[0]
        first = next(iter(self._averages), None)
        return first or ("R@10" if any("R@10" in task.metrics for task in self._tasks) else self._tasks[0].metrics[0])

    def _task_scores(self, task: Task, vectors: Mapping[Side, Tensor]) -> Scores:
        gallery, reference = self._sides["gallery"], self._sides["reference"]
        run = rank(
            self._method,
            task,
            self._source.dataset,
            gallery=vectors["gallery"][gallery.rows(task.gallery)],
            references=vectors["reference"][reference.rows([query.reference for query in task.queries])],
        )
        return {
            name: float(100 * np.nanmean(own)) for name, own in per_query(run, task).items() if not np.isnan(own).all()
        }


@dataclass
class _Encoder:
    """One side's pictures; encoded anew only where training changes what encodes them.

    Attributes:
        constant: Whether no tensor that this side reads is trained. Then vectors come from the cache of features, in
            single precision whatever that of training has, so that they are what evaluation computes.
    """

    method: Method
    side: Side
    source: Source
    ids: tuple[str, ...]
    constant: bool = field(init=False)
    _read: Tensor = field(init=False, repr=False)  # vectors where constant, else pixels

    def __post_init__(self) -> None:
        method = self.method
        same = type(method).encode_reference is JointSpace.encode_reference
        read = method.gallery_side if self.side == "gallery" or same else method.reference_side
        trained = (name for name, parameter in method.named_parameters() if parameter.requires_grad)
        self.constant = not any(name.startswith(read) for name in trained)
        self._row = {image_id: row for row, image_id in enumerate(self.ids)}
        self._read = self._vectors() if self.constant else _decoded(method, self.source, self.side, self.ids)[0]

    def __call__(self) -> Tensor:
        return self._read if self.constant else _encoded(self.method, self.side, self._read)

    def _vectors(self) -> Tensor:
        method, source = self.method, self.source
        if self.side == "gallery":
            key, run = method.gallery_key(), method.encode_gallery
        else:
            key, run = method.reference_key(), method.encode_reference
        found, _, _ = image_features(
            Frozen(key, method.transform(self.side), run), source.dataset, self.ids, source.cache,
            device=next(method.parameters()).device, batch_size=BATCH, workers=source.config.workers, tick=source.tick,
        )  # fmt: skip
        return found.take(torch.arange(len(self.ids)))

    def rows(self, ids: Sequence[str]) -> list[int]:
        return [self._row[image_id] for image_id in ids]


@torch.no_grad()
def _encoded(method: Method, side: Side, pixels: Tensor, batch_size: int = 256) -> Tensor:
    transform, device = method.transform(side), next(method.parameters()).device
    run = method.encode_gallery if side == "gallery" else method.encode_reference
    return torch.cat([run(transform.normalise(part.to(device))).cpu() for part in pixels.split(batch_size)])


def _decoded(method: Method, source: Source, side: Side, ids: Sequence[str]) -> tuple[Tensor, list[str], object]:
    return decoded(source.dataset, ids, method.transform(side), source.config.workers, source.tick)


def _needed(tasks: Sequence[Task]) -> dict[Side, list[str]]:
    if not tasks:
        return {}
    return {
        "gallery": list(dict.fromkeys(i for task in tasks for i in task.gallery)),
        "reference": list(dict.fromkeys(query.reference for task in tasks for query in task.queries)),
    }


def _names(tasks: Sequence[Task]) -> list[str]:
    """Metrics that may decide: those of all tasks, and of single ones."""
    every = dict.fromkeys(metric for task in tasks for metric in task.metrics if "/" not in metric)
    return [*every, *(f"{task.name} {metric}" for task in tasks for metric in task.metrics if "/" not in metric)]


def _means(tasks: Iterable[Scores], metric: str) -> Scores:
    """The metric that decides, where it is one of tasks: its mean over those that have it."""
    found = [own[metric] for own in tasks if metric in own]
    return {metric: float(np.mean(found))} if found else {}


def _all(ids: Sequence[str], made: tuple[Tensor, list[str], object]) -> Tensor:
    """One row for each of `ids`, which may repeat."""
    pixels, kept, _ = made
    if len(kept) == len(ids):
        return pixels
    row = {image_id: place for place, image_id in enumerate(kept)}
    return pixels[[row[image_id] for image_id in ids]]
