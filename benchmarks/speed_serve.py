"""Many clients at a server, with and without batching; writes results/speed_serve.json.

python benchmarks/speed_serve.py [--clients 64] [--seconds 60] [--batch 32]

A server over demo/gallery (made by `composir demo`), as `composir serve` starts it, is asked by `composir bench serve`:
each client searches one query after the other on a connection of its own, every other one changes a gallery picture,
the rest are words alone, and no two are the same. The clients run on the same cores as the server. Once with batches of
one request, once with batches of up to --batch; then both again, the other way round.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

from rows import machine, write

COMPOSIR = str(Path(sys.executable).with_name("composir"))
GALLERY = Path(__file__).resolve().parents[1] / "demo" / "gallery"
PORT = 8731
START = 120.0  # seconds a server may take to be ready
TARGET = 1.5  # times the rate of batches of one, where clients and server share the cores of a CPU


def asked(batch: int, clients: int, seconds: float) -> dict[str, Any]:
    """What clients saw of a server with batches of at most so many."""
    serve = [COMPOSIR, "serve", "--gallery", str(GALLERY), "--port", str(PORT), "--max-batch", str(batch)]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(serve, stdout=log, stderr=log, env={**os.environ, "COMPOSIR_LOG_LEVEL": "warning"})
        try:
            url = f"http://127.0.0.1:{PORT}"
            _wait(f"{url}/readyz", server)
            load = [COMPOSIR, "bench", "serve", url, "--clients", str(clients), "--seconds", str(seconds), "--json"]
            told = subprocess.run(load, capture_output=True, text=True, check=False)
            return json.loads(told.stdout)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)


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
    told = ", ".join(f"{count:,} with status {status}" for status, count in sorted(statuses.items()))
    write(
        "speed_serve",
        {
            "machine": machine(),
            "protocol": __doc__,
            "options": vars(options),
            "sizes": sizes,
            "runs": runs,
            "rows": [
                {
                    "what": f"`composir serve`, {options.clients} clients for {options.seconds:g} s, twice: {told}",
                    "value": f"{mean['rate'][1]:.0f} answers/s, p50 {mean['p50'][1]:.0f} ms, p99 {mean['p99'][1]:.0f} "
                    f"ms, {mean['batch'][1]:.1f} requests a batch",
                    "against": f"batches of one: {mean['rate'][0]:.0f} answers/s, p50 {mean['p50'][0]:.0f} ms, p99 "
                    f"{mean['p99'][0]:.0f} ms",
                    "ratio": f"{statistics.fmean(gains):.2f} of its rate ({min(gains):.2f}–{max(gains):.2f}); target {TARGET}",
                }
            ],
        },
    )


if __name__ == "__main__":
    main()
