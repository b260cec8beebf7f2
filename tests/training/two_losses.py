"""Losses and gradients of Bi-BLIP4CIR over this process's share of a batch; the first process writes.

python two_losses.py LOSSES_AND_GRADIENTS.safetensors, in the environment that torchrun makes
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from composir.backbones import load_backbone
from composir.methods import load_method
from composir.training.fit import accelerator_for

TEXTS = ["is red", "has longer sleeves", "standing and sandy", "darker", "no dots", "two stripes", "is a coat", "wider"]


def main(out: Path) -> None:
    accelerator = accelerator_for("no")
    count, rank = accelerator.num_processes, accelerator.process_index
    mine = slice(rank * len(TEXTS) // count, (rank + 1) * len(TEXTS) // count)
    reference, target = 3 * torch.randn(2, len(TEXTS), 16, generator=torch.Generator().manual_seed(0))
    batch = {
        "texts": TEXTS[mine],
        "reversed_texts": TEXTS[::-1][mine],
        "weights": (1 + torch.arange(len(TEXTS)) % 3)[mine].float(),
        "reference": reference[mine],
        "target": target[mine],
    }
    found: dict[str, Tensor] = {}
    for stage in (1, 2):
        for negatives in ("targets", "references"):
            torch.manual_seed(0)
            sizes = {"projection_dim": 24, "hidden_dim": 32, "chunk": 5} if stage == 2 else {}
            arguments = {"stage": stage, "reverse_negatives": negatives, "reverse_weight": 0.5, **sizes}
            method = load_method("bi-blip4cir", load_backbone("clip-tiny"), **arguments).eval()  # else dropout differs
            wrapped = accelerator.prepare(method)  # kept: gradients are averaged for as long as it is there
            losses = cast("dict[str, Tensor]", wrapped(batch))
            accelerator.backward(losses["loss"])
            name = f"{stage} {negatives}"
            found |= {f"losses/{name}/{part}": own.detach().clone() for part, own in losses.items()}
            gradients = {own: p.grad for own, p in method.named_parameters() if p.grad is not None}
            found |= {f"{name}/{own}": gradient for own, gradient in gradients.items()}
    if accelerator.is_main_process:
        save_file(found, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
