"""`composir train`: a run file and overrides in, results out; a typing error stops before anything heavy."""

from __future__ import annotations

import json
from pathlib import Path

from composir.config import load_config

RECIPE = Path(__file__).parents[2] / "configs" / "pretrain-wardrobe-clip.toml"
SMALL = [
    "backbone.image_width=32", "backbone.image_layers=1", "backbone.image_heads=2", "backbone.text_width=32",
    "backbone.text_layers=1", "backbone.text_heads=2", "backbone.dim=16", "data.train=96", "data.val=24", "data.test=6",
    "train.epochs=2", "train.batch_size=24", "train.warmup=1", "train.precision=no",
    "train.compile=false", "train.workers=0",
]  # fmt: skip


def test_recipe_runs_small(cli, tmp_path):
    out = tmp_path / "run"
    done = cli("train", RECIPE, *SMALL, "--out", out)
    assert done.code == 0, done.err
    assert "weights in" in done.out
    report = json.loads((out / "report.json").read_text("utf-8"))
    assert report["steps"] == 8
    assert load_config(out / "config.toml") == load_config(RECIPE, SMALL)


def test_a_typing_error_names_the_nearest_key(cli, tmp_path):
    done = cli("train", RECIPE, "train.epoch=3", "--out", tmp_path / "run")
    assert done.code == 1
    assert "'epoch'" in done.err
    assert "'epochs'" in done.err
    assert not (tmp_path / "run").exists()
