"""Fits a tiny method on this process's share of every batch, then does a whole run; the first process writes.

python two_processes.py LOSSES_AND_WEIGHTS.safetensors RUN.toml FOLDER, in the environment that torchrun makes
"""

from __future__ import annotations

import copy
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from composir.backbones.clip import ClipBackbone
from composir.config import TrainConfig, load_config
from composir.datasets import load_dataset
from composir.methods.contrastive import Contrastive
from composir.methods.tat import Tat
from composir.training import fit, run
from composir.training.batches import Share
from composir.training.fit import accelerator_for
from composir.training.pairs import pair_batches
from composir.training.pictures import Source


def main(out: Path) -> None:
    accelerator = accelerator_for("no")
    dataset = load_dataset("wardrobe", train=48, val=6, test=6)
    share = Share(accelerator.process_index, accelerator.num_processes)
    found: dict[str, torch.Tensor] = {}
    torch.manual_seed(0)
    # DDP gives all processes the first one's weights; frozen features are each process's own, so there they are equal.
    other = ClipBackbone.tiny(seed=accelerator.process_index)
    for accumulate in (1, 3):
        c = TrainConfig(epochs=3, batch_size=16, accumulate=accumulate, lr=1e-3, shift=2, flip=True, workers=0)
        for method in (Contrastive(copy.deepcopy(other)), Tat(ClipBackbone.tiny(), dropout=0.0)):
            batches = pair_batches(method, dataset.pairs("train"), Source(dataset, c), share)
            steps = list(fit(method, batches, steps=3, lr=1e-3, warmup=1, accumulate=accumulate))
            name = f"{method.name} {accumulate}"
            found[f"losses/{name}"] = torch.tensor([step.losses["loss"] for step in steps], dtype=torch.float64)
            found |= {f"{name}/{own}": p.detach() for own, p in method.named_parameters() if p.requires_grad}
    if accelerator.is_main_process:
        save_file(found, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    run(load_config(Path(sys.argv[2])), Path(sys.argv[3]))
