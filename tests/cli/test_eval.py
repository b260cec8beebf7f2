"""`composir eval` end to end: what it prints, what it keeps, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from composir.evaluation import load_result

SMALL = ("--data", "wardrobe", "--split", "test", "--option", "test=60", "--workers", 0)
TINY = (*SMALL, "--backbone", "clip-tiny")
METRICS = ["R@1", "R@5", "R@10", "R@50", "Rs@1", "Rs@2", "Rs@3"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_scores(scores: dict) -> None:
    """The part of the schema that the evaluated method and the baselines have in common."""
    assert [task["name"] for task in scores["tasks"]] == ["families", "concepts"]
    assert list(scores["tasks"][0]["metrics"]) == METRICS
    for task in scores["tasks"]:
        assert set(task) == {"name", "metrics", "intervals", "counts", "queries", "gallery", "tied", "partial"}
        assert (task["gallery"], task["partial"]) == (60, False)
        for name, value in task["metrics"].items():
            low, high = task["intervals"][name]
            assert 0 <= low <= value <= high <= 100
    assert scores["average"] == {}


def test_the_embedded_backbone_as_json(cli, here):
    done = cli("eval", "slerp", *SMALL, "--json")
    assert done.code == 0, done.err
    content = json.loads(done.out)
    assert content == load_result(here / "runs/eval-wardrobe-test-slerp").content
    assert content["format"] == 1
    assert content["method"] == "slerp"
    check_scores(content)
    assert list(content["baselines"]) == ["image-only", "text-only", "sum"]
    for scores in content["baselines"].values():
        check_scores(scores)
    protocol = content["protocol"]
    assert protocol["method"] == {"name": "slerp", "class": "composir.methods.slerp:Slerp", "arguments": {"alpha": 0.3}}
    assert protocol["backbone"]["name"] == "wardrobe-clip"
    told = {"size": 60, "name": protocol["tasks"][0]["gallery"]["name"], "ids": protocol["tasks"][0]["gallery"]["ids"]}
    assert protocol["tasks"][0] == {
        "name": "families", "gallery": told, "queries": 30, "drop_reference": True, "own_candidates": False,
        "caption_join": "and", "prompt": "{text}", "shared_concept": False,
    }  # fmt: skip
    assert content["data"] == {"name": "wardrobe", "root": None, "split": "test", "arguments": {"test": 60}}
    assert isinstance(content["warnings"], list)
    # The backbone was trained for such garments: composing beats either part alone.
    of = {name: scores["tasks"][0]["metrics"]["R@5"] for name, scores in content["baselines"].items()}
    assert content["tasks"][0]["metrics"]["R@5"] > max(of["image-only"], of["text-only"])


def test_the_table(cli):
    done = cli("eval", "sum", *TINY)
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert lines[0].startswith("sum over clip-tiny on wardrobe test; per cent, 95 % interval")
    assert "families: 30 queries, gallery 60" in done.out
    heads = [line.split() for line in lines if line.split()[:1] == ["sum"]]
    assert heads[1:] == [["sum", "image-only", "text-only", "slerp"]] * 2
    [row] = [line for line in lines if line.startswith("R@50")]
    assert row.count("(") == 4
    assert "runs/eval-wardrobe-test-sum" in done.err


def test_a_set_of_captions_alone_asks_nothing(cli, here):
    (here / "pairs.tsv").write_text("a.png\ta red dress\n")
    done = cli("eval", "sum", "--data", "captions", "--root", here, "--backbone", "clip-tiny")
    assert done.code == 1
    assert done.err.startswith("error: captions train asks no queries (it holds pairs to train on), so no method")


def test_results_are_kept_apart_and_never_replaced_unasked(cli, here):
    assert cli("eval", "sum", *TINY).code == 0
    assert cli("eval", "sum", *TINY).code == 0
    assert sorted(p.name for p in (here / "runs").iterdir()) == ["eval-wardrobe-test-sum", "eval-wardrobe-test-sum-2"]
    named = ("-o", here / "mine")
    assert cli("eval", "sum", *TINY, *named).code == 0
    refused = cli("eval", "sum", *TINY, *named)
    assert refused.code == 1
    assert "already holds a result; name another folder, or pass --overwrite" in refused.err
    assert cli("eval", "image-only", *TINY, *named, "--overwrite").code == 0
    assert load_result(here / "mine").method == "image-only"


def test_alpha_is_a_control(cli):
    content = json.loads(cli("eval", "slerp", *TINY, "--alpha", 0.0, "--json").out)
    assert content["protocol"]["controls"] == {"alpha": 0.0}
    assert content["tasks"] == content["baselines"]["image-only"]["tasks"]
    refused = cli("eval", "sum", *TINY, "--alpha", 0.5)
    assert (refused.code, refused.err) == (1, "error: method 'sum' takes no 'alpha'; it takes no control at all\n")


def test_memory_and_batches_change_no_number(cli):
    one = json.loads(cli("eval", "text-only", *TINY, "--json").out)
    other = json.loads(cli("eval", "text-only", *TINY, "--json", "--memory", 1, "--batch-size", 17).out)
    assert one["tasks"] == other["tasks"]


def test_a_method_of_ones_own(cli, here, monkeypatch):
    (here / "mine.py").write_text("from composir.methods.baselines import Sum\nclass Twice(Sum):\n    name = 'twice'\n")
    monkeypatch.syspath_prepend(here)
    content = json.loads(cli("eval", "mine:Twice", *TINY, "--json").out)
    assert content["method"] == "Twice"
    assert content["protocol"]["method"]["class"] == "mine:Twice"
    assert content["tasks"] == content["baselines"]["sum"]["tasks"]
    assert (here / "runs/eval-wardrobe-test-Twice/result.json").is_file()
    del sys.modules["mine"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (("slerpp", "--data", "wardrobe"), "'slerpp'; did you mean 'slerp'"),
        (("slerp", "--data", "wardrob"), "unknown data set 'wardrob'; did you mean 'wardrobe'"),
        (("slerp", "--data", "wardrobe", "--option", "tset=60"), "did you mean 'test'"),
        (("slerp", "--data", "wardrobe", "--option", "test"), "write key=value"),
        (
            ("slerp", "--data", "wardrobe", "--option", "test=sixty"),
            "option test of data set 'wardrobe' is 'sixty': input should be a valid",
        ),
        (("slerp", "--data", "wardrobe", "--option", "style=oil"), "option style of data set 'wardrobe' is 'oil'"),
        (("slerp", "--data", "wardrobe", "--split", "tset"), "unknown split of wardrobe: 'tset'; did you mean 'test'"),
        (("slerp", *SMALL, "--backbone", "clip-tny"), "did you mean 'clip-tiny'"),
        (("slerp", "--data", "cirr"), "name it with --root"),
        (("slerp", "--data", "cirr", "--root", "nowhere"), "nowhere is missing"),
        ((".", "--data", "wardrobe"), "has no config.toml"),
        (("slerp", *TINY, "--device", "gpu"), "device 'gpu' cannot be used"),
    ],
)
def test_wrong_names(cli, here, arguments, hint):
    done = cli("eval", *arguments)
    assert done.code == 1
    assert hint in done.err
    assert done.err.count("\n") == 1
    assert done.out == ""
    assert list(here.iterdir()) == []


def test_incomplete_data(cli, here):
    assert cli("data", "wardrobe", "fiq", "--format", "fashioniq", "--size", 300, "--image-size", 64).code == 0
    arguments = ("eval", "sum", "--data", "fashioniq", "--root", "fiq", "--backbone", "clip-tiny", "--workers", 0)
    split = json.loads((here / "fiq/image_splits/split.shirt.val.json").read_text())
    (here / f"fiq/images/{split[0]}.png").unlink()
    refused = cli(*arguments)
    assert refused.code == 1
    assert f"{split[0]} (no file)" in refused.err
    assert "composir data check fashioniq" in refused.err
    done = cli(*arguments, "--partial")
    assert done.code == 0, done.err
    numbers = [line for line in done.out.splitlines() if line.startswith(("R@", "Avg"))]
    assert len(numbers) == 15
    assert all("(partial)" in line for line in numbers)
    content = load_result(here / "runs/eval-fashioniq-val-sum").content
    assert content["protocol"]["missing"]["image_ids"] == {split[0]: "no file"}
    assert content["data"]["root"] == str(here / "fiq")
    assert list(content["average"]) == ["R@10", "R@50", "Avg (Bi-BLIP4CIR, PANDA, MAPNet)"]
    hidden = cli(*arguments, "--split", "test")
    assert hidden.code == 1
    assert "composir submit" in hidden.err
