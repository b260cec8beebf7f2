"""`composir train`: a run file and overrides in, results out; a typing error stops before anything heavy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from composir import checkpoint
from composir.backbones import load_backbone
from composir.config import load_config
from composir.methods import load_method
from composir.training import fit

RECIPE = Path(__file__).parents[2] / "configs" / "pretrain-wardrobe-clip.toml"
SMALL = [
    "backbone.image_width=32", "backbone.image_layers=1", "backbone.image_heads=2", "backbone.text_width=32",
    "backbone.text_layers=1", "backbone.text_heads=2", "backbone.dim=16", "data.train=96", "data.val=24", "data.test=6",
    "train.epochs=2", "train.batch_size=24", "train.warmup=1", "train.precision=no",
    "train.compile=false", "train.workers=0",
]  # fmt: skip


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Features go where nobody else looks."""
    monkeypatch.setenv("COMPOSIR_CACHE", str(tmp_path / "cache"))


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


def test_skip_bad_leaves_out_what_cannot_be_read(cli, tmp_path, damaged):
    root, bad = damaged
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(
        f'''
[backbone]
name = "clip-tiny"
[method]
name = "contrastive"
[data]
name = "jsonl"
root = "{root}"
[train]
epochs = 1
batch_size = 8
lr = 1e-3
workers = 0
''',
        encoding="utf-8",
    )
    refused = cli("train", recipe, "--out", tmp_path / "run")
    assert refused.code == 1
    assert bad in refused.err
    assert "leave such pictures out by --skip-bad" in refused.err
    done = cli("train", recipe, "--skip-bad", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert f"left out 1 of 24 training pairs, for 1 pictures cannot be read: {bad}" in done.out
    assert load_config(tmp_path / "run" / "config.toml").train.skip_bad


def test_resume_goes_on_where_a_run_was_left(cli, tmp_path, monkeypatch):
    settings, out = [*SMALL, "train.save_every=2"], tmp_path / "run"
    step = fit.__next__

    def left(steps):
        if steps.done == 3:
            raise KeyboardInterrupt
        return step(steps)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "__next__", left)
        assert cli("train", RECIPE, *settings, "--out", out).code != 0
    refused = cli("train", RECIPE, *settings, "--out", out)
    assert refused.code == 1
    assert "holds an unfinished run, saved at step 2; go on with it by --resume" in refused.err
    done = cli("train", RECIPE, *settings, "--resume", "--out", out)
    assert done.code == 0, done.err
    assert "going on behind step 2 of 8" in done.out
    assert json.loads((out / "report.json").read_text("utf-8"))["steps"] == 8


def test_init_names_the_first_stage(cli, tmp_path):
    """The published run file of a second stage, small, over a first stage of another place than it names."""
    recipe, first = RECIPE.with_name("clip4cir-wardrobe-stage2.toml"), tmp_path / "first.safetensors"
    begun = load_method("clip4cir", load_backbone("clip-tiny"))
    begun.backbone.text.text_projection.weight.data.mul_(2)
    small = [
        "backbone.name=clip-tiny", "method.projection_dim=8", "method.hidden_dim=8", "data.train=48", "data.val=18",
        "data.test=6", "train.epochs=1", "train.batch_size=16", "train.workers=0",
    ]  # fmt: skip
    switches = {key: getattr(begun, key) for key in ("tune", "target_pad")}
    checkpoint.save(first, begun, arguments=switches)
    refused = cli("train", recipe, *small, f"init={tmp_path / 'nowhere'}", "--out", tmp_path / "run")
    assert refused.code == 1
    assert f"there is no {tmp_path / 'nowhere'}" in refused.err
    done = cli("train", recipe, *small, f"init={first}", "--out", tmp_path / "run")
    assert done.code == 0, done.err
    made = checkpoint.load(tmp_path / "run" / "best.safetensors")
    assert made.backbone.text.text_projection.weight.equal(begun.backbone.text.text_projection.weight)


def test_a_terminal_sees_a_bar_of_each_stage(cli, tmp_path, monkeypatch):
    """Standard error is one, and the bars are on it, not among the results."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    done = cli("train", RECIPE, *SMALL, "--out", tmp_path / "run")
    assert done.code == 0, done.err
    assert "weights in" in done.out
    assert "preparing" in done.err
    assert "training" in done.err
    assert "8/8" in done.err
    assert "loss " in done.err
    assert "preparing" not in done.out
