"""Two processes over gloo give the loss and the weights of one, and go on as they were."""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from same_run import check_equal

from composir.config import dump
from composir.losses import gathered
from composir.training.state import load_state

pytestmark = pytest.mark.long

SCRIPT = Path(__file__).with_name("two_processes.py")


def launch(command: list[str], count: int, *, killed: bool = False) -> list[str]:
    """As torchrun does, without its own waiting; returns what each process printed.

    Where the first is to be `killed`, the others end by an error, for they wait for it in vain.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sizes = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1"}
    place = {**os.environ, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **sizes}
    started = [
        subprocess.Popen(
            [sys.executable, *command],
            env={**place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(count)
    ]
    try:
        said = [process.communicate(timeout=230) for process in started]
    finally:
        for process in started:
            process.kill()
    first, *others = (process.returncode for process in started)
    assert first == (-signal.SIGKILL if killed else 0), said
    assert all(bool(code) == killed for code in others), said
    return [out for out, _ in said]


def test_two_processes_give_the_loss_and_weights_of_one(load, tmp_path):
    """Of one batch a step and of three."""
    config, out = tmp_path / "run.toml", tmp_path / "out"
    config.write_text(dump(load("train.epochs=1")), encoding="utf-8")
    said = launch([str(SCRIPT), str(tmp_path / "two.safetensors"), str(config), str(out)], 2)
    runpy.run_path(str(SCRIPT))["main"](tmp_path / "one.safetensors")
    one, two = (load_file(tmp_path / f"{count}.safetensors") for count in ("one", "two"))
    for name in ("losses/contrastive 1", "losses/tat 1", "losses/contrastive 3", "losses/tat 3"):
        losses = one.pop(name)
        assert torch.allclose(losses, two[name], atol=1e-5, rtol=0)
        assert len(set(losses.tolist())) == 3
    for name, weight in one.items():
        # The softmax does not feel a key's bias: its gradient is rounding, and Adam divides that by its own size.
        if not name.endswith("k_proj.bias"):
            assert (weight - two[name]).abs().quantile(0.99) < 1e-5, name
    # The whole run that followed.
    files = {"config.toml", "report.json", "log.jsonl", "best.safetensors", "last.safetensors", "README.md", "backbone"}
    assert set(os.listdir(out)) == files
    assert len((out / "log.jsonl").read_text("utf-8").splitlines()) == 2
    assert "epoch   1" in said[0]
    assert said[1] == ""


def test_bi_blip4cir_has_the_losses_and_gradients_of_one_process(tmp_path):
    script = str(SCRIPT.with_name("two_losses.py"))
    launch([script, str(tmp_path / "two.safetensors")], 2)
    runpy.run_path(script)["main"](tmp_path / "one.safetensors")
    one, two = (load_file(tmp_path / f"{count}.safetensors") for count in ("one", "two"))
    assert one.keys() == two.keys()
    losses = {name for name in one if name.startswith("losses/")}
    assert len(losses) == 4 * 3
    assert len({one[name].item() for name in losses}) > 8
    for name, own in one.items():
        # Single precision, and cosines times 100: sums over 4 + 4 rows are not those over 8 in their last bits. Where
        # terms near 1 cancel, as in a bias, these are of the terms' size (6e-6 was seen), so 1 counts at least.
        most = 3e-5 * max(1.0, float(own.abs().max()))
        torch.testing.assert_close(two[name], own, atol=most, rtol=0, msg=lambda told, name=name: f"{name}: {told}")


def test_a_resumed_run_of_two_processes_is_the_uninterrupted_one(dropping, tmp_path):
    """Dropout and numpy's draws are each process's own; and a loss that breaks in one is told by its rank and ids."""
    path, out = tmp_path / "run.toml", tmp_path / "out"
    path.write_text(dump(dropping("train.save_every=2", "train.epochs=2")), encoding="utf-8")
    said = launch([str(SCRIPT.with_name("two_resumed.py")), str(path), str(out), "5"], 2)
    check_equal(out / "whole", out / "cut")
    told = json.loads((out / "broken" / "failed" / "batch.json").read_text("utf-8"))
    assert len(told["ids"]) == 8, "half of the batch"
    assert said[0] == said[1]
    assert f"the loss is nan at step 1 on rank 1 of 2 processes; the batch begins with {told['ids'][0]}" in said[0]
    saved = load_state(out / "broken" / "failed" / "state.safetensors")
    assert not torch.equal(saved.tensors["chance/torch"], saved.tensors["chance-1/torch"])


def test_a_killed_run_of_two_processes_goes_on_as_the_uninterrupted_one(dropping, tmp_path):
    """The first is killed between states, and the other cannot go on without it."""
    path, script = tmp_path / "run.toml", str(SCRIPT.with_name("killed_trainer.py"))
    path.write_text(dump(dropping("train.save_every=2", "train.epochs=3")), encoding="utf-8")
    launch([script, str(path), str(tmp_path / "whole"), "0"], 2)
    launch([script, str(path), str(tmp_path / "cut"), "5"], 2, killed=True)
    assert load_state(tmp_path / "cut" / "state.safetensors").step == 4
    launch([script, str(path), str(tmp_path / "cut"), "0"], 2)
    check_equal(tmp_path / "whole", tmp_path / "cut")


def test_one_process_gathers_nothing():
    rows = torch.ones(2, 3, requires_grad=True)
    assert gathered(rows) is rows


def test_a_group_of_one_gathers_nothing():
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        rows = torch.ones(2, 3)
        assert gathered(rows) is rows
    finally:
        torch.distributed.destroy_process_group()
