"""What the runs behind the embedded backbones logged; writes results/pretraining.json.

python benchmarks/pretraining.py RUN...

Each RUN is a finished folder of `composir train`; its name is that of its run file in configs/. Runs that were kept
before stay. The folders themselves are too large to commit.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rows import RESULTS, write

NAME = "pretraining"


def kept(run: Path) -> dict[str, Any]:
    """Report, run file and validations of one run."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        **json.loads((run / "report.json").read_text(encoding="utf-8")),
        "config": (run / "config.toml").read_text(encoding="utf-8"),
        "validations": [{key: row[key] for key in ("epoch", "step", "loss", "val")} for row in log if "val" in row],
    }


def main() -> None:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    path = RESULTS / f"{NAME}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else {}
    runs = {**before, **{run.name: kept(run) for run in options.runs}}
    write(NAME, {"protocol": __doc__, "runs": runs})


if __name__ == "__main__":
    main()
