"""Queries as rows: what queries.parquet keeps of each, built without a Python string for each answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from composir.evaluation.results import COLUMNS
from composir.evaluation.runs import Run
from composir.evaluation.scoring import Values
from composir.types import Task


def rows_of(method: str, task: Task, run: Run, values: Values) -> pa.Table:
    """One row for each query of a task; see `results.COLUMNS`, and a column for each metric."""
    count = len(task.queries)
    there = run.top >= 0
    offsets = pa.array(np.concatenate([[0], there.sum(axis=1).cumsum()]), pa.int32())
    names = pa.array(task.gallery, pa.string())
    top = pa.ListArray.from_arrays(offsets, names.take(pa.array(run.top[there])))
    scores = pa.ListArray.from_arrays(offsets, pa.array(run.scores[there].astype(np.float32)))
    subset = np.zeros(count, np.int32) if run.subset_ranks is None else run.subset_ranks
    columns = {
        "method": [method] * count,
        "task": [task.name] * count,
        "query": [query.id for query in task.queries],
        "reference": [query.reference for query in task.queries],
        "text": [" | ".join(task.wording.texts(query)) for query in task.queries],
        "targets": [query.targets for query in task.queries],
        "rank": run.ranks,
        "subset_rank": subset,
        "ties": run.ties,
        "top": top,
        "scores": scores,
        "aspects": [query.aspects for query in task.queries],
    }
    made = {
        name: pa.array(column, COLUMNS[name]) if column is not top and column is not scores else column
        for name, column in columns.items()
    }
    made |= {name: pa.array(own, pa.float64(), mask=np.isnan(own)) for name, own in values.items()}
    return pa.table(made)


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows in one table; a metric that a task does not have is null there."""
    return pa.concat_tables(tables, promote_options="default").combine_chunks()
