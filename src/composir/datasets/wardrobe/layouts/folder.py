"""A plain folder of pictures, to be indexed and searched.

    OUT/test-00000-0.png ...           all of the test split: no backbone trained on Wardrobe has seen the designs
    OUT/metadata.jsonl                 attributes of each picture, which `composir index` makes columns to filter by
    OUT/.wardrobe/garments.jsonl       attributes and captions of each picture
    OUT/.wardrobe/queries.jsonl        composed queries with their right answers
    OUT/.wardrobe/wardrobe.json        how it was made

The folder beside the pictures is hidden, because `composir index` accounts for every visible file and would have to
report these as skipped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict

from composir.datasets.wardrobe import Wardrobe
from composir.datasets.wardrobe.layouts.base import Layout, Sizes, single_text
from composir.types import Query

BESIDE = ".wardrobe"


def divide(size: int) -> Sizes:
    """Every garment is of the test split; `size` need not be whole families."""
    return {"test": size}


def build(data: Wardrobe, sizes: Sizes) -> Layout:
    """The first garments of the test split, and those queries that they can ask and answer."""
    paths = {i: f"{i}.png" for i in data.ids("test")[: sizes["test"]]}
    layout = Layout({path: i for i, path in paths.items()}, about=BESIDE)
    layout.files["metadata.jsonl"] = [{"file_name": path, **asdict(data.garment(i))} for i, path in paths.items()]
    layout.files[f"{BESIDE}/queries.jsonl"] = [
        _row(data, task.name, query, paths)
        for task in data.tasks("test")
        for query in task.queries
        if query.reference in paths and any(t in paths for t in query.targets)
    ]
    return layout


def _row(data: Wardrobe, task: str, query: Query, paths: Mapping[str, str]) -> dict[str, object]:
    """A query over file names; what lies outside the folder is left out of its targets and its subset.

    `captions` are what two annotators say, each perhaps half of it; `text` is one sentence that says it all.
    """
    row: dict[str, object] = {"id": f"{task}/{query.id}", "task": task, "reference": paths[query.reference]}
    row["captions"] = query.captions
    row["text"] = query.text if query.shared_concept else single_text(data, query)
    row["targets"] = [paths[t] for t in query.targets if t in paths]
    if query.subset:
        row["subset"] = [paths[i] for i in query.subset if i in paths]
    if query.shared_concept:
        row["shared_concept"] = query.shared_concept
    return row
