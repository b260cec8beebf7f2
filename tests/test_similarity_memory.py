"""What ranking holds stays below its bound, measured as the growth of a fresh process at its highest."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.long

MIB = 2**20

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from composir.similarity import ranking, subset_ranking

q, n, t, d, memory, half, equal, function = json.loads(sys.argv[1])
torch.manual_seed(0)
kind = torch.float16 if half else torch.float32
gallery = torch.ones(n, t, d, dtype=kind) if equal else torch.empty(n, t, d, dtype=kind).uniform_(-1, 1)
query = torch.ones(q, 1, d) if equal else torch.empty(q, 1, d).uniform_(-1, 1)
targets = [[i % n] for i in range(q)]
drop = [(i + 1) % n for i in range(q)]
members = [[(i + j) % n for j in range(6)] for i in range(q)]

def highest():
    # Not ru_maxrss, which a process takes over from the one that started it.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

def run(query, gallery, memory):
    rows = len(query)
    if function == "subset":
        return subset_ranking(query, gallery, members[:rows], targets[:rows], drop[:rows], memory=memory)
    return ranking(query, gallery, targets[:rows], 50, drop[:rows], memory=memory)

run(query[:2], gallery[:max(n // 50, 1)] if function != "subset" else gallery, 1)  # what libraries load once
before = highest()
found = run(query, gallery, memory)
after = highest()
returned = sum(getattr(found, name).nbytes for name in ("scores", "rows", "ranks", "ties"))
print(json.dumps([after - before, returned]))
"""


def growth(**case) -> int:
    """Bytes by which the process grew while it ranked, less what it returned."""
    names = ("q", "n", "t", "d", "memory", "half", "equal", "function")
    arguments = json.dumps([case[name] for name in names])
    # What is freed is given back at once, else the allocator keeps some by chance: 16 MiB in one run of three.
    given_back = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    line = [sys.executable, "-c", SCRIPT, arguments]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=given_back)
    grown, returned = json.loads(done.stdout)
    return grown - returned


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("q", "n", "t", "d", "half", "equal", "function"),
    [
        (200, 8000, 32, 32, True, False, "ranking"),  # 32 MiB in single precision, products of 200 MiB at once
        (800, 60_000, 1, 8, True, False, "ranking"),  # scores of 190 MB
        (48, 200_000, 1, 4, False, True, "ranking"),  # scores of 38 MB, all tied: as indices they would take 77 MB
        (1000, 1500, 32, 64, True, False, "subset"),  # own candidates of 47 MiB
    ],
)
def test_memory_stays_below_its_bound(q, n, t, d, half, equal, function):
    case = {"q": q, "n": n, "t": t, "d": d, "half": half, "equal": equal, "function": function}
    assert growth(**case, memory=24 * MIB) < 24 * MIB + 8 * MIB  # stacks of threads, buffers of BLAS
