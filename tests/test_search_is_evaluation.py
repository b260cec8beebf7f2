"""What is measured is what is served: one folder, one method, the ranking of `evaluate` and the answers of a search."""

from __future__ import annotations

import pytest

from composir.datasets import load_dataset
from composir.datasets.wardrobe.writers import write
from composir.engine import Engine
from composir.evaluation import rank
from composir.gallery.scan import file_id
from composir.indexing import create_gallery, index_folder
from composir.opening import find_method, load_wanted


@pytest.mark.parametrize("method", ["slerp", "sum"])
def test_the_same_queries_find_the_same_pictures(tmp_path, method):
    write(tmp_path / "set", "cirr", size=360, seed=3)
    dataset = load_dataset("cirr", root=tmp_path / "set")
    task = dataset.tasks("val")[0]
    folder = tmp_path / "gallery-pictures"
    folder.mkdir()
    names = {}
    for name in task.gallery:
        source = dataset.images.path(name)
        (folder / source.name).write_bytes(source.read_bytes())
        names[file_id(source)] = name
    assert len(names) == len(task.gallery)
    built = load_wanted(find_method(method), device="cpu").eval()
    gallery = create_gallery(tmp_path / "g", built, folder)
    index_folder(gallery, built, folder, workers=0)
    engine, run = Engine(built, gallery), rank(built, task, dataset)
    assert len(task.queries) > 5
    for query, ranked in zip(task.queries, run.top, strict=True):
        (text,) = task.wording.texts(query)
        hits = engine.search(dataset.images.path(query.reference), text, k=10)
        assert [names[hit.id] for hit in hits] == [task.gallery[row] for row in ranked[:10]]
