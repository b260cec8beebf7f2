"""How soon the command line answers; writes results/speed_start.json.

python benchmarks/speed_start.py

Whole processes, in turn: `composir --help` against an empty Python; the first `composir search` on the demo's gallery
against a Python that only imports torch and transformers' CLIP; the whole demo, drawing included, once. Needs
`composir demo` to have run.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rows import machine, spread, write

ROUNDS = 7
COMPOSIR = str(Path(sys.executable).with_name("composir"))


def seconds(command: list[str]) -> float:
    """Wall time of a process."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def paired(command: list[str], baseline: list[str]) -> tuple[list[float], list[float]]:
    """Both in turn, once without counting."""
    seconds(command), seconds(baseline)
    turns = [(seconds(command), seconds(baseline)) for _ in range(ROUNDS)]
    return [a for a, _ in turns], [b for _, b in turns]


def main() -> None:
    """Measure and write."""
    demo = Path(__file__).resolve().parents[1] / "demo"
    pictures = sorted((demo / "pictures").glob("*.png"))
    if not pictures:
        sys.exit(f"no pictures in {demo}; run composir demo first")
    search = [COMPOSIR, "search", "--gallery", str(demo / "gallery"), "--image", str(pictures[0])]
    search += ["--text", "is red", "--json"]
    cases = {
        "`composir --help`": ([COMPOSIR, "--help"], [sys.executable, "-c", "pass"], "an empty Python process"),
        f"first query: a whole `composir search` process, {len(pictures):,} pictures": (
            search,
            [sys.executable, "-c", "import torch; from transformers import CLIPModel"],
            "a process that imports torch and transformers' CLIP",
        ),
    }
    rows, detail = [], {}
    for what, (command, baseline, against) in cases.items():
        ours, theirs = paired(command, baseline)
        ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
        detail[what] = {"ours_s": spread(ours), "baseline_s": spread(theirs), "ratio": spread(ratios)}
        ratio = f"{spread(ratios)['median']:.2f} × its time ({min(ratios):.2f}–{max(ratios):.2f})"
        rows.append({"what": what, "value": f"{spread(ours)['median']:.2f} s", "against": against, "ratio": ratio})
    with tempfile.TemporaryDirectory() as fresh:
        whole = seconds([COMPOSIR, "demo", "--out", f"{fresh}/demo"])
    what = "`composir demo`: draw and index 2,000 pictures, answer three queries"
    rows.append({"what": what, "value": f"{whole:.0f} s", "against": "", "ratio": ""})
    detail[what] = {"ours_s": whole}
    write("speed_start", {"machine": machine(), "runs": detail, "rows": rows})


if __name__ == "__main__":
    main()
