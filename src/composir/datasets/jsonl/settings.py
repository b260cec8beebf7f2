"""What set.json says of a plain set, and what holds where it says nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from composir.datasets.records import Record, read_json, told
from composir.errors import DataError
from composir.plugins import nearest
from composir.types import Query

KEYS = ("name", "drop_reference", "metrics")
METRIC = re.compile(r"(R|Rs|Recall|mAP)@[1-9][0-9]*(/\*)?")


class Settings:
    """The settings of a set.

    Attributes:
        name: Of its task; the folder's, if not given.
        drop_reference: Whether a query's reference is taken out of its ranking; True, if not given.
    """

    def __init__(self, root: Path) -> None:
        self.name, self.drop_reference = root.resolve().name, True
        self._metrics: tuple[str, ...] | None = None
        self._path = root / "set.json"
        if not self._path.is_file():
            return
        record = Record(read_json(self._path), self._path, "set")
        for key in record.value:
            if key not in KEYS:
                raise record.error(str(nearest(key, KEYS, "key")))
        self.name = record.optional_text("name", self.name)
        if record.has("drop_reference"):
            drop = record.value["drop_reference"]
            if not isinstance(drop, bool):
                raise record.error(f"key 'drop_reference' holds {told(drop)}; true or false is needed")
            self.drop_reference = drop
        if record.has("metrics"):
            self._metrics = record.texts("metrics")
            wrong = next((metric for metric in self._metrics if not METRIC.fullmatch(metric)), None)
            if not self._metrics:
                raise record.error("key 'metrics' holds an empty list; name some, or leave the key out")
            if wrong is not None:
                raise record.error(
                    f"key 'metrics' holds {told(wrong)}; R@K, Rs@K, Recall@K, mAP@K are known, and X@K/*"
                )

    def metrics_for(self, queries: Sequence[Query]) -> tuple[str, ...]:
        """The metrics of a task with these queries: those given, or all that its annotations allow.

        Raises:
            DataError: Rs@K is given, but a query has no subset.
        """
        subsets = all(query.subset for query in queries)
        if self._metrics is None:
            metrics = ["R@1", "R@5", "R@10", "R@50"]
            metrics += ["Rs@1", "Rs@2", "Rs@3"] * subsets
            if any(len(query.targets) > 1 for query in queries):
                metrics += ["mAP@5", "mAP@10", "mAP@25", "mAP@50"]
            return (*metrics, *(["R@10/*"] * any(query.aspects for query in queries)))
        if not subsets and any(metric.startswith("Rs@") for metric in self._metrics):
            lacks = next(query.id for query in queries if not query.subset)
            raise DataError(f"{self._path}: metrics ask for Rs@K, but query {lacks!r} has no subset; give it one")
        return self._metrics
