"""The zero-shot methods over the embedded backbone on pictures that nobody drew by code; writes results/real_pictures.json.

python benchmarks/real_pictures.py [--sets myntra noto_emoji] [--myntra FOLDER] [--noto-emoji FOLDER] [--backbone wardrobe-clip]

FOLDER is what prepare_myntra.py and prepare_noto_emoji.py wrote. Slerp's alpha is chosen by R@10 on val, on train where a
set has no val (nothing was trained on it), and reported on test, beside the paper's. A set that is not asked for stays.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from rows import RESULTS, machine, write

from composir.backbones import load_backbone
from composir.backbones.base import Backbone
from composir.datasets import load_dataset
from composir.datasets.base import Dataset
from composir.evaluation import encode, evaluate, per_query, rank
from composir.methods import load_method
from composir.methods.slerp import DEFAULT_ALPHA

ALPHAS = [round(0.05 * i, 2) for i in range(1, 20)]
METRIC = "R@10"
BOUND = (
    "data",
    "split",
    "tasks",
    "backbone",
    "preprocessing",
    "gallery_key",
    "weights",
    "embeddings",
    "ties",
    "intervals",
    "versions",
)


def curve(data: Dataset, split: str, backbone: Backbone) -> dict[str, float]:
    """`METRIC` in per cent at every alpha."""
    slerp = load_method("slerp", backbone)
    task = data.tasks(split)[0]  # pyright: ignore[reportArgumentType]
    gallery = encode(slerp, data, task.gallery, "gallery")
    row = {image_id: i for i, image_id in enumerate(task.gallery)}
    references = gallery[[row[q.reference] for q in task.queries]]
    given: dict[str, Any] = {"gallery": gallery, "references": references}
    return {
        f"{alpha:g}": 100 * float(np.mean(per_query(rank(slerp, task, data, alpha=alpha, **given), task)[METRIC]))
        for alpha in ALPHAS
    }


def measured(root: Path, backbone: Backbone) -> dict[str, Any]:
    """Everything of one set."""
    data = load_dataset("jsonl", root=str(root))
    chosen_on = "val" if "val" in data.splits else "train"
    points = curve(data, chosen_on, backbone)
    alpha = float(max(points, key=lambda key: points[key]))
    methods: dict[str, Any] = {}
    content: dict[str, Any] = {}
    for own in (DEFAULT_ALPHA, alpha):  # one protocol but for alpha: the last stands for both
        content = evaluate(load_method("slerp", backbone), data, "test", alpha=own).content
        methods[f"slerp, alpha {own:g}"] = told(content)
    protocol = {key: content["protocol"][key] for key in BOUND}
    baselines = {name: told(block) for name, block in content["baselines"].items()}
    return {
        "protocol": {**protocol, "alpha": f"chosen on {chosen_on} by {METRIC}; {DEFAULT_ALPHA:g} is the paper's"},
        "gallery": content["tasks"][0]["gallery"],
        "queries": content["tasks"][0]["queries"],
        "alpha": alpha,
        "alpha_curve": points,
        "methods": {**baselines, **methods},
        "warnings": content["warnings"],
    }


def told(block: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Each metric of a block of result.json with its interval and over how many queries it is a mean."""
    [task] = block["tasks"]
    return {
        name: {
            "value": value,
            "low": task["intervals"][name][0],
            "high": task["intervals"][name][1],
            "queries": task["counts"][name],
        }
        for name, value in task["metrics"].items()
    }


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=("myntra", "noto_emoji"), default=["myntra", "noto_emoji"])
    parser.add_argument("--myntra", type=Path, default=Path("data/myntra"))
    parser.add_argument("--noto-emoji", type=Path, default=Path("data/noto_emoji"))
    parser.add_argument("--backbone", default="wardrobe-clip")
    options = parser.parse_args()
    backbone = load_backbone(options.backbone)
    path = RESULTS / "real_pictures.json"
    sets = json.loads(path.read_text(encoding="utf-8"))["sets"] if path.exists() else {}
    for name in options.sets:
        sets[name] = measured(getattr(options, name), backbone)
    write("real_pictures", {"machine": machine(), "sets": sets})


if __name__ == "__main__":
    main()
