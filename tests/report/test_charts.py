"""Charts show the numbers they are made of, can be read by all eyes, and keep their labels apart."""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from composir.reporting.curves import WIDTH
from composir.reporting.reading import read_sections
from composir.types import Query, Task

SKILL = {"slerp": 4, "image-only": 1, "text-only": 1.5, "sum": 3}


def task(name="t", queries=30, metrics=("R@1", "R@10"), size=120):
    ids = tuple(f"{name}{i}" for i in range(size))
    kinds = ("negation", "addition", "viewpoint")
    asked = tuple(
        Query(f"q{i}", ids[i], ("x",), (ids[-1 - i],), aspects=tuple(k for n, k in enumerate(kinds) if i % 5 != n))
        for i in range(queries)
    )
    return Task(name, ids, asked, metrics, drop_reference=False)


def points(path):
    return [tuple(map(float, pair.split())) for pair in path.attributes["d"][1:].split("L")]


def test_curves_go_through_the_share_of_ranks_within_k(make_run, page):
    folder = make_run("a", [task()], skill=SKILL)
    [section] = read_sections([folder])
    svg = page(folder, images=False).all("div", "charts")[0].all("svg")[0]
    levels = {
        text.text: float(text.attributes["y"])
        for text in svg.all("text", "axis")
        if text.text.isdigit() and "text-anchor" in text.attributes and text.attributes["text-anchor"] == "end"
    }
    low, high = levels["0"], levels["20"]
    for group in svg.all("g"):
        lines = group.all("path", "line")
        if "data-series" not in group.attributes or not lines:
            continue
        ranks = section.entries[int(group.attributes["data-series"])].tasks["t"].ranks
        drawn = points(lines[0])
        assert len(drawn) == 50
        left, right = drawn[0][0], drawn[-1][0]
        for k, (x, y) in enumerate(drawn, 1):
            assert (low - y) / (low - high) * 20 == pytest.approx(100 * np.mean(ranks <= k), abs=0.1)  # a pixel's tenth
            assert x == pytest.approx(left + (right - left) * math.log(k) / math.log(50), abs=0.06)


@pytest.mark.parametrize("methods", [1, 3, 9, 24])
def test_labels_of_curves_do_not_touch_and_stay_inside(make_run, page, methods):
    skill = {f"method {i}": 2.0 for i in range(methods)}
    svg = page(make_run("a", [task()], skill=skill), images=False).all("div", "charts")[0].all("svg")[0]
    heights = sorted(float(label.attributes["y"]) for label in svg.all("text", "name"))
    assert len(heights) == methods
    assert all(b - a >= 13.9 for a, b in itertools.pairwise(heights))
    assert heights[0] >= 0
    assert heights[-1] <= float(svg.attributes["viewbox"].split()[3]) - 20
    assert all(float(label.attributes["x"]) < WIDTH - 50 for label in svg.all("text", "name"))


def test_charts_can_be_heard(make_run, page):
    made = page(make_run("a", [task("s"), task("t")], skill=SKILL), images=False)
    charts = made.all("svg", "chart")
    assert len(charts) == 4
    for svg in charts:
        assert svg.attributes["role"] == "img"
        assert svg.all("title")[0].text
        assert all(name in svg.all("desc")[0].text for name in SKILL)


def test_a_cutoff_beyond_the_worst_rank_is_not_drawn(make_run, page):
    svg = page(make_run("a", [task(size=31)], skill={"m": 1}), images=False).all("div", "charts")[0].all("svg")[0]
    ticks = [t.text for t in svg.all("text", "axis") if t.attributes.get("text-anchor") == "middle"]
    assert ticks == ["K = 1", "2", "5", "10", "20"]


