"""The queries that are shown are the ones the page says."""

from __future__ import annotations

from composir.reporting.picks import BEST_RULE, MARGIN_RULE, best, worst
from composir.reporting.reading import read_sections
from composir.types import Query, Task


def task(name="t", queries=40, targets=1):
    ids = tuple(f"{name}{i}" for i in range(70))
    asked = tuple(Query(f"q{i}", ids[i], ("x",), tuple(ids[i + 5 : i + 5 + targets])) for i in range(queries))
    return Task(name, ids, asked, ("R@1",), drop_reference=False)


def first(folder):
    [section] = read_sections([folder])
    return section.entries[0], section.runs[0].result.queries.to_pylist()


def key(pick):
    return pick.task, pick.row["query"]


def test_the_worst_have_the_largest_ranks_of_all_tasks(make_run):
    entry, rows = first(make_run("a", [task("s"), task("t")]))
    mine = [row for row in rows if row["method"] == "slerp"]
    slow = sorted((row for row in mine if row["rank"] > 1), key=lambda row: -row["rank"])
    picks = worst(entry, 12)
    assert [key(pick) for pick in picks] == [(row["task"], row["query"]) for row in slow[:12]]
    assert [pick.rank for pick in picks] == [row["rank"] for row in slow[:12]]
    assert len(worst(entry, 1000)) == len(slow)


def test_the_best_are_found_by_neither_half_alone(make_run):
    entry, rows = first(make_run("a", [task("s"), task("t")], skill={"slerp": 6, "image-only": 1, "text-only": 1}))
    rank = {(row["method"], row["task"], row["query"]): row["rank"] for row in rows}

    def order(row):
        halves = min(rank[half, row["task"], row["query"]] for half in ("image-only", "text-only"))
        wrong = next(s for s, answer in zip(row["scores"], row["top"], strict=True) if answer not in row["targets"])
        return -halves, wrong - row["scores"][0]

    slow = sorted((row for row in rows if row["method"] == "slerp" and row["rank"] == 1), key=order)
    picks, rule = best(entry, 15)
    assert rule == BEST_RULE
    assert len(slow) > 15
    assert [key(pick) for pick in picks] == [(row["task"], row["query"]) for row in slow[:15]]


def test_without_halves_the_margin_decides(make_run):
    entry, rows = first(make_run("a", [task(targets=2)], skill={"slerp": 6, "sum": 1}))
    picks, rule = best(entry, 50)
    assert rule == MARGIN_RULE

    def margin(row):
        wrong = [s for s, answer in zip(row["scores"], row["top"], strict=True) if answer not in row["targets"]]
        return row["scores"][0] - wrong[0]

    margins = [margin(pick.row) for pick in picks]
    assert len(picks) == sum(row["method"] == "slerp" and row["rank"] == 1 for row in rows)
    assert margins == sorted(margins, reverse=True)


def test_the_target_shown_is_the_best_placed_one(make_run):
    entry, _ = first(make_run("a", [task(targets=4)], skill={"slerp": 1}))
    for pick in worst(entry, 40):
        if pick.rank <= len(pick.row["top"]):
            assert pick.row["top"][pick.rank - 1] == pick.target
        else:
            assert pick.target == pick.row["targets"][0]
        assert pick.target in pick.row["targets"]
