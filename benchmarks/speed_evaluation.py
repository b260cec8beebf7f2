"""Ranking and scoring at the size of CIRR's validation queries; writes results/speed_evaluation.json.

python benchmarks/speed_evaluation.py [--rounds 11]

Random unit vectors and a task of names, the reference dropped, ranked and scored by what `composir eval` calls behind
the encoders: `evaluation.runs.ranked` and `evaluation.scoring.per_query`. Two baselines run with it on the same cores,
each round there and back: the bare product and topk(50), block by block into one buffer, in the block size that suits
it best on this machine; and the way of CLIP4Cir's validation (and of those that copied it), written anew: sort
everything, then find targets by comparing names. Its tables of names for all queries would take tens of gigabytes, so
it runs on every 20th query and its time and memory are multiplied by 20: both are proportional to the queries.

MAPNet's galleries have 32 vectors a picture, in half precision: a tenth of the queries against those, within the default
bound on memory, beside the bare product in chunks of CHUNK pictures, max and topk(50).

A row in half precision is ranked beside the same bare product over single precision: it is what `composir eval` keeps.

Memory is how far a fresh process rises (VmHWM, set back when the vectors stand and the libraries have loaded what they
load) above what it has then.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from rows import growth, machine, spread, write

from composir.evaluation.runs import ranked
from composir.evaluation.scoring import per_query
from composir.types import Query, Task

QUERIES, GALLERY, DIM, KEPT = 4181, 21_551, 256, 50
VECTORS, CHUNK, BLOCK = 32, 64, 256  # MAPNet's vectors; pictures and queries of one bare product of them
SHARE = 20  # CLIP4Cir's way runs on one query in so many
TARGET = 1.5  # times the bare product's
BLOCKS = (64, 128, 256, 512, 1024, 2048)
METRICS = ("R@1", "R@5", "R@10", "R@50", "Rs@1", "Rs@2", "Rs@3", "mAP@5", "mAP@10", "mAP@25", "mAP@50")


@dataclass(frozen=True)
class Problem:
    """Vectors, and a task: each query has a reference, a target, and six of a subset with both."""

    query: torch.Tensor
    gallery: torch.Tensor
    task: Task

    def part(self, step: int) -> Problem:
        """Every so manieth query."""
        return replace(self, query=self.query[::step], task=replace(self.task, queries=self.task.queries[::step]))

    def halved(self) -> Problem:
        """The same, the gallery in half precision."""
        return replace(self, gallery=self.gallery.half())


def problem(vectors: int = 1) -> Problem:
    """The same vectors in every process; of several a picture in half precision, and a tenth of the queries."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    query = F.normalize(torch.randn(QUERIES, 1, DIM), dim=-1)
    gallery = torch.empty(GALLERY, vectors, DIM, dtype=torch.float32 if vectors == 1 else torch.float16)
    for part in gallery.split(1000):
        part.copy_(F.normalize(torch.randn(part.shape), dim=-1))
    names = tuple(f"dev-{row // 20}-{row % 20 // 4}-img{row % 4}" for row in range(GALLERY))
    queries = []
    for number in range(QUERIES):
        some = rng.choice(GALLERY, 6, replace=False)
        subset = tuple(names[row] for row in rng.permutation(some))
        queries.append(Query(f"{number}", names[some[0]], ("is red",), (names[some[1]],), subset))
    whole = Problem(query, gallery, Task("cirr", names, tuple(queries), METRICS, drop_reference=True))
    return whole if vectors == 1 else whole.part(10)


def ours(p: Problem) -> dict[str, float]:
    """All metrics, in per cent."""
    values = per_query(ranked(p.query, p.gallery, p.task, k=KEPT), p.task)
    return {name: 100 * float(own.mean()) for name, own in values.items()}


def bare(p: Problem, block: int) -> None:
    """The product and its 50 best, nothing else."""
    held = torch.empty(block, len(p.gallery))
    for part in p.query[:, 0].split(block):
        torch.mm(part, p.gallery[:, 0].T, out=held[: len(part)]).topk(KEPT)


def bare_of_many(p: Problem) -> None:
    """The same for several vectors a picture."""
    held = torch.empty(BLOCK, len(p.gallery))
    for part in p.query[:, 0].split(BLOCK):
        scores = held[: len(part)]
        for some, out in zip(p.gallery.split(CHUNK), scores.split(CHUNK, dim=1), strict=True):
            products = part @ some.float().reshape(-1, DIM).T
            torch.amax(products.reshape(len(part), -1, VECTORS), dim=2, out=out)
        scores.topk(KEPT)


def clip4cir(p: Problem) -> dict[str, float]:
    """R@K and Rs@K by a full argsort, tables of names and masks over them."""
    names, queries = np.array(p.task.gallery), p.task.queries
    references, targets = np.array([q.reference for q in queries]), np.array([q.targets[0] for q in queries])
    members = np.array([q.subset for q in queries])
    distances = 1 - p.query[:, 0] @ p.gallery[:, 0].T
    ordered = names[torch.argsort(distances, dim=-1).numpy()]
    others = ordered != np.repeat(references, len(names)).reshape(len(targets), -1)
    ordered = ordered[others].reshape(len(targets), -1)
    labels = ordered == np.repeat(targets, len(names) - 1).reshape(len(targets), -1)
    inside = (ordered[..., None] == members[:, None, :]).sum(-1).astype(bool)
    own = labels[inside].reshape(len(targets), -1)
    result = {f"R@{k}": 100 * float(labels[:, :k].sum() / len(labels)) for k in (1, 5, 10, 50)}
    return result | {f"Rs@{k}": 100 * float(own[:, :k].sum() / len(own)) for k in (1, 2, 3)}


