"""Search in a large gallery, opened and added to; writes results/speed_search.json.

python benchmarks/speed_search.py [--n 1000000] [--small 100000] [--rounds 7] [--work FOLDER]

Searches are those of `composir bench search`: a seeded mixture of clusters, queries one by one, every system in turn
forwards and backwards in one process, 32 queries and more until 0.2 s have passed, recall of the 32 against scores in
double precision. Beside numpy, torch, faiss and LanceDB at --n vectors of width 256, and again at --small; and at --n
of width 512, beside numpy alone.

The gallery of --n pictures is written as `composir index` would, vectors drawn, with what is kept for opening (in
--work, made anew if it is not there; takes 2 GB at a million). "Open and warm" is a process of its own that has loaded
the libraries: from `Gallery.open` to the first answer. Each is timed beside reading the stored vectors as one plain
file into memory. "Added and found" commits one picture with its file, refreshes an open shelf, and searches it; what
`composir index` does besides, looking through the folder and accounting for every file, is not in it.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rows import machine, spread, write

from composir.benching import Report, measure
from composir.gallery.scan import FileRow, Stamp
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery, Manifest

DIM, WIDE, BATCH, ADDED = 256, 512, 100_000, 20
STAMP = Stamp(1000, 10**18, 10**18, True)
EXACT, LISTS = "composir", "composir-approximate"


def built(folder: Path, n: int) -> Path:
    """A gallery of so many drawn vectors."""
    path = folder / f"gallery-{n}"
    if path.exists():
        return path
    making = folder / f".gallery-{n}.new"
    gallery = Gallery.create(making, Manifest("k" * 16, "slerp", "drawn", "drawn", "none", 1, DIM, "/nowhere"))
    rng = np.random.default_rng(0)
    with gallery.writing():
        for start in range(0, n, BATCH):
            vectors = rng.standard_normal((min(BATCH, n - start), 1, DIM), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
            ids = [hashlib.sha256(b"%d" % (start + i)).hexdigest()[:32] for i in range(len(vectors))]
            files = [FileRow(f"a/{start + i:07}.jpg", own, STAMP) for i, own in enumerate(ids)]
            gallery.add(ids, vectors.astype(np.float16), files, known=())
        Shelf.keep(gallery)
    return making.rename(path)


def opened(path: Path) -> dict[str, float]:
    """Seconds to open and to answer first; beside a plain file of the same vectors, read whole."""
    query = F.normalize(torch.randn(1, 1, DIM, generator=torch.Generator().manual_seed(0)), dim=-1)
    start = time.perf_counter()
    shelf = Shelf.load(Gallery.open(path))
    loaded = time.perf_counter()
    shelf.search(query, 50)
    answered = time.perf_counter()
    (vectors,) = path.glob("shelf-*/vectors.npy")
    np.load(vectors)
    return {"load": loaded - start, "all": answered - start, "plain": time.perf_counter() - answered}


def added(path: Path) -> list[dict[str, float]]:
    """Milliseconds of adding one picture, of seeing it, and of finding it."""
    writer, reader = Gallery.open(path), Gallery.open(path)
    shelf = Shelf.load(reader)
    rng, rows = np.random.default_rng(), list[dict[str, float]]()
    for _ in range(ADDED + 1):
        vector = rng.standard_normal((1, 1, DIM), dtype=np.float32)
        vector /= np.linalg.norm(vector)
        own = hashlib.sha256(vector.tobytes()).hexdigest()[:32]
        times = [time.perf_counter()]
        with writer.writing():
            writer.add([own], vector.astype(np.float16), [FileRow(f"new/{own}.jpg", own, STAMP)], known=())
        times.append(time.perf_counter())
        grown = shelf.grown(reader)
        assert grown is not None
        times.append(time.perf_counter())
        (hit,) = grown.search(torch.from_numpy(vector), 1)
        times.append(time.perf_counter())
        assert hit.id == own
        shelf = grown
        steps = [1000 * (b - a) for a, b in itertools.pairwise(times)]
        rows.append(dict(zip(("write", "see", "find"), steps, strict=True)) | {"all": sum(steps)})
    return rows[1:]  # the first opens files for writing


def exactly(report: Report, target: str) -> dict[str, str]:
    """The exact search beside numpy."""
    by = {row.name: row for row in report.rows}
    exact, plain = by[EXACT], by["numpy"]
    return {
        "what": f"exact search, one query, {_size(report)}",
        "value": f"{exact.p50:.1f} ms (p99 {exact.p99:.1f}), recall {exact.recall['recall@50']:.3f}",
        "against": f"numpy, single precision, argpartition: {plain.p50:.1f} ms",
        "ratio": f"{exact.ratio:.2f} × its time; target {target}",
    }


def searches(report: Report, target: str) -> list[dict[str, str]]:
    """The exact and the approximate search beside the others."""
    by = {row.name: row for row in report.rows}
    lists, ivf = by[LISTS], by["faiss-ivf"]
    # Eight bits alone may end below 0.99 whatever is read: then its time is that of the fewest lists close to its best.
    approximate = {
        "what": f"approximate search, {_size(report)}, {lists.note}",
        "value": f"{lists.p50:.2f} ms, recall {lists.recall['recall@50']:.3f}",
        "against": f"faiss IVF-SQ8, {ivf.note}: {ivf.p50:.2f} ms, recall {ivf.recall['recall@50']:.3f}",
        "ratio": f"{lists.ratio / ivf.ratio:.2f} × its time; target 1.5",
    }
    shown = ", ".join(f"{row.name} {row.p50:.1f} ms ({row.recall['recall@50']:.3f})" for row in report.rows)
    everything = {"what": f"all systems, {_size(report)}", "value": shown, "against": "(recall@50)", "ratio": ""}
    return [exactly(report, target), approximate, everything]


def _size(report: Report) -> str:
    return f"{report.n:,} x {report.dim}, {report.k} best"


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--small", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work")
    parser.add_argument("--open", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opened(Path(options.open))))
        return
    with tempfile.TemporaryDirectory() as fresh:
        figures(options, Path(options.work or fresh))


def figures(options: argparse.Namespace, work: Path) -> None:
    """Everything, written."""
    work.mkdir(parents=True, exist_ok=True)
    gallery = built(work, options.n)
    again = [sys.executable, __file__, "--open", str(gallery)]
    opens = [
        json.loads(subprocess.run(again, check=True, capture_output=True, text=True).stdout)
        for _ in range(options.rounds + 1)
    ][1:]  # the first brings the files into the system's memory
    adds = added(gallery)
    large, small = (measure(n, DIM, tell=print) for n in (options.n, options.small))
    wide = measure(options.n, WIDE, tell=print, systems=("numpy", EXACT))
    times = {key: spread([own[key] for own in opens]) for key in opens[0]}
    steps = {key: statistics.median(own[key] for own in adds) for key in adds[0]}
    slowest = max(own["all"] for own in adds)
    over = spread([own["all"] / own["plain"] for own in opens])
    write(
        "speed_search",
        {
            "machine": machine(),
            "protocol": __doc__,
            "large": _plain(large),
            "small": _plain(small),
            "wide": _plain(wide),
            "opens_s": opens,
            "adds_ms": adds,
            "rows": [
                *searches(large, "0.25"),
                *searches(small, "3 ms"),
                exactly(wide, "25 ms"),
                {
                    "what": f"exact search among the 1 % that pass a filter, {small.n:,} x {small.dim}",
                    "value": f"{small.filtered_ms:.2f} ms, recall {small.filtered_recall:.3f}; "
                    f"{small.filter_ms:.1f} ms to evaluate a filter that is new",
                    "against": "",
                    "ratio": "target 1 ms",
                },
                {
                    "what": f"a gallery of {options.n:,} open and warm, from its files to the first answer",
                    "value": f"{times['all']['median']:.2f} s ({times['all']['min']:.2f}–{times['all']['max']:.2f})",
                    "against": f"reading its vectors as one plain file: {times['plain']['median']:.2f} s",
                    "ratio": f"{over['median']:.1f} × its time ({over['min']:.1f}–{over['max']:.1f}); target 3 s",
                },
                {
                    "what": f"one picture committed to it and found by a reader, beyond its encoding ({ADDED} times)",
                    "value": f"{steps['all']:.0f} ms (at most {slowest:.0f}): {steps['write']:.0f} to write, "
                    f"{steps['see']:.0f} to see, {steps['find']:.0f} to search",
                    "against": "",
                    "ratio": "target 50 ms",
                },
            ],
        },
    )


def _plain(report: Report) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(report)


if __name__ == "__main__":
    main()