def bars(figure):
    """(length, whisker from, to) of each bar in pixels, from the zero line."""
    [zero] = [float(line.attributes["x1"]) for line in figure.all("line", "zero")]
    lengths = [float(rect.attributes["width"]) for rect in figure.all("rect", "bar")]
    ends = [
        re.match(r"M([\d.]+) [\d.]+H([\d.]+)", path.attributes["d"]).groups() for path in figure.all("path", "whisker")
    ]
    return [(length, float(a) - zero, float(b) - zero) for length, (a, b) in zip(lengths, ends, strict=True)]


def test_aspects_are_bars_to_one_scale_with_their_intervals(make_run, page):
    folder = make_run("a", [task(metrics=("mAP@5", "mAP@10", "mAP@10/*"))], skill=SKILL)
    [section] = read_sections([folder])
    [block] = page(folder, images=False).all("div", "bars")
    scales = []
    figures = {figure.all("bdi")[0].text: figure for figure in block.all("figure")}
    assert set(figures) == {"negation", "addition", "viewpoint"}
    for aspect, figure in figures.items():
        key = f"mAP@10/{aspect}"
        assert "24 queries" in figure.all("figcaption")[0].text
        for entry, (length, low, high) in zip(section.entries, bars(figure), strict=True):
            scores = entry.tasks["t"]
            scales += [length / scores.metrics[key], high / scores.intervals[key][1]]
            assert low == pytest.approx(scales[0] * scores.intervals[key][0], abs=0.2)
    assert max(scales) == pytest.approx(min(scales), rel=0.02)


def test_tasks_are_bars_where_there_are_several(make_run, page):
    made = page(make_run("a", [task("s"), task("t")], skill=SKILL), images=False)
    assert [h.text for h in made.all("h4")] == ["R@10 by task"]
    assert [f.all("bdi")[0].text for f in made.all("div", "bars")[0].all("figure")] == ["s", "t"]


def test_tasks_without_a_common_metric_are_compared_by_their_ranks(make_run, page):
    folder = make_run("a", [task("s", metrics=("R@1",)), task("t", metrics=("mAP@5",))], skill=SKILL)
    [section] = read_sections([folder])
    for figure, name in zip(page(folder, images=False).all("div", "bars")[0].all("figure"), "st", strict=True):
        ranks = section.entries[0].tasks[name].ranks
        assert figure.all("text", "reading")[0].text == f"{100 * np.mean(ranks <= 10):.1f}"


def test_one_task_without_aspects_has_no_bars(make_run, page):
    assert page(make_run("a", [task()]), images=False).all("div", "bars") == []


def test_hidden_truth_has_no_curves_and_no_best_queries(make_run, page):
    made = page(make_run("a", [replace(task(), hidden=True)], skill=SKILL), images=False)
    assert made.all("div", "charts") == []
    assert made.all("article") == []
    assert [p.text for p in made.all("p", "quiet")].count("There are none.") == 2


def linear(colour):
    value = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    """CIE L*a*b*, white D65."""
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    part = matrix @ np.clip(rgb, 0, 1) / np.array([0.95047, 1, 1.08883])
    f = np.where(part > 0.008856, np.cbrt(part), 7.787 * part + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


EYES = {  # Machado, Oliveira and Fernandes 2009, table 1, severity 1
    "all": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("eyes", EYES)
def test_colours_differ_for_all_eyes_and_from_the_paper(scheme, eyes):
    css = resources.files("composir.reporting").joinpath("page.css").read_text(encoding="utf-8")
    colours = [re.findall(rf"--c{i}: (#\w+)", css)[scheme] for i in range(8)]
    paper = linear(re.findall(r"--paper: (#\w+)", css)[scheme])
    weights = np.array([0.2126, 0.7152, 0.0722])
    for colour in colours:
        light, dark = sorted((float(weights @ linear(colour)), float(weights @ paper)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 3  # WCAG 1.4.11, for what is not text
    seen = [lab(np.array(EYES[eyes]) @ linear(colour)) for colour in colours]
    # About 2 is just noticeable side by side; thin lines need much more.
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 14
