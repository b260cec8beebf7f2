"""The run of one method in one task, from query vectors and gallery vectors: scored as search scores, in one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from composir.errors import ComposirError
from composir.metrics import best_rank
from composir.similarity import RANK_BYTES, ranking, subset_ranking
from composir.types import Query, Task

MEMORY = RANK_BYTES
KEPT = 50  # answers kept for each query


@dataclass(frozen=True)
class Run:
    """One method's rankings of one task.

    Attributes:
        target_ranks: (Q, M) rank of each target in the order of `Query.targets`, from 1; 0 where there is none.
        subset_ranks: (Q,) rank of the annotated (first) target among the other subset members, 0 where it is not among
            them, or None where the task does not ask for it.
        ties: (Q,) pictures that are no target and score as the best target does.
        top: (Q, K) gallery rows, best first; -1 behind the last where a query has candidates of its own.
        scores: (Q, K) theirs.
    """

    target_ranks: NDArray[np.int32]
    subset_ranks: NDArray[np.int32] | None
    ties: NDArray[np.int32]
    top: NDArray[np.int32]
    scores: NDArray[np.float32]

    @property
    def ranks(self) -> NDArray[np.int64]:
        """(Q,) rank of the best target, from 1; 0 where the truth is hidden."""
        return best_rank(self.target_ranks)


def ranked(
    query: Float[Tensor, "Q S D"],
    gallery: Float[Tensor, "N T D"],
    task: Task,
    *,
    k: int = KEPT,
    memory: int = MEMORY,
    partial: bool = False,
) -> Run:
    """The run of query vectors that are already composed; the truth may be hidden, then ranks are 0.

    Args:
        query: One for each query of the task.
        gallery: One for each picture of its gallery.
        task: What is asked.
        k: How many answers to keep.
        memory: Bytes that scoring may take beside the embeddings.
        partial: Let targets, references and subset members be absent from the gallery.

    Raises:
        ComposirError: An image that a query names is not in the gallery, and `partial` is not said.
    """
    row = {image_id: i for i, image_id in enumerate(task.gallery)}
    rows = _Rows(row, task, partial)
    targets = [rows.of(q, q.targets) for q in task.queries]
    drop = [rows.reference(q) for q in task.queries] if task.drop_reference else None
    subset_ranks = None
    if task.own_candidates:
        candidates, own = [rows.subset(q) for q in task.queries], [row.get(q.reference, -1) for q in task.queries]
        found = subset_ranking(query, gallery, candidates, targets, own, k=k, memory=memory)
    else:
        found = ranking(query, gallery, targets, k, drop, memory=memory)
        if any(name.startswith("Rs@") for name in task.metrics):
            rows.require_subsets()
            first = [rows.of(q, q.targets[:1]) for q in task.queries]
            candidates, own = [rows.subset(q) for q in task.queries], [row.get(q.reference, -1) for q in task.queries]
            subset_ranks = subset_ranking(query, gallery, candidates, first, own, k=1, memory=memory).first
    return Run(
        target_ranks=rows.aligned(found.ranks),
        subset_ranks=subset_ranks,
        ties=found.ties,
        top=found.rows,
        scores=found.scores,
    )


@dataclass(frozen=True)
class _Rows:
    """Image ids of a task as gallery rows; unless `partial`, each must be there."""

    row: Mapping[str, int]
    task: Task
    partial: bool

    def of(self, query: Query, ids: Sequence[str]) -> list[int]:
        try:
            return [self.row[image_id] for image_id in ids]
        except KeyError:
            for image_id in ids:
                self._require(query, image_id)
        return [self.row[image_id] for image_id in ids if image_id in self.row]

    def reference(self, query: Query) -> int:
        self._require(query, query.reference)
        if query.reference in query.targets:
            raise ComposirError(
                f"query {query.id} of {self.task.name!r} has its own reference as a target, and references are dropped "
                "from their rankings; open the data set with drop_reference = false"
            )
        return self.row.get(query.reference, -1)

    def require_subsets(self) -> None:
        """Refuse to rank within subsets where a query has none."""
        for query in self.task.queries:
            if not query.subset:
                raise ComposirError(
                    f"query {query.id} of {self.task.name!r} has no subset to be ranked in, and {self.task.name!r} "
                    "asks for Rs@K; mend the annotations"
                )

    def subset(self, query: Query) -> list[int]:
        if query.targets and query.targets[0] not in query.subset and not self.partial:
            raise ComposirError(f"query {query.id} of {self.task.name!r}: its target is not in its own subset")
        return self.of(query, query.subset)

    def aligned(self, ranks: NDArray[np.int32]) -> NDArray[np.int32]:
        """Ranks in the order of the annotated targets, those that are absent 0."""
        if not self.partial:
            return ranks
        widest = max((len(q.targets) for q in self.task.queries), default=0)
        made = np.zeros((len(ranks), widest), np.int32)
        for own, given, query in zip(made, ranks, self.task.queries, strict=True):
            there = [place for place, target in enumerate(query.targets) if target in self.row]
            own[there] = given[: len(there)]
        return made

    def _require(self, query: Query, image_id: str) -> None:
        if image_id not in self.row and not self.partial:
            raise ComposirError(
                f"query {query.id} of {self.task.name!r} names image {image_id}, which is not in its gallery; mend the "
                "annotations, or leave such queries out with --partial (partial=True)"
            )
