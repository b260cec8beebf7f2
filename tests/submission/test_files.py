"""What lies under the name of a submission is whole and has passed the check, or nothing lies there."""

from __future__ import annotations

from pathlib import Path

import pytest

from composir.errors import DataError, UnknownNameError
from composir.submission.files import names, require_free, save
from composir.submission.formats import Prediction, read


@pytest.fixture
def test1(drawn, truth):
    return truth("cirr", "test", drawn["cirr"])


@pytest.fixture
def predictions(test1):
    """Both of CIRR's, good."""
    task, found = test1.tasks[0], []
    for kind, name in names(test1).items():
        among = {q: task.gallery if kind == "recall" else q.subset for q in task.queries}
        lists = {q.id: [i for i in ids if i != q.reference] for q, ids in among.items()}
        found.append(
            Prediction(kind, {q: tuple(ids[: 50 if kind == "recall" else 3]) for q, ids in lists.items()}, Path(name))
        )
    return found


def test_the_names_are_those_of_the_public_samples(truth, drawn, opened):
    assert names(truth("cirr", "test", drawn["cirr"])) == {
        "recall": "test1_pred_ranks_recall.json",
        "recall_subset": "test1_pred_ranks_recall_subset.json",
    }
    assert names(truth("cirr", "val", drawn["cirr"]))["recall"] == "val_pred_ranks_recall.json"
    assert names(truth("circo", "test", drawn["circo"])) == {"circo": "submission_test.json"}
    with pytest.raises(UnknownNameError, match="'fashioniq'"):
        names(truth("fashioniq", "val"))


def test_files_are_written_whole(test1, predictions, tmp_path):
    out = tmp_path / "a" / "b"
    written = save(predictions, out, test1)
    assert [path.name for path in written] == list(names(test1).values())
    assert sorted(out.iterdir()) == sorted(written)
    assert [read(path, "cirr") for path in written] == predictions
    text = written[0].read_text("utf-8")
    keys = [f'"{query}"' for query in sorted(predictions[0].lists)]
    assert text.startswith(f"{{{keys[0]}: [")
    assert text.endswith('"metric": "recall", "version": "rc2"}')
    assert [text.index(f"{key}:") for key in keys] == sorted(text.index(f"{key}:") for key in keys)


def test_a_bad_file_leaves_what_was_there(test1, predictions, tmp_path):
    save(predictions, tmp_path, test1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    query = test1.tasks[0].queries[-1]
    worse = dict(predictions[1].lists) | {query.id: (query.reference, *predictions[1].lists[query.id][1:])}
    with pytest.raises(DataError, match=f"query {query.id}: '{query.reference}' is its own reference"):
        save([predictions[0], Prediction("recall_subset", worse, predictions[1].path)], tmp_path, test1, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_files_that_are_there_are_not_replaced_unasked(test1, predictions, tmp_path):
    save(predictions, tmp_path, test1)
    with pytest.raises(DataError, match=r"test1_pred_ranks_recall\.json is there already; .*--overwrite"):
        save(predictions, tmp_path, test1)
    other = [Prediction(p.kind, {query: ids[::-1] for query, ids in p.lists.items()}, p.path) for p in predictions]
    assert [read(path, "cirr") for path in save(other, tmp_path, test1, overwrite=True)] == other
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file; name a folder"):
        require_free(tmp_path / "file", test1)
