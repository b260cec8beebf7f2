"""A result on disk: whole or not at all, and read back with care."""

from __future__ import annotations

import json

import pyarrow.parquet as pq
import pytest

from composir.errors import DataError
from composir.evaluation import evaluate, load_result
from composir.evaluation.results import COLUMNS, free_folder
from composir.types import Query, Task


@pytest.fixture(scope="module")
def result(signs, data, subset_class):
    ids = data.ids("test")[:9]
    queries = tuple(Query(str(i), ids[i], ("is red",), (ids[i + 1],)) for i in range(5))
    return evaluate(signs, subset_class(data, Task("t", ids, queries, ("R@1",), True)), "test", workers=0)


@pytest.fixture
def folder(result, tmp_path):
    result.save(tmp_path / "runs" / "r")
    return tmp_path / "runs" / "r"


def test_it_is_read_back_as_it_was(result, folder):
    again = load_result(folder)
    assert again.content == result.content
    assert again.queries.equals(result.queries)
    assert again.methods == result.methods
    assert again.scores("sum") == result.content["baselines"]["sum"]
    assert again.scores("signs")["tasks"] == result.content["tasks"]
    assert sorted(path.name for path in folder.iterdir()) == ["queries.parquet", "result.json"]


def test_the_columns_are_those_of_the_contract(folder):
    table = pq.read_table(folder / "queries.parquet")
    assert {name: table[name].type for name in COLUMNS} == COLUMNS
    assert str(table["R@1"].type) == "double"
    assert table.column_names == [*COLUMNS, "R@1"]


def test_a_folder_with_a_result_is_refused(result, folder):
    with pytest.raises(DataError, match=r"already holds a result.*--overwrite"):
        result.save(folder)
    before = (folder / "result.json").stat().st_ino
    (folder / "report.html").write_text("kept")
    result.save(folder, overwrite=True)
    assert (folder / "result.json").stat().st_ino != before
    assert (folder / "report.html").read_text() == "kept"
    assert load_result(folder).content == result.content


DAMAGE = {
    "no data": lambda c: c["protocol"].pop("data"),
    "tasks null": lambda c: c["protocol"].update(tasks=None),
    "a text among tasks": lambda c: c.update(tasks=["x"]),
    "no tasks": lambda c: c.update(tasks=[]),
    "a metric of text": lambda c: c["tasks"][0]["metrics"].update({"R@1": "much"}),
    "other tasks": lambda c: c["baselines"]["sum"]["tasks"][0].update(name="u"),
    "no baselines": lambda c: c.update(baselines=3),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_result_is_told_by_file_and_key(folder, damage):
    content = json.loads((folder / "result.json").read_text())
    DAMAGE[damage](content)
    (folder / "result.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"result.json is damaged: (key |the tasks of sum)"):
        load_result(folder)


def test_a_file_in_the_place_of_the_folder_is_refused(result, tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(DataError, match="is a file"):
        result.save(tmp_path / "f")


def test_free_folders_are_numbered(folder):
    assert free_folder(folder).name == "r-2"
    assert free_folder(folder.with_name("new")).name == "new"


def test_a_result_that_was_cut_off_is_none(result, folder, monkeypatch):
    """Killed between the two renames: the new queries beside the old result, or beside none."""
    other = type(result)(result.content, result.queries.slice(0, 3))
    monkeypatch.setattr("composir.evaluation.results.RESULT", "never.json")
    other.save(folder, overwrite=True)
    monkeypatch.undo()
    (folder / "never.json").unlink()
    with pytest.raises(DataError, match=r"queries.parquet is cut off or not the one"):
        load_result(folder)
    (folder / "result.json").unlink()
    with pytest.raises(DataError, match=r"holds no result.json \(the evaluation was cut off"):
        load_result(folder)


@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("{", "is damaged"),
        ("[]", "not the result of `composir eval`"),
        ('{"run": "a"}', "no key 'format'"),
        ('{"format": 2}', "has format 2; this version of composir reads 1"),
        ('{"format": 1, "method": "x"}', "key tasks: Field required"),
    ],
)
def test_a_foreign_or_broken_file_is_refused(folder, content, hint):
    (folder / "result.json").write_text(content)
    with pytest.raises(DataError, match=hint):
        load_result(folder)


def test_other_damage_is_named(folder, tmp_path):
    content = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**content, "tasks": {}}))
    with pytest.raises(DataError, match="key tasks: Input should be a valid list"):
        load_result(folder)
    (folder / "result.json").write_bytes(b"\xff")
    with pytest.raises(DataError, match="is damaged"):
        load_result(folder)
    (folder / "result.json").write_text(json.dumps(content))
    parquet = (folder / "queries.parquet").read_bytes()
    (folder / "queries.parquet").write_bytes(parquet[:-40])
    with pytest.raises(DataError, match="cut off"):
        load_result(folder)
    (folder / "queries.parquet").unlink()
    with pytest.raises(DataError, match=r"queries.parquet is missing"):
        load_result(folder)
    with pytest.raises(DataError, match=r"nowhere holds no result.json; name a folder"):
        load_result(tmp_path / "nowhere")
