"""The search benchmark: every system over the same vectors, checked against the truth; approximate search."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from composir.benching import measure
from composir.benching.systems import SYSTEMS
from composir.benching.vectors import mixture, queries
from composir.cli.main import app
from composir.errors import ComposirError
from composir.similarity.approximate import RECALL, Approximate
from composir.similarity.nearest import Nearest, Wanted


@pytest.mark.long
def test_every_system_is_measured_and_the_exact_ones_are_exact():
    report = measure(3000, 32, 50, count=6)
    assert [row.name for row in report.rows] == list(SYSTEMS)
    assert report.baseline == "numpy"
    assert report.rows[0].ratio == 1.0
    for row in report.rows:
        assert 0 < row.p50 <= row.p99
        assert row.recall["recall@50"] == 1.0 if row.exact else row.recall["recall@50"] > 0.8
    assert (report.filtered_recall, report.filtered_ms > 0, report.filter_ms > 0) == (1.0, True, True)


def test_the_true_ranking_does_not_come_from_what_is_measured(monkeypatch):
    """A system that finds the wrong rows is shown to do so."""
    monkeypatch.setattr(SYSTEMS["torch"], "search", lambda self, query, k: np.arange(k))
    report = measure(2000, 16, 10, count=4, systems=["numpy", "torch"])
    assert report.rows[0].recall["recall@10"] == 1.0
    assert report.rows[1].recall["recall@10"] < 0.5


def test_vectors_are_the_same_for_a_seed_and_unit_length():
    rows = mixture(500, 24, 3)
    np.testing.assert_array_equal(rows, mixture(500, 24, 3))
    assert (rows != mixture(500, 24, 4)).any()
    np.testing.assert_allclose(np.linalg.norm(rows.astype(np.float64), axis=1), 1, atol=2e-3)
    np.testing.assert_array_equal(queries(rows, 5, 3), queries(rows, 5, 3))


def test_what_cannot_be_measured_is_told():
    with pytest.raises(ComposirError, match="k at most n"):
        measure(10, 8, 11)
    with pytest.raises(ComposirError, match="no system 'oracle' is measured; known: numpy, torch"):
        measure(10, 8, 5, systems=["oracle"])


@pytest.mark.long
def test_the_command_prints_a_table_or_json():
    short = [
        "bench",
        "search",
        "--n",
        "500",
        "--dim",
        "16",
        "--queries",
        "3",
        "--system",
        "numpy",
        "--system",
        "composir",
    ]
    shown = CliRunner().invoke(app, short)
    assert shown.exit_code == 0, shown.output
    assert "composir" in shown.stdout
    assert "recall@50" in shown.stdout
    told = json.loads(CliRunner().invoke(app, [*short, "--json"]).stdout)
    assert [row["name"] for row in told["rows"]] == ["numpy", "composir"]


@pytest.fixture(scope="module")
def lists() -> Approximate:
    return Approximate(Nearest(mixture(20_000, 32, 0)[:, None]))


def test_approximate_search_finds_nearly_all_with_true_scores(lists):
    nearest = lists._nearest
    assert lists.recall >= RECALL
    assert lists.probes < lists.lists
    asked = queries(nearest.vectors[:, 0], 40, 7)
    found = []
    for query in asked:
        rows, scores = lists.best(Wanted.of(query[None]), 50)
        np.testing.assert_array_equal(scores, nearest.scores(Wanted.of(query[None]).merged(), rows))
        assert (np.diff(scores) <= 0).all()
        found.append(len(set(rows.tolist()) & set(nearest.best(Wanted.of(query[None]), 50)[0].tolist())) / 50)
    assert np.mean(found) > 0.97


def test_a_filtered_approximate_search_is_exact(lists):
    wanted = Wanted.of(queries(lists._nearest.vectors[:, 0], 1, 5))
    passing = np.arange(0, 20_000, 97)
    exact = lists._nearest.best(wanted, 30, passing, (int(passing[0]),))
    again = lists.best(wanted, 30, passing, (int(passing[0]),))
    np.testing.assert_array_equal(exact[0], again[0])


def test_dropped_rows_are_not_found(lists):
    wanted = Wanted.of(queries(lists._nearest.vectors[:, 0], 1, 6))
    first = lists.best(wanted, 5)[0].tolist()
    assert lists.best(wanted, 4, drop=first[:1])[0].tolist() == first[1:]


def test_several_vectors_an_item_are_searched_exactly():
    with pytest.raises(ComposirError, match="one vector an item, not 3"):
        Approximate(Nearest(np.ones((10, 3, 8), np.float16)))


def test_lists_of_bytes_are_read_no_further_than_their_bytes_tell(lists):
    """Eight bits miss some of the best however many lists are read; a reader of all would be no baseline."""
    lossy = SYSTEMS["faiss-ivf"](lists._nearest.vectors[:, 0])
    wanted = lists.recall_of(lossy._found, lists.lists) - 0.001
    probes = int(lossy.note().split()[0])
    assert probes < lists.lists
    assert lists.recall_of(lossy._found, probes) >= min(RECALL, wanted)
    assert probes == 1 or lists.recall_of(lossy._found, probes // 2) < wanted
