"""What set.json says of a plain set, and what holds where it says nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from composir.datasets.records import Record, read_json, told
from composir.errors import DataError
from composir.plugins import nearest
from composir.types import Query

KEYS = ("name", "drop_reference", "metrics")
METRIC = re.compile(r"(R|Rs|Recall|mAP)@[1-9][0-9]*(/\*)?")


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a set.

    Attributes:
        path: Of set.json, which may be missing.
        name: Of its task; the folder's, if not given.
        drop_reference: Whether a query's reference is taken out of its ranking; True, if not given.
        metrics: Those given, or None.
    """

    path: Path
    name: str
    drop_reference: bool = True
    metrics: tuple[str, ...] | None = None

    @classmethod
    def read(cls, root: Path) -> Settings:
        """Read what the set.json in a folder says.

        Raises:
            DataError: It is malformed, has an unknown key, or a value that is not allowed.
        """
        path, name = root / "set.json", root.resolve().name
        if not path.is_file():
            return cls(path, name)
        record = Record(read_json(path), path, "set")
        for key in record.value:
            if key not in KEYS:
                raise record.error(str(nearest(key, KEYS, "key")))
        drop = record.value.get("drop_reference", True)
        if not isinstance(drop, bool):
            raise record.error(f"key 'drop_reference' holds {told(drop)}; true or false is needed")
        metrics = _metrics(record) if record.has("metrics") else None
        return cls(path, record.optional_text("name", name), drop, metrics)

    def metrics_for(self, queries: Sequence[Query]) -> tuple[str, ...]:
        """The metrics of a task with these queries: those given, or all that its annotations allow.

        Raises:
            DataError: Rs@K is given, but a query has no subset.
        """
        subsets = all(query.subset for query in queries)
        if self.metrics is None:
            metrics = ["R@1", "R@5", "R@10", "R@50"]
            metrics += ["Rs@1", "Rs@2", "Rs@3"] * subsets
            if any(len(query.targets) > 1 for query in queries):
                metrics += ["mAP@5", "mAP@10", "mAP@25", "mAP@50"]
            return (*metrics, *(["R@10/*"] * any(query.aspects for query in queries)))
        if not subsets and any(metric.startswith("Rs@") for metric in self.metrics):
            lacks = next(query.id for query in queries if not query.subset)
            raise DataError(f"{self.path}: metrics ask for Rs@K, but query {lacks!r} has no subset; give it one")
        return self.metrics


def _metrics(record: Record) -> tuple[str, ...]:
    metrics = record.texts("metrics")
    wrong = next((metric for metric in metrics if not METRIC.fullmatch(metric)), None)
    if not metrics:
        raise record.error("key 'metrics' holds an empty list; name some, or leave the key out")
    if wrong is not None:
        raise record.error(f"key 'metrics' holds {told(wrong)}; R@K, Rs@K, Recall@K, mAP@K are known, and X@K/*")
    return metrics
