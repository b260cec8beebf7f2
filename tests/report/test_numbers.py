"""The numbers of a report: those of the results, tested as the page says, and nothing else."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.metrics import paired_test
from composir.reporting.comparison import AVERAGES, cells, columns, holm
from composir.reporting.reading import read_sections
from composir.types import Query, Task

AVERAGE = {"R@10": ("R@10",), "Avg (Bi-BLIP4CIR, PANDA, MAPNet)": ("R@10", "R@50")}


def tasks(*sizes: int) -> list[Task]:
    made = []
    for number, size in enumerate(sizes):
        ids = tuple(f"t{number}-{i}" for i in range(90))
        queries = tuple(Query(f"q{i}", ids[i], ("is red",), (ids[-1 - i],)) for i in range(size))
        made.append(Task(f"t{number}", ids, queries, ("R@1", "R@10", "R@50"), drop_reference=False))
    return made


def board(section):
    """(method, group, column) -> cell"""
    return {
        (entry.label, column.group, column.name): cell
        for column in columns(section)
        for entry, cell in zip(section.entries, cells(column, section.entries), strict=True)
    }


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm_rejects_what_the_step_down_procedure_rejects(chances):
    corrected = holm(chances)
    for level in (0.001, 0.01, 0.05, 0.2):
        rejected = set()
        for place, i in enumerate(sorted(range(len(chances)), key=lambda i: chances[i])):
            if chances[i] * (len(chances) - place) >= level:
                break
            rejected.add(i)
        assert {i for i, p in enumerate(corrected) if p < level} == rejected
    assert all(p >= chance for p, chance in zip(corrected, chances, strict=True))


def test_marks_are_those_of_paired_tests_against_the_best(make_run):
    [section] = read_sections([make_run("a", tasks(60))])
    found = board(section)
    entries = {entry.label: entry.tasks["t0"] for entry in section.entries}
    for metric in ("R@1", "R@10", "R@50"):
        best = max(entries, key=lambda name: entries[name].values[metric].mean())
        others = [name for name in entries if name != best]
        tests = {name: paired_test(entries[name].values[metric], entries[best].values[metric]) for name in others}
        corrected = dict(zip(others, holm([t.p_randomization for t in tests.values()]), strict=True))
        assert found[best, "t0", metric].best
        for name in others:
            cell = found[name, "t0", metric]
            assert cell.test.paired == tests[name]
            assert cell.test.holm == corrected[name]
            assert (
                cell.test.mark
                == {0: "", 1: "*", 2: "**", 3: "***"}[sum(corrected[name] < p for p in (0.05, 0.01, 0.001))]
            )
            assert cell.test.paired.difference <= 0


def test_values_and_intervals_are_those_of_the_result(make_run):
    [section] = read_sections([make_run("a", tasks(20, 40), averages=AVERAGE)])
    found, result = board(section), section.runs[0].result
    for method in result.methods:
        block = result.scores(method)
        for task in block["tasks"]:
            for metric, value in task["metrics"].items():
                cell = found[method, task["name"], metric]
                assert (cell.value, list(cell.interval)) == (value, task["intervals"][metric])
        for name, value in block["average"].items():
            cell = found[method, AVERAGES, name]
            assert (cell.value, list(cell.interval)) == (value, block["average_intervals"][name])


def test_averages_are_tested_with_every_task_weighing_the_same(make_run):
    [section] = read_sections([make_run("a", tasks(10, 60), averages=AVERAGE)])
    found = board(section)
    for name in AVERAGE:
        of = {entry.label: entry.average[name] for entry in section.entries}
        best = max(of, key=lambda label: of[label])
        for label, value in of.items():
            if label != best:
                test = found[label, AVERAGES, name].test
                assert 100 * test.paired.difference == pytest.approx(value - of[best], abs=1e-9)


def test_an_average_of_an_unknown_data_set_is_shown_but_not_tested(make_run, page):
    folder = make_run("a", tasks(20), averages={"mean": ("R@1", "R@10")}, data={"name": "gone:Away"})
    [section] = read_sections([folder])
    shown = [cell for (_, group, _), cell in board(section).items() if group == AVERAGES]
    assert all(cell.value is not None and cell.test is None for cell in shown)
    assert "‡" in page(folder, images=False).all(class_="legend")[0].text


def test_what_two_runs_share_stands_once(make_run):
    both = tasks(30)
    rest = {"image-only": 1.2, "text-only": 1.5, "sum": 2.6}
    runs = [make_run("a", both, skill={"slerp": 3, **rest}), make_run("b", both, skill={"panda": 5, **rest})]
    [section] = read_sections([*runs, runs[0]])
    assert [entry.label for entry in section.entries] == ["slerp", "panda", "image-only", "text-only", "sum"]
    assert [entry.baseline for entry in section.entries] == [False, False, True, True, True]


def test_methods_of_one_name_that_differ_are_told_apart(make_run):
    runs = [make_run("a", tasks(30), seed=1), make_run("b", tasks(30), seed=2)]
    [section] = read_sections(runs)
    assert [entry.label for entry in section.entries][:3] == ["slerp · run 1", "slerp · run 2", "image-only · run 1"]
    assert len(section.entries) == 8


def test_runs_over_other_data_have_sections_of_their_own(make_run):
    runs = [
        make_run("a"),
        make_run("b", data={"name": "cirr"}),
        make_run("c", data={"split": "test"}),
        make_run("e", seed=3),
        make_run("f", data={"name": "jsonl"}, title="myntra"),
        make_run("g", data={"name": "jsonl"}, title="emoji"),
    ]
    found = read_sections(runs)
    names = [[run.name for run in section.runs] for section in found]
    assert names == [["a", "e"], ["b"], ["c"], ["f"], ["g"]]
    assert [section.title for section in found][-2:] == ["myntra", "emoji"]


def test_runs_stand_together_by_protocol_not_by_how_their_data_was_opened(make_run):
    [task] = tasks(30)
    runs = [
        make_run("plain", [task]),
        make_run("spelled", [task], data={"arguments": {"gallery": "original"}}, seed=1),
        make_run("smaller", [replace(task, gallery_name="val split")], data={"arguments": {"gallery": "val"}}),
        make_run("dropped", [replace(task, drop_reference=True)]),
        make_run("fewer", [replace(task, gallery=task.gallery[:-1], queries=task.queries[1:])]),
    ]
    found = read_sections(runs)
    assert [[run.name for run in section.runs] for section in found] == [
        ["plain", "spelled"], ["smaller"], ["dropped"], ["fewer"]
    ]  # fmt: skip
    assert [dict(section.arguments) for section in found] == [{}, {"gallery": "val"}, {}, {}]
    assert found[0].entries[1].label == "slerp · run 2"


def test_a_partial_run_stands_with_the_complete_ones_of_its_protocol(make_run):
    [task] = tasks(30)
    fewer = replace(task, gallery=task.gallery[:-1], queries=task.queries[1:])
    runs = [
        make_run("whole", [task]),
        make_run("part", [fewer], partial=True),
        make_run("other part", [replace(fewer, drop_reference=True)], partial=True),
    ]
    assert [[run.name for run in section.runs] for section in read_sections(runs)] == [
        ["whole", "part"],
        ["other part"],
    ]


def other_queries(task):
    return replace(task, queries=tuple(replace(q, id=f"{q.id} anew") for q in task.queries))


def other_targets(task):
    return replace(task, queries=tuple(replace(q, targets=(task.gallery[50],)) for q in task.queries))


@pytest.mark.parametrize("change", [other_queries, other_targets])
def test_what_was_asked_differently_is_not_compared(make_run, change):
    [task] = tasks(30)
    runs = [make_run("a", [task], skill={"slerp": 3}), make_run("b", [change(task)], skill={"panda": 9})]
    [section] = read_sections(runs)
    found = board(section)
    assert found["slerp", "t0", "R@10"].best
    other = found["panda", "t0", "R@10"]
    assert not other.best
    assert not other.compared
    assert other.test is None


def test_a_partial_number_is_never_the_best_of_complete_ones(make_run):
    runs = [make_run("a", skill={"panda": 9}, partial=True), make_run("b", skill={"slerp": 1})]
    found = board(read_sections(runs)[0])
    assert found["panda", "dress", "R@10"].value > found["slerp", "dress", "R@10"].value
    assert found["slerp", "dress", "R@10"].best
    assert not found["panda", "dress", "R@10"].compared


def test_partial_runs_alone_are_compared_with_each_other(make_run):
    runs = [make_run("a", skill={"panda": 9}, partial=True), make_run("b", skill={"slerp": 1}, partial=True)]
    found = board(read_sections(runs)[0])
    assert found["panda", "dress", "R@10"].best
    assert found["slerp", "dress", "R@10"].test is not None


def test_recall_is_the_share_of_ranks_within_k(make_run):
    [section] = read_sections([make_run("a", tasks(40))])
    for entry in section.entries:
        scores = entry.tasks["t0"]
        for k in (1, 2, 7, 50):
            slow = [1.0 if any(rank == i for i in range(1, k + 1)) else 0.0 for rank in scores.ranks]
            assert scores.hits(k).tolist() == slow
        assert np.array_equal(scores.hits(10), scores.values["R@10"])


def test_names_are_as_long_as_it_takes_to_tell_folders_apart(tmp_path, make_run):
    for name in ("one/result", "two/result"):
        make_run(name)
    [section] = read_sections([tmp_path / "one/result", tmp_path / "two/result"])
    assert [run.name for run in section.runs] == ["one/result", "two/result"]


def test_labels_are_all_different_and_fit(make_run):
    long = "a method with a name that fits nowhere at all"
    runs = [make_run(f"{i}", skill={long: 2, "sum": 1}, seed=i, partial=i == 2) for i in range(3)]
    [section] = read_sections(runs)
    shorts = [entry.short(22) for entry in section.entries]
    assert max(map(len, shorts)) <= 22
    for one, other in itertools.combinations(shorts, 2):
        assert one != other