def seconds(run: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def there_and_back(*runs: Callable[[], object]) -> tuple[float, ...]:
    """Mean seconds of each, run in this order and then in the other: a machine that slows down slows all of them."""
    there = [seconds(run) for run in runs]
    back = [seconds(run) for run in reversed(runs)]
    return tuple((a + b) / 2 for a, b in zip(there, reversed(back), strict=True))


def peak(which: str, block: int) -> int:
    """MiB by which this process grows for one of them."""
    p = problem(VECTORS if "of many" in which else 1)
    if which == "ours in half":
        p = p.halved()
    run = {
        "ours": ours, "ours in half": ours, "bare": lambda p: bare(p, block), "clip4cir": clip4cir, "ours of many": ours,
        "bare of many": bare_of_many,
    }[which]  # fmt: skip
    run(p.part(len(p.query) // 4))  # a few queries, so that the libraries have loaded what they load
    asked = p.part(SHARE) if which == "clip4cir" else p
    grown = growth(lambda: run(asked))
    return grown * SHARE if which == "clip4cir" else grown


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--peak", help=argparse.SUPPRESS)
    parser.add_argument("--block", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak:
        print(json.dumps(peak(options.peak, options.block)))
        return
    p, few = problem(), problem().part(SHARE)
    theirs, same = clip4cir(few), ours(few)
    assert all(np.isclose(same[name], value) for name, value in theirs.items()), (same, theirs)
    sweep = {b: min(seconds(lambda b=b: bare(p, b)) for _ in range(3)) for b in BLOCKS}
    block = min(sweep, key=lambda b: sweep[b])
    half = p.halved()
    ours(p), ours(half)
    rounds = [
        (
            *there_and_back(lambda: bare(p, block), lambda: ours(p), lambda: ours(half)),
            SHARE * seconds(lambda: clip4cir(few)),
        )
        for _ in range(options.rounds)
    ]
    many = problem(VECTORS)
    rounds_of_many = [there_and_back(lambda: bare_of_many(many), lambda: ours(many)) for _ in range(options.rounds)]
    again = [sys.executable, __file__, "--block", str(block), "--peak"]
    peaks = {
        which: json.loads(subprocess.run([*again, which], check=True, capture_output=True, text=True).stdout)
        for which in ("bare", "ours", "ours in half", "clip4cir", "bare of many", "ours of many")
    }
    over_bare, over_theirs = spread([o / b for b, o, *_ in rounds]), spread([t / o for _, o, _, t in rounds])
    over_half = spread([h / b for b, _, h, _ in rounds])
    over_many = spread([o / b for b, o in rounds_of_many])
    bare_s, ours_s, half_s, theirs_s = (spread([r[i] for r in rounds])["median"] for i in range(4))
    bare_many_s, ours_many_s = (spread([r[i] for r in rounds_of_many])["median"] for i in range(2))
    value = f"{ours_s:.2f} s, {peaks['ours']} MiB"
    write(
        "speed_evaluation",
        {
            "machine": machine(),
            "protocol": __doc__,
            "rounds_bare_ours_half_clip4cir_s": rounds,
            "rounds_of_many_bare_ours_s": rounds_of_many,
            "bare_block": block,
            "bare_sweep_s": sweep,
            "peak_mib": peaks,
            "metrics": ours(p),
            "ratio_to_bare": over_bare,
            "ratio_of_half_to_bare": over_half,
            "clip4cir_to_ours": over_theirs,
            "ratio_to_bare_of_many": over_many,
            "rows": [
                {
                    "what": f"ranking {QUERIES:,} queries among {GALLERY:,} pictures, {DIM} wide: reference dropped, "
                    "R@K, Rs@K, mAP@K for each query",
                    "value": value,
                    "against": f"the bare product and topk({KEPT}) in blocks of {block} queries: {bare_s:.2f} s, "
                    f"{peaks['bare']} MiB",
                    "ratio": f"{of_its_time(over_bare)}; target {TARGET}",
                },
                {
                    "what": "the same, the gallery in half precision, as `composir eval` keeps it",
                    "value": f"{half_s:.2f} s, {peaks['ours in half']} MiB",
                    "against": "that product, in single precision",
                    "ratio": f"{of_its_time(over_half)}; target {TARGET}",
                },
                {
                    "what": "the first of these",
                    "value": value,
                    "against": f"CLIP4Cir's way, full argsort and masks over names: {theirs_s:.0f} s, "
                    f"{peaks['clip4cir'] / 1024:.0f} GiB (a {SHARE}th of the queries, times {SHARE})",
                    "ratio": f"{over_theirs['median']:.0f} × faster "
                    f"({over_theirs['min']:.0f}–{over_theirs['max']:.0f})",
                },
                {
                    "what": f"ranking for {VECTORS} vectors a picture in half precision, {len(many.query)} queries",
                    "value": f"{ours_many_s:.2f} s, {peaks['ours of many']} MiB",
                    "against": f"the bare product in chunks of {CHUNK} pictures, max and topk({KEPT}): "
                    f"{bare_many_s:.2f} s, {peaks['bare of many']} MiB",
                    "ratio": f"{of_its_time(over_many)}; target {TARGET}",
                },
            ],
        },
    )


def of_its_time(ratio: dict[str, float]) -> str:
    """ "1.16 × its time (1.13-1.20)"."""
    return f"{ratio['median']:.2f} × its time ({ratio['min']:.2f}–{ratio['max']:.2f})"


if __name__ == "__main__":
    main()
