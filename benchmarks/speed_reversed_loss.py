"""The reversed loss of Bi-BLIP4CIR's second stage at growing batches; writes results/speed_reversed_loss.json.

python benchmarks/speed_reversed_loss.py [--sizes 64 128 256] [--rounds 3] [--chunk 4096] [--device cpu]

The paper's sizes: features 256 wide, Combiner 2560 and 5120, dropout 0.5 in training mode. One step is B targets composed
with B reversed texts, cosines with B references, cross-entropy, and the gradient of all weights of the Combiner.
The naive form is that of the authors' code, written anew: B * B rows through the Combiner at once. Both run in turn in one
process; memory is how far a fresh process rises (VmHWM, set back when weights and gradients stand and the libraries have
loaded what they load) above what it has then.
On a GPU (--device cuda, chosen where there is one) sizes go to 512, the forward pass runs under bfloat16 autocast as the
paper's did under mixed precision, and memory is what torch allocated at its highest.
A naive step that needs more memory than is free is not run; then its memory stands there as an estimate from the others.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from bi_blip4cir_tables import NAIVE, reversed_rows
from rows import growth, machine, spread, write
from torch import Tensor

from composir.methods.combiner import CHUNK, Combiner

DIM, SCALE = 256, 100.0
SIZES = {"cpu": [64, 128, 256], "cuda": [64, 128, 256, 512]}
ENOUGH = 120.0  # seconds after which a form is not measured once more
SHARE = 0.8  # of free memory that may be asked for

Form = Callable[..., Tensor]


def naive(combiner: Combiner, image: Tensor, text: Tensor, against: Tensor) -> Tensor:
    """Every pair a row: B * B of them through every layer, each layer as it is written, on a concatenation."""
    b = len(text)
    v, w = image.repeat(b, 1), text.repeat_interleave(b, 0)

    def dropped(x: Tensor) -> Tensor:
        return F.dropout(x, combiner.dropout, combiner.training)

    seen = torch.cat(
        [dropped(F.relu(combiner.text_projection(w))), dropped(F.relu(combiner.image_projection(v)))], dim=-1
    )
    mixture = combiner.mixture_out(dropped(F.relu(combiner.mixture(seen)))).float()
    share = torch.sigmoid(combiner.gate_out(dropped(F.relu(combiner.gate(seen))))).float()
    made = F.normalize(mixture + share * w + (1 - share) * v, dim=-1)
    return (made.view(b, b, -1) * against[:, None]).sum(-1)


def form(name: str, chunk: int) -> Form:
    """By name."""
    return naive if name == "naive" else lambda combiner, *given: combiner.scores(*given, chunk)


def problem(size: int, device: str) -> tuple[Combiner, list[Tensor]]:
    """The same in every process."""
    torch.manual_seed(0)
    combiner = Combiner(DIM).to(device).train()
    image, text, against = (torch.randn(size, DIM).to(device) for _ in range(3))
    return combiner, [image, text, F.normalize(against, dim=-1)]


def step(run: Form, combiner: Combiner, given: list[Tensor]) -> None:
    """Loss and gradient."""
    device = given[0].device.type
    with torch.autocast(device, dtype=torch.bfloat16, enabled=device == "cuda"):
        cosines = run(combiner, *given)
    F.cross_entropy(SCALE * cosines.float(), torch.arange(len(cosines), device=device)).backward()


def seconds(run: Form, combiner: Combiner, given: list[Tensor]) -> float:
    """Of one step."""
    cuda = given[0].device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    step(run, combiner, given)
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak(name: str, size: int, device: str, chunk: int) -> float:
    """MiB by which a step of this process grows, beside weights and gradients."""
    combiner, given = problem(size, device)
    step(form(name, chunk), combiner, [x[:2] for x in given])  # gradients exist, libraries have loaded
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(form(name, chunk), combiner, given)
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    return growth(lambda: step(form(name, chunk), combiner, given))


def free(device: str) -> int:
    """Bytes."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("MemAvailable")).split()[1])


def difference(device: str, chunk: int) -> dict[str, float]:
    """Between both forms in eval mode: largest of the cosines, of the loss, and of the gradients relative to theirs."""
    combiner, given = problem(32, device)
    combiner.eval()
    found = []
    for run in (naive, form("ours", chunk)):
        combiner.zero_grad()
        cosines = run(combiner, *given)
        loss = F.cross_entropy(SCALE * cosines, torch.arange(32, device=device))
        loss.backward()
        found.append((cosines.detach(), loss.item(), torch.cat([p.grad.flatten() for p in combiner.parameters()])))  # pyright: ignore[reportOptionalMemberAccess]
    (c, loss, g), (c2, loss2, g2) = found
    return {
        "cosine": (c - c2).abs().max().item(),
        "loss": abs(loss - loss2),
        "gradient": ((g - g2).norm() / g.norm()).item(),
    }


def measured(size: int, device: str, chunk: int, rounds: int) -> dict[str, Any]:
    """Times of both in turn, and memory of both."""
    factor = 0.5 if device == "cuda" else 1.0
    fits = NAIVE * factor * size**2 < SHARE * free(device)
    combiner, given = problem(size, device)
    names = ["ours", "naive"] if fits else ["ours"]
    times: dict[str, list[float]] = {name: [] for name in names}
    for name in names:  # once to warm up, smaller
        step(form(name, chunk), combiner, [x[:8] for x in given])
    for _ in range(rounds):
        for name in names:
            if sum(times[name]) < ENOUGH:
                times[name].append(seconds(form(name, chunk), combiner, given))
    del combiner, given
    if device == "cuda":
        torch.cuda.empty_cache()
    again = [sys.executable, __file__, "--device", device, "--chunk", str(chunk), "--sizes", str(size), "--peak"]
    peaks = {
        name: json.loads(subprocess.run([*again, name], check=True, capture_output=True, text=True).stdout)
        for name in names
    }
    return {"seconds": {name: spread(own) for name, own in times.items()}, "peak_mib": peaks}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--sizes", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--chunk", type=int, default=CHUNK)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device, sizes = options.device, options.sizes or SIZES[options.device]
    if options.peak:
        print(json.dumps(peak(options.peak, sizes[0], device, options.chunk)))
        return
    found = {size: measured(size, device, options.chunk, options.rounds) for size in sizes}
    about = {**machine(), **({"gpu": torch.cuda.get_device_name()} if device == "cuda" else {})}
    name = "speed_reversed_loss" + ("_gpu" if device == "cuda" else "")
    result = {
        "machine": about,
        "protocol": __doc__,
        "chunk": options.chunk,
        "difference": difference(device, options.chunk),
        "sizes": {str(size): own for size, own in found.items()},
    }
    rows = reversed_rows(result)
    for line in rows:
        print(" | ".join(line.values()))
    write(name, {**result, "rows": rows})


if __name__ == "__main__":
    main()
