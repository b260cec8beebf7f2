"""What the runs behind the embedded backbones logged, and what each gained; writes results/pretraining.json.

python benchmarks/pretraining.py RUN...

Each RUN is a finished folder of `composir train`; its name is that of its run file in configs/. Runs that were kept
before stay. The folders themselves are too large to commit. Of a run that starts from another's backbone the gain is
told: caption -> image R@1 on val after it less before it, with full captions, over the same captions.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
from rows import RESULTS, machine, write

from composir.backbones import load_backbone
from composir.config import load_config
from composir.datasets import load_dataset
from composir.methods import load_method
from composir.methods.joint import JointSpace
from composir.metrics import paired_test
from composir.training.pictures import decoded
from composir.training.validate import caption_ranks

NAME = "pretraining"


def kept(run: Path) -> dict[str, Any]:
    """Report, run file and validations of one run."""
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        **json.loads((run / "report.json").read_text(encoding="utf-8")),
        "config": (run / "config.toml").read_text(encoding="utf-8"),
        "validations": [{key: row[key] for key in ("epoch", "step", "loss", "val")} for row in log if "val" in row],
        "gain": gain(run),
        "gain_machine": machine(),
    }


def gain(run: Path) -> dict[str, float] | None:
    """R@1 on val less that of the backbone the run started from, in points; None where it began from scratch."""
    config = load_config(run / "config.toml")
    before = Path(config.backbone.name)
    if not before.is_dir():
        return None
    data = load_dataset(config.data.name, **config.data.arguments)
    pairs = data.pairs("val")
    after, start = (space(folder) for folder in (run / "backbone", before))
    transform = after.transform("gallery")
    assert transform == start.transform("gallery"), "training leaves the transform as it was"
    pixels, _, _ = decoded(data, [pair.image for pair in pairs], transform, 1)
    test = paired_test(*((caption_ranks(each, pairs, pixels) == 1).astype(np.float64) for each in (after, start)))
    points = {"value": 100 * test.difference, "low": 100 * test.low, "high": 100 * test.high}
    return {**points, "p": test.p_randomization, "captions": len(pairs)}


def space(folder: Path) -> JointSpace:
    """The joint space of a backbone's folder."""
    method = load_method("slerp", load_backbone(str(folder)))
    assert isinstance(method, JointSpace)
    return method


def parts(name: str, runs: dict[str, Any]) -> list[dict[str, Any]]:
    """The records of a run and of those it goes on from, the first one first."""
    run = runs[name]
    start = Path(tomllib.loads(run["config"])["backbone"]["name"])
    return [*(parts(start.parent.name, runs) if start.name == "backbone" else []), run]


def main() -> None:
    """Read and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    options = parser.parse_args()
    path = RESULTS / f"{NAME}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["runs"] if path.exists() else {}
    runs = {**before, **{run.name: kept(run) for run in options.runs}}
    write(NAME, {"protocol": __doc__, "gains": "95 %, paired bootstrap over captions", "runs": runs})


if __name__ == "__main__":
    main()
