"""Many clients at a server, with and without batching; writes results/speed_serve.json.

python benchmarks/speed_serve.py [--clients 64] [--seconds 60] [--batch 32]

A server over demo/gallery (made by `composir demo`), as `composir serve` starts it, is asked by `composir bench serve`:
each client searches one query after the other on a connection of its own, every other one changes a gallery picture,
the rest are words alone, and no two are the same. The clients run on the same cores as the server. Once with batches of
one request, once with batches of up to --batch; then both again, the other way round.

Then a slider is moved: at a server over 100,000 drawn vectors, of the width and for the method of that gallery, one client asks
for one reference and one text at 101 weights, one after the other, three times; /metrics tells how many pictures and texts
were encoded meanwhile. The times are those of whole answers over HTTP.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rows import machine, write

from composir.benching.vectors import mixture
from composir.gallery.scan import FileRow, Stamp
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery

COMPOSIR = str(Path(sys.executable).with_name("composir"))
GALLERY = Path(__file__).resolve().parents[1] / "demo" / "gallery"
PORT = 8731
START = 120.0  # seconds a server may take to be ready
SLID, WEIGHTS, TIMES = 100_000, 101, 3
GAIN, ANSWER = 1.5, 100  # targets: the gain of batching where clients share the cores, milliseconds of an answer
ENCODED = re.compile(r'^composir_stage_seconds_count\{stage="(encode_\w+)"\} ([\d.e+]+)$', re.MULTILINE)


@contextmanager
def server(gallery: Path, *more: str) -> Iterator[str]:
    """The address of one at work."""
    serve = [COMPOSIR, "serve", "--gallery", str(gallery), "--port", str(PORT), *more]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(serve, stdout=log, stderr=log, env={**os.environ, "COMPOSIR_LOG_LEVEL": "warning"})
        try:
            url = f"http://127.0.0.1:{PORT}"
            _wait(f"{url}/readyz", process)
            yield url
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def asked(batch: int, clients: int, seconds: float) -> dict[str, Any]:
    """What clients saw of a server with batches of at most so many."""
    with server(GALLERY, "--max-batch", str(batch)) as url:
        load = [COMPOSIR, "bench", "serve", url, "--clients", str(clients), "--seconds", str(seconds), "--json"]
        told = subprocess.run(load, capture_output=True, text=True, check=False)
        return json.loads(told.stdout)


def slid(folder: Path) -> dict[str, Any]:
    """Milliseconds of the answers to a slider, and how often something was encoded after the first answer."""
    made = Gallery.open(GALLERY)
    gallery = Gallery.create(folder / "slid", replace(made.manifest, root=str(folder)))
    rows = mixture(SLID, made.manifest.dim, 0)
    ids = [hashlib.sha256(b"%d" % i).hexdigest()[:32] for i in range(SLID)]
    stamp = Stamp(1000, 10**18, 10**18, True)
    with gallery.writing():
        files = [FileRow(f"{i:06}.jpg", own, stamp) for i, own in enumerate(ids)]
        gallery.add(ids, rows[:, None], files, known=())
        Shelf.keep(gallery)
    times = []
    with server(folder / "slid") as url, httpx.Client(base_url=url, timeout=60) as client:
        body = {"reference": {"id": ids[0]}, "text": "is red", "k": 24}
        client.post("/v1/search", json=body).raise_for_status()
        before = dict(ENCODED.findall(client.get("/metrics").text))
        for number in range(TIMES * WEIGHTS):
            start = time.perf_counter()
            alpha = number % WEIGHTS / (WEIGHTS - 1)
            client.post("/v1/search", json={**body, "alpha": alpha}).raise_for_status()
            times.append(1000 * (time.perf_counter() - start))
        after = dict(ENCODED.findall(client.get("/metrics").text))
    assert before, "the server tells no stages"
    return {"times": times, "encoded": sum(float(after[name]) - float(before[name]) for name in after)}


def _wait(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    sys.exit(f"the server was not ready within {START:g} s; does {GALLERY} exist? (composir demo makes it)")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    sizes = (1, options.batch, options.batch, 1)
    runs = [asked(size, options.clients, options.seconds) for size in sizes]
    single, many = ([run for size, run in zip(sizes, runs, strict=True) if size == own] for own in (1, options.batch))
    statuses = sum((Counter(run["statuses"]) for run in runs), Counter[str]())
    gains = [b["rate"] / a["rate"] for a, b in zip(single, many, strict=True)]
    mean = {
        name: [statistics.fmean(run[name] for run in part) for part in (single, many)]
        for name in ("rate", "p50", "p99", "batch")
    }
    with tempfile.TemporaryDirectory() as fresh:
        slider = slid(Path(fresh))
    times = sorted(slider["times"])
    told = ", ".join(f"{count:,} with status {status}" for status, count in sorted(statuses.items()))
    write(
        "speed_serve",
        {
            "machine": machine(),
            "protocol": __doc__,
            "options": vars(options),
            "sizes": sizes,
            "runs": runs,
            "slider": slider,
            "rows": [
                {
                    "what": f"`composir serve`, {options.clients} clients for {options.seconds:g} s, twice: {told}",
                    "value": f"{mean['rate'][1]:.0f} answers/s, p50 {mean['p50'][1]:.0f} ms, p99 {mean['p99'][1]:.0f} "
                    f"ms, {mean['batch'][1]:.1f} requests a batch",
                    "against": f"batches of one: {mean['rate'][0]:.0f} answers/s, p50 {mean['p50'][0]:.0f} ms, p99 "
                    f"{mean['p99'][0]:.0f} ms",
                    "ratio": f"{statistics.fmean(gains):.2f} of its rate ({min(gains):.2f}–{max(gains):.2f}); target {GAIN}",
                },
                {
                    "what": f"a slider moved over {SLID:,} pictures, {len(times)} answers of `composir serve`",
                    "value": f"p50 {statistics.median(times):.1f} ms, p99 {np.quantile(times, 0.99):.1f}, at most "
                    f"{times[-1]:.1f}; {slider['encoded']:.0f} encodings",
                    "against": "",
                    "ratio": f"target {ANSWER} ms",
                },
            ],
        },
    )


if __name__ == "__main__":
    main()
