"""One task ranked by one method: the same encode, compose and scoring as search."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from composir.datasets.base import Dataset
from composir.errors import ComposirError
from composir.evaluation.embedding import composed, encode
from composir.evaluation.runs import KEPT, MEMORY, Run, ranked
from composir.methods.base import Method
from composir.types import Task


@torch.inference_mode()
def rank(
    method: Method,
    task: Task,
    dataset: Dataset,
    *,
    gallery: Float[Tensor, "N T D"] | None = None,
    references: Float[Tensor, "Q R C"] | None = None,
    k: int = KEPT,
    batch_size: int = 128,
    memory: int = MEMORY,
    **controls: Any,
) -> Run:
    """Answer every query of a task.

    Args:
        method: Encodes and composes.
        task: What is asked, and whether a reference is dropped from its own ranking.
        dataset: Where the pictures are.
        gallery: Embeddings of `task.gallery` where they are already there; methods of one gallery key share them.
        references: The encoded references in query order, likewise.
        k: How many answers to keep.
        batch_size: Of encoding and composing.
        memory: Bytes that scoring may take beside the embeddings.
        controls: For `compose`, e.g. alpha=0.8.

    Raises:
        ComposirError: The truth is hidden, or a target or reference to be dropped is not in the gallery.
    """
    if not task.queries:
        raise ComposirError(f"task {task.name!r} has no queries; nothing can be ranked")
    if task.hidden:
        raise ComposirError(
            f"the targets of {task.name!r} are not public; rank its val split (for cirr and circo `composir submit` "
            "writes the files that their servers score)"
        )
    if gallery is None:
        gallery = encode(method, dataset, task.gallery, "gallery", batch_size=batch_size)
    if references is None:
        references = encode(method, dataset, [q.reference for q in task.queries], "reference", batch_size=batch_size)
    device = next(method.parameters()).device
    texts = [task.wording.texts(query) for query in task.queries]
    made = [
        composed(method, references[i : i + batch_size].to(device), texts[i : i + batch_size], **controls).cpu()
        for i in range(0, len(texts), batch_size)
    ]
    # In half precision as an index stores it, so that a number measures what a search would find.
    return ranked(torch.cat(made), gallery.half(), task, k=k, memory=memory)
