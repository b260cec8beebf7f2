"""How long the README's `make test` takes; writes results/speed_tests.json.

python benchmarks/speed_tests.py

Runs it once, installed already, and tells what pytest counted. No ratio: the target is a number of seconds on two cores.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from rows import machine, write

ROOT = Path(__file__).resolve().parents[1]
TARGET = 300  # seconds


def main() -> None:
    """Measure and write."""
    subprocess.run(["make", ".venv/.installed-dev"], cwd=ROOT, check=True)
    start = time.perf_counter()
    done = subprocess.run(["make", "test"], cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    last = re.findall(r"^=+ (.*\d+ passed.*) in .*$|^(\d+ passed.*) in .*$", done.stdout, re.MULTILINE)
    if done.returncode or not last:
        sys.exit(f"make test failed:\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
    counted = next(filter(None, last[-1]))
    about = machine()
    row = {
        "what": f"`make test`, {about['cores']} cores",
        "value": f"{seconds:.0f} s, {counted}",
        "against": "",
        "ratio": f"target {TARGET} s",
    }
    write("speed_tests", {"machine": about, "seconds": seconds, "counted": counted, "rows": [row]})


if __name__ == "__main__":
    main()
