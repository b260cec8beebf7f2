"""Where benchmarks put their figures, and what they say of the machine."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, Any]:
    """Processor, cores and the versions that decide a figure."""
    import numpy
    import PIL
    import torch
    import transformers

    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), cpu)
    return {
        "cpu": cpu,
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": numpy.__version__,
        "pillow": PIL.__version__,
    }


def growth(run: Callable[[], object]) -> int:
    """MiB by which this process rises at its highest, above what it has when `run` begins.

    Let `run` go once before, over little, so that the libraries have loaded what they load. Linux only.
    """
    ctypes.CDLL(None).malloc_trim(0)  # else what was freed is taken again unseen
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # sets VmHWM back to what there is now
    before = _mebibytes("VmRSS")
    run()
    return _mebibytes("VmHWM") - before


def _mebibytes(key: str) -> int:
    """Of the process. Not ru_maxrss, which a process takes over from the one that started it."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith(key)).split()[1]) // 1024


def spread(values: list[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values), "runs": len(values)}


def write(name: str, result: dict[str, Any]) -> None:
    """Write results/<name>.json and say where."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"wrote {path}")
