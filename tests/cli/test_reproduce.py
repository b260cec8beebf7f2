"""`composir reproduce`: the matrix is run, held against what was recorded, and told of in full."""

from __future__ import annotations

import copy
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from composir import datasets, methods
from composir.backbones import catalog
from composir.errors import DataError, UnknownNameError
from composir.reproduction.judging import differences, scores_of
from composir.reproduction.matrix import MATRIX, Row, chosen, read_matrix, write_matrix

pytestmark = pytest.mark.long

DRAWN = Row("drawn", "slerp", "wardrobe", "test", "clip-tiny", options={"test": 60, "style": "synthetic"}, alpha=0.6)
AWAY = Row("away", "slerp", "cirr", "val", "clip-tiny", root="cirr")


@pytest.fixture
def matrix(cli, tmp_path):
    """The path of a matrix: a row recorded, one whose data is away."""
    write_matrix([DRAWN, AWAY], tmp_path / "matrix.json")
    done = cli("reproduce", "drawn", "--record", "--matrix", tmp_path / "matrix.json", "--workers", 0)
    assert done.code == 0, done.err
    return tmp_path / "matrix.json"


def changed(matrix: Path, **fields) -> None:
    drawn, *rest = read_matrix(matrix)
    write_matrix([replace(drawn, **fields), *rest], matrix)


def scores_with(row: Row, value: float) -> dict:
    """What is expected of a row, R@10 of its method moved by so much."""
    expected = copy.deepcopy(row.expected)
    now, near = expected["slerp"]["families"]["R@10"]
    expected["slerp"]["families"]["R@10"] = (now + value, near)
    return expected


def test_the_drawn_rows_are_recorded_and_all_rows_name_parts_that_exist():
    rows = read_matrix()
    assert {row.data for row in rows} <= set(datasets.names())
    assert {row.method for row in rows} <= set(methods.names())
    assert {row.backbone for row in rows} <= set(catalog.names())
    drawn = [row for row in rows if row.data == "wardrobe"]
    assert all(row.needs_nothing for row in drawn)
    assert {row.backbone for row in drawn} == set(catalog.EMBEDDED)
    assert all(row.expected and row.recorded["weights"] for row in drawn)
    assert {"fashioniq", "cirr", "circo"} <= {row.root for row in rows if not row.expected}


def test_rows_on_photographs_have_the_alpha_that_was_chosen_for_them():
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "real_pictures.json"
    sets = json.loads(path.read_text(encoding="utf-8"))["sets"]
    rows = {row.root: row.alpha for row in read_matrix() if row.name.endswith("-wardrobe-clip-alpha")}
    assert rows == {name: told["alpha"] for name, told in sets.items()}


def test_the_published_small_row_comes_out_as_recorded(cli):
    done = cli("reproduce", "wardrobe-small", "--check", "--workers", 0)
    assert done.code == 0, done.out + done.err
    assert done.out == "wardrobe-small: agrees in 44 scores\n"


def test_the_command_of_a_row_gives_its_scores(cli, matrix, tmp_path):
    row = read_matrix(matrix)[0]
    assert row.command(tmp_path) == [
        "composir", "eval", "slerp", "--data", "wardrobe", "--split", "test", "--option", "test=60",
        "--option", 'style="synthetic"', "--backbone", "clip-tiny", "--alpha", "0.6",
    ]  # fmt: skip
    done = cli(*row.command(tmp_path)[1:], "-o", tmp_path / "run", "--workers", 0, "--json")
    found = scores_of(json.loads(done.out))
    for method, tasks in row.expected.items():
        for task, own in tasks.items():
            assert {metric: value for metric, (value, _) in own.items()} == pytest.approx(found[method][task], abs=1e-4)
            # 30 queries of families, 10 of concepts; an average precision moves by half a hit.
            near = 100 * 2 / 30 if task == "families" else 50 * 2 / 10  # two queries
            assert {tolerance for _, tolerance in own.values()} == {round(near, 4)}
    assert AWAY.command(Path("sets"))[5:9] == ["--split", "val", "--root", "sets/cirr"]


def test_a_score_that_leaves_its_tolerance_fails_the_check(cli, matrix):
    row = read_matrix(matrix)[0]
    near = row.expected["slerp"]["families"]["R@10"][1]
    changed(matrix, expected=scores_with(row, near * 0.99))
    done = cli("reproduce", "--check", "--matrix", matrix, "--workers", 0)
    assert done.code == 0, done.out
    assert done.out.splitlines() == [
        "drawn: agrees in 44 scores",
        "away: not run: data/cirr is not there",
    ]
    changed(matrix, expected=scores_with(row, -near * 1.01))
    done = cli("reproduce", "--check", "--matrix", matrix, "--workers", 0)
    assert done.code == 1
    value, expected = (
        row.expected["slerp"]["families"]["R@10"][0],
        row.expected["slerp"]["families"]["R@10"][0] - near * 1.01,
    )
    assert done.out.splitlines()[:2] == [
        "drawn: differs",
        f"  slerp families R@10 is {value:.2f}, expected {expected:.2f} ± {near:.2f}",
    ]
    # Recording takes what comes out as expected from now on.
    assert cli("reproduce", "drawn", "--record", "--matrix", matrix, "--workers", 0).code == 0
    assert read_matrix(matrix)[0].expected == row.expected


