"""Rank a task and report it: the same encode, compose and scoring as search, then metrics with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from composir import metrics
from composir.datasets.base import Dataset
from composir.errors import ComposirError
from composir.loading import pixel_batches
from composir.methods.base import Method, Side
from composir.similarity import paired_scores, target_ranks, top_k
from composir.types import Task


@dataclass(frozen=True)
class Run:
    """One method's rankings of one task.

    Attributes:
        task: Its name.
        ranks: (Q,) rank of the annotated (first) target, from 1.
        subset_ranks: (Q,) its rank among the other subset members, or None where the task has no subsets.
        top: (Q, K) gallery rows, best first.
        controls: What `compose` was given.
    """

    task: str
    ranks: NDArray[np.int64]
    subset_ranks: NDArray[np.int64] | None
    top: NDArray[np.int64]
    controls: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Score:
    """A metric in per cent: the mean over queries and its 95 % bootstrap interval over queries."""

    value: float
    low: float
    high: float


@torch.inference_mode()
def encode(
    method: Method,
    dataset: Dataset,
    ids: Sequence[str],
    side: Side,
    *,
    batch_size: int = 128,
    workers: int | None = None,
) -> Tensor:
    """Encode pictures for one side, in the order of `ids`: (N, T, D) for "gallery", (N, R, C) for "reference".

    Raises:
        DataError: A picture is missing or cannot be read; nothing is silently left out of a gallery.
    """
    method.eval()
    transform = method.transform(side)
    run = method.encode_gallery if side == "gallery" else method.encode_reference
    device = next(method.parameters()).device
    parts = [
        run(transform.normalise(batch.pixels.to(device))).cpu()
        for batch in pixel_batches(dataset.image, ids, transform, batch_size, workers=workers)
    ]
    return torch.cat(parts)


@torch.inference_mode()
def rank(
    method: Method,
    task: Task,
    dataset: Dataset,
    *,
    gallery: Float[Tensor, "N T D"] | None = None,
    references: Float[Tensor, "Q R C"] | None = None,
    k: int = 50,
    batch_size: int = 128,
    **controls: Any,
) -> Run:
    """Answer every query of a task.

    Args:
        method: Encodes and composes.
        task: What is asked, and whether a reference is dropped from its own ranking.
        dataset: Where the pictures are.
        gallery: Embeddings of `task.gallery` where they are already there; methods of one gallery key share them.
        references: The encoded references in query order, likewise.
        k: How many answers to keep at least; a task's mAP@K keeps K.
        batch_size: Of encoding and composing.
        controls: For `compose`, e.g. alpha=0.8.

    Raises:
        ComposirError: The truth is hidden, or a target or reference to be dropped is not in the gallery.
    """
    if not task.queries:
        raise ComposirError(f"task {task.name!r} has no queries; nothing can be ranked")
    if task.hidden:
        raise ComposirError(f"the targets of {task.name!r} are not public; rank its val split, or write a submission")
    row = {image_id: i for i, image_id in enumerate(task.gallery)}
    targets = torch.tensor([_row(row, q.targets[0], q.id, task) for q in task.queries])
    drop = [_row(row, q.reference, q.id, task) for q in task.queries] if task.drop_reference else None
    if gallery is None:
        gallery = encode(method, dataset, task.gallery, "gallery", batch_size=batch_size)
    if references is None:
        references = encode(method, dataset, [q.reference for q in task.queries], "reference", batch_size=batch_size)
    device = next(method.parameters()).device
    texts = [q.text for q in task.queries]
    # Enough answers for every mAP@K of the task, so that none is cut short unnoticed.
    k = max([k, *(int(name.partition("@")[2]) for name in task.metrics if name.startswith("mAP@"))])
    composed = [
        method.compose(references[i : i + batch_size].to(device), texts[i : i + batch_size], **controls).cpu()
        for i in range(0, len(texts), batch_size)
    ]
    query = torch.cat(composed)
    return Run(
        task=task.name,
        ranks=target_ranks(query, gallery, targets, drop).numpy(),
        subset_ranks=_subset_ranks(query, gallery, task, row),
        top=top_k(query, gallery, k, drop)[1].numpy(),
        controls=dict(controls),
    )


def _row(row: Mapping[str, int], image_id: str, query_id: str, task: Task) -> int:
    if image_id not in row:
        raise ComposirError(f"query {query_id} of {task.name!r} names image {image_id}, which is not in its gallery")
    return row[image_id]


def _subset_ranks(query: Tensor, gallery: Tensor, task: Task, row: Mapping[str, int]) -> NDArray[np.int64] | None:
    """Rank of each target among its subset without the reference; ties in the subset's own order."""
    if not all(q.subset for q in task.queries):
        return None
    others = [[m for m in q.subset if m != q.reference] for q in task.queries]
    widest = max(map(len, others))
    rows = [[_row(row, m, q.id, task) for m in o] for o, q in zip(others, task.queries, strict=True)]
    for query_, o in zip(task.queries, others, strict=True):
        if query_.targets[0] not in o:
            raise ComposirError(f"query {query_.id} of {task.name!r}: its target is not in its own subset")
    padded = torch.tensor([own + [own[0]] * (widest - len(own)) for own in rows])
    scores = paired_scores(query, gallery[padded])
    real = torch.tensor([[i < len(o) for i in range(widest)] for o in others])
    place = torch.tensor([o.index(q.targets[0]) for o, q in zip(others, task.queries, strict=True)])[:, None]
    own = scores.gather(1, place)
    ahead = (scores > own) | ((scores == own) & (torch.arange(widest) < place))
    return ((ahead & real).sum(dim=1) + 1).numpy()


def per_query(run: Run, task: Task) -> dict[str, NDArray[np.float64]]:
    """Every metric of the task, one value in 0..1 for each query.

    Raises:
        ComposirError: A metric that is unknown or that the run cannot give.
    """
    values: dict[str, NDArray[np.float64]] = {}
    for name in task.metrics:
        kind, _, cutoff = name.partition("@")
        k = int(cutoff)
        if kind == "R":
            values |= metrics.hit_rates(run.ranks, (k,))
        elif kind == "Rs" and run.subset_ranks is not None:
            values |= metrics.hit_rates(run.subset_ranks, (k,), "Rs")
        elif kind == "mAP":
            row = {image_id: i for i, image_id in enumerate(task.gallery)}
            relevant = np.zeros((len(run.top), k), bool)
            for i, query in enumerate(task.queries):
                relevant[i, : run.top.shape[1]] = np.isin(run.top[i, :k], [row[t] for t in query.targets])
            counts = np.array([len(q.targets) for q in task.queries])
            values[name] = metrics.average_precision(relevant, counts, k)
        else:
            raise ComposirError(
                f"task {task.name!r} asks for {name!r}; known: R@K, mAP@K, and Rs@K where it has subsets"
            )
    return values


def report(run: Run, task: Task) -> dict[str, Score]:
    """Every metric of the task in per cent, with its interval over queries."""
    scores = {}
    for name, values in per_query(run, task).items():
        low, high = metrics.bootstrap_interval(values)
        scores[name] = Score(100 * float(values.mean()), 100 * low, 100 * high)
    return scores
