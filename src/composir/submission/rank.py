"""Rank what a benchmark hides: the same encode, compose and top-k as evaluation and search; needs torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from composir.errors import DataError
from composir.evaluation.bench import check_controls
from composir.evaluation.gaps import missing_images, needed_images, refuse
from composir.evaluation.passes import Embedded, Progress, embed
from composir.evaluation.ranking import ranked
from composir.methods.base import Method
from composir.similarity import subset_ranking
from composir.submission.files import names
from composir.submission.formats import CIRR, LENGTHS, Kind, Prediction
from composir.submission.truth import Truth, gallery_of
from composir.types import Query, Task

METHOD = "method"
WHOLE = "; a server takes no part of a split: get the pictures"


def predict(
    method: Method,
    truth: Truth,
    *,
    batch_size: int = 128,
    workers: int | None = None,
    progress: Progress = lambda *_: None,
    **controls: Any,
) -> list[Prediction]:
    """Answer every query of CIRR or CIRCO in the form that its server takes; `path` holds the usual file name.

    Args:
        method: Encodes and composes.
        truth: The split; its targets may be hidden.
        batch_size: Of encoding and composing.
        workers: Decoding processes, see `pixel_batches`.
        progress: Told (pictures done, pictures in all) after each batch.
        controls: For `compose`, e.g. alpha=0.8.

    Returns:
        CIRR's two, or CIRCO's one.

    Raises:
        UnknownNameError: A data set without a server.
        DataError: Pictures are missing or cannot be read, or CIRCO's gallery is not whole; no server takes a part.
    """
    kinds, task, dataset = names(truth), truth.tasks[0], truth.dataset
    check_controls(method, controls)
    if gallery_of(task) is None:
        raise DataError(
            f"{task.name}: the gallery is {task.gallery_name!r}; put image_info_unlabeled2017.json of COCO's unlabeled "
            "images into COCO2017_unlabeled/annotations, so that all of it is ranked"
        )
    needed = len(needed_images([task]))
    refuse(dataset, truth.split, dict.fromkeys(missing_images(dataset, [task]), "no file"), needed, partial=WHOLE)
    made = embed(
        {METHOD: method}, dataset, [task],
        controls={METHOD: controls}, batch_size=batch_size, workers=workers, progress=progress,
    )  # fmt: skip
    refuse(
        dataset,
        truth.split,
        {i: failure.detail or failure.reason for i, failure in made.failed.items()},
        needed,
        partial=WHOLE,
    )
    gallery = made.galleries[method.gallery_key()]
    return [Prediction(kind, _lists(kind, made, gallery, task), Path(name)) for kind, name in kinds.items()]


def _lists(kind: Kind, made: Embedded, gallery: Tensor, task: Task) -> dict[str, tuple[str, ...]]:
    """The best of each query, by what ranks it in evaluation too."""
    query = made.queries[METHOD]
    rows: NDArray[np.int32]
    if kind == "recall_subset":
        members = [[_row(made, q, member) for member in q.subset] for q in task.queries]
        own = [_row(made, q, q.reference) for q in task.queries]
        rows = subset_ranking(query, gallery, members, [()] * len(members), own, k=LENGTHS[kind]).rows
    else:
        asked = replace(task, drop_reference=task.drop_reference or kind in CIRR)
        rows = ranked(query, gallery, asked, k=LENGTHS[kind]).top
    return {
        q.id: tuple(task.gallery[row] for row in best if row >= 0) for q, best in zip(task.queries, rows, strict=True)
    }


def _row(made: Embedded, query: Query, image_id: str) -> int:
    if image_id not in made.rows:
        raise DataError(f"query {query.id} names image {image_id!r}, which is not in its gallery; mend the annotations")
    return made.rows[image_id]