def test_another_protocol_or_a_lost_metric_is_a_difference(matrix):
    row = read_matrix(matrix)[0]
    tasks = [{"name": name, **bound} for name, bound in row.asked.items()]
    blocks = {
        method: {
            "tasks": [{"name": task, "metrics": {m: v for m, (v, _) in own.items()}} for task, own in of.items()],
            "average": {},
        }
        for method, of in row.expected.items()
    }
    content = {
        "method": "slerp", "protocol": {"tasks": tasks}, **blocks.pop("slerp"), "baselines": blocks
    }  # fmt: skip
    assert differences(row, content) == []
    tasks[0]["drop_reference"] = False
    content["tasks"][1]["metrics"]["mAP@5"] = None
    del content["baselines"]["sum"]
    told = differences(row, content)
    assert told[0] == "families: drop_reference is False, recorded was True: these numbers do not compare"
    assert told[1].startswith("slerp concepts mAP@5 is not measured, expected ")
    assert len(told) == 2 + 11
    assert all(why.startswith("sum ") for why in told[2:])


def test_what_is_not_run_is_told_with_the_reason(cli, matrix, tmp_path):
    alone = ("--check", "--matrix", matrix, "--workers", 0, "--data", tmp_path)
    done = cli("reproduce", "away", *alone)
    assert (done.code, done.out) == (1, f"away: not run: {tmp_path / 'cirr'} is not there\n")  # it was named
    (tmp_path / "cirr").mkdir()
    assert cli("reproduce", "away", *alone).out == f"away: not run: {tmp_path / 'cirr'} is empty\n"
    (tmp_path / "cirr" / "captions").mkdir()
    broken = cli("reproduce", *alone)
    assert broken.code == 1  # without being named: its data are there, and damaged
    assert "away: failed: cirr: no annotations of train, val, test at" in broken.out
    shutil.rmtree(tmp_path / "cirr")
    # Everything is there but the backbone.
    changed(matrix, backbone="nobody/nothing")
    done = cli("reproduce", "drawn", *alone)
    assert done.code == 1
    assert "drawn: not run: backbone 'nobody/nothing'" in done.out
    changed(matrix, backbone="clip-tiny", method="runs/away")
    assert "drawn: not run: there is no folder runs/away" in cli("reproduce", "drawn", *alone).out


def test_a_row_that_needs_nothing_has_no_excuse(cli, matrix):
    changed(matrix, options={"test": 3})
    done = cli("reproduce", "--check", "--matrix", matrix, "--workers", 0)
    assert done.code == 1
    assert done.out.startswith("drawn: failed: wardrobe: test has 3 garments")


def test_what_was_never_recorded_is_told_and_does_not_fail(cli, matrix):
    changed(matrix, expected={}, asked={}, recorded={})
    assert "--alpha 0.6  (no expected value recorded)\n" in cli("reproduce", "--matrix", matrix).out
    done = cli("reproduce", "drawn", "--check", "--json", "--matrix", matrix, "--workers", 0)
    assert done.code == 0
    [told] = json.loads(done.out)
    assert (told["name"], told["state"], told["why"]) == ("drawn", "no expected value recorded", [])
    assert told["command"] == DRAWN.command(Path("data"))
    assert set(told["scores"]) == {"slerp", "image-only", "text-only", "sum"}


def test_a_matrix_is_read_with_care(cli, matrix, tmp_path):
    assert read_matrix(matrix)[1] == AWAY
    before = matrix.read_text(encoding="utf-8")
    write_matrix(read_matrix(matrix), matrix)
    assert matrix.read_text(encoding="utf-8") == before
    with pytest.raises(UnknownNameError, match="unknown row of the matrix: 'drown'; did you mean 'drawn'"):
        chosen(read_matrix(matrix), ["drown"])
    rows = json.loads(before)
    for wrong, told in (
        ([*rows, rows[0]], "two rows are named 'drawn'"),
        ([{**rows[1], "alhpa": 0.5}], r"0\.alhpa \(rows counted from 0\)"),
        ([{**rows[1], "options": {"test": [1]}}], r"0\.options"),
        ({}, "the whole file"),
    ):
        matrix.write_text(json.dumps(wrong), encoding="utf-8")
        with pytest.raises(DataError, match=told):
            read_matrix(matrix)
    done = cli("reproduce", "--check", "--record")
    assert (done.code, "--check and --record are both given" in done.err) == (1, True)


def test_the_file_is_as_the_command_writes_it(tmp_path):
    write_matrix(read_matrix(), tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == MATRIX.read_bytes()
