"""A run that was killed and gone on with is, bit for bit, the run that was never stopped."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from same_run import check_equal

from composir import checkpoint
from composir.backbones import load_backbone
from composir.backbones.clip import ClipBackbone
from composir.config import dump
from composir.errors import ComposirError
from composir.methods import load_method
from composir.methods.contrastive import Contrastive
from composir.training import fit, run
from composir.training.chance import put_back, snapshot
from composir.training.state import load_state, restore, save_state

TRAINER = Path(__file__).with_name("killed_trainer.py")


def quiet(_):
    pass


def killed(path: Path, folder: Path, step: int) -> None:
    done = subprocess.run([sys.executable, str(TRAINER), str(path), str(folder), str(step)], check=False, timeout=200)
    assert done.returncode == -signal.SIGKILL


@pytest.mark.long
@pytest.mark.parametrize("kind", ["pairs", "pairs in fp16", "triplets"])
def test_killed_and_resumed_is_the_uninterrupted_run(kind, load, dropping, tmp_path):
    """Killed between states, so that steps are done twice; with dropout, augmentation, accumulation."""
    settings = ["train.save_every=2", "train.epochs=3"]
    if kind == "pairs in fp16":  # its scale has halved behind step 4
        config = load(*settings, "train.precision=fp16")
    elif kind == "pairs":
        config = load(*settings, "train.shift=1", "train.flip=true", "train.batch_size=8", "train.accumulate=2")
    else:
        config = dropping(*settings, "train.optimizer=adam", "train.schedule=onecycle")
    path, whole, cut = tmp_path / "run.toml", tmp_path / "whole", tmp_path / "cut"
    path.write_text(dump(config), encoding="utf-8")
    run(config, whole, say=quiet)
    killed(path, cut, 5)
    saved = load_state(cut / "state.safetensors")
    assert saved.step == 4
    assert (saved.rest["scaler"] or {"scale": 0})["scale"] < 2.0**16
    assert bool(saved.rest["scaler"]) == (kind == "pairs in fp16")
    said: list[str] = []
    report = run(config, cut, say=said.append, resume=True)
    assert "going on behind step 4 of 9" in said
    assert report["steps"] == 9
    check_equal(whole, cut)
    assert not (cut / "state.safetensors").exists()


TAT = '[backbone]\nname = "clip-tiny"\n\n[method]\nname = "tat"\n\n'
FIRST = {"clip4cir": "clip-tiny", "bi-blip4cir": "blip-tiny"}


@pytest.mark.long
@pytest.mark.parametrize("name", ["clip4cir", "bi-blip4cir", "tat", "clip4cir moving its pictures"])
def test_killed_and_resumed_with_texts_read_once(name, load, recipe, triplet_recipe, tmp_path, monkeypatch):
    """Texts of unequal length, which a second stage meets in other company after a kill; each run has its own cache."""
    settings = ["train.save_every=2", "train.epochs=3"]
    if name.endswith(" moving its pictures"):  # which the frozen tower reads anew at each step
        name, settings = name.partition(" ")[0], [*settings, "train.shift=1", "train.flip=true"]
    if name in FIRST:
        first = tmp_path / "stage-1.safetensors"
        checkpoint.save(first, load_method(name, load_backbone(FIRST[name]), stage=1), arguments={"stage": 1})
        text = triplet_recipe.replace("clip4cir", name).replace("clip-tiny", FIRST[name])
        config = load(*settings, f"init={first}", text=text)
    else:
        own = recipe[recipe.index("[backbone]") : recipe.index("[data]")]
        config = load(*settings, text=recipe.replace(own, TAT))
    path, whole, cut = tmp_path / "run.toml", tmp_path / "whole", tmp_path / "cut"
    path.write_text(dump(config), encoding="utf-8")
    run(config, whole, say=quiet)
    monkeypatch.setenv("COMPOSIR_CACHE", str(tmp_path / "cache of the killed"))
    killed(path, cut, 5)
    assert load_state(cut / "state.safetensors").step == 4
    run(config, cut, say=quiet, resume=True)
    check_equal(whole, cut)


def test_killed_behind_the_last_validation(load, recipe, tmp_path, monkeypatch):
    """All is trained, the report alone is missing."""
    from composir.training.folder import RunFolder

    config = load("train.epochs=1")
    run(config, tmp_path / "whole", say=quiet)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "cut", say=quiet)
    run(config, tmp_path / "cut", say=quiet, resume=True)
    check_equal(tmp_path / "whole", tmp_path / "cut")


@pytest.fixture
def unfinished(load, tmp_path):
    """A folder whose run stopped behind step 4 of 9."""
    config, folder = load("train.save_every=4"), tmp_path / "unfinished"

    def stop(now):
        if now.done == 5 and now.stage == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(config, folder, say=quiet, watch=stop)
    return folder


def test_an_unfinished_run_is_not_overwritten(load, unfinished):
    before = (unfinished / "log.jsonl").read_bytes()
    with pytest.raises(ComposirError, match="holds an unfinished run, saved at step 4; go on with it by --resume"):
        run(load("train.save_every=4"), unfinished, say=quiet)
    assert (unfinished / "log.jsonl").read_bytes() == before


def test_another_run_file_does_not_go_on_with_it(load, unfinished):
    with pytest.raises(ComposirError, match=r"of another run file \(\[train\] lr: 0.002 there, 0.1 here\)"):
        run(load("train.lr=0.1"), unfinished, say=quiet, resume=True)
    with pytest.raises(ComposirError, match=r"\[data\] train: 48 there, 54 here"):
        run(load("data.train=54"), unfinished, say=quiet, resume=True)


def test_what_says_nothing_of_the_result_may_change(load, unfinished):
    said: list[str] = []
    run(load("train.save_every=7"), unfinished, say=said.append, resume=True)
    assert "going on behind step 4 of 9" in said


def test_resume_without_a_state_starts_at_the_beginning(load, tmp_path):
    said: list[str] = []
    run(load("train.epochs=1"), tmp_path / "fresh", say=said.append, resume=True)
    assert any("holds no state to go on from: starting at the beginning" in line for line in said)
    with pytest.raises(ComposirError, match="already holds a finished run"):
        run(load("train.epochs=1"), tmp_path / "fresh", say=quiet, resume=True)


def test_a_damaged_state_is_named(load, unfinished):
    state = unfinished / "state.safetensors"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(ComposirError, match=r"state\.safetensors is no state to go on from"):
        run(load("train.save_every=4"), unfinished, say=quiet, resume=True)


# ---- the parts ----


def batch(count: int = 8) -> dict:
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return {"ids": list(map(str, range(count))), "texts": [f"number {i}" for i in range(count)], "pixels": pixels}


@pytest.mark.parametrize("precision", ["no", "fp16"])
def test_state_and_back(tmp_path, precision):
    options = {"steps": 6, "lr": 1e-2, "precision": precision, "warmup": 2}
    whole = fit(Contrastive(ClipBackbone.tiny()), [batch()] * 6, **options)
    for _ in range(3):
        next(whole)
    save_state(tmp_path / "state.safetensors", whole, {"any": ["thing", 1.5]})
    if precision == "fp16":
        assert whole.accelerator.scaler.get_scale() < 2.0**16
    expected = list(whole)
    saved = load_state(tmp_path / "state.safetensors")
    assert (saved.step, saved.notes) == (3, {"any": ["thing", 1.5]})
    again = fit(Contrastive(ClipBackbone.tiny(seed=9)), [batch()] * 3, **options, start=saved.step)
    restore(saved, again)
    assert list(again) == expected
    assert all(torch.equal(a, b) for a, b in zip(whole.method.parameters(), again.method.parameters(), strict=True))
    for one, other in zip(whole.method.parameters(), again.method.parameters(), strict=True):
        left, right = whole.adam.state[one], again.adam.state[other]
        assert all(torch.equal(left[key], right[key]) for key in ("exp_avg", "exp_avg_sq", "step"))
    assert [p.name for p in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_state_of_another_method_is_refused(tmp_path):
    steps = fit(Contrastive(ClipBackbone.tiny()), [batch()], steps=1, lr=1e-3)
    save_state(tmp_path / "state.safetensors", steps, {})
    other = fit(Contrastive(ClipBackbone.tiny(family="siglip")), [batch()], steps=1, lr=1e-3)
    with pytest.raises(
        ComposirError, match=r"the saved state is of another method or backbone: \d+ in all:\n"
    ) as caught:
        restore(load_state(tmp_path / "state.safetensors"), other)
    one, two = (set(own.method.state_dict()) for own in (steps, other))
    told = {f"{name} is missing there" for name in two - one} | {f"{name} is not the method's" for name in one - two}
    assert len(told) > 8
    assert set(str(caught.value).removesuffix(". Train anew").split("\n  ")[1:]) == told


def test_random_numbers_go_on_as_json_and_tensors():
    draws = lambda: [torch.rand(2).tolist(), random.random(), random.gauss(0, 1), np.random.rand(), np.random.randn()]  # noqa: E731
    before = snapshot()
    try:
        draws()  # an odd number of normal numbers, of which both generators keep one back
        tensors, rest = snapshot()
        expected = draws()
        draws()
        put_back(tensors, json.loads(json.dumps(rest)))
        assert draws() == expected
    finally:
        put_back(*before)
