"""Take the best weights of a pre-training run into the package and write their card.

python benchmarks/publish_backbone.py runs/pretrain-wardrobe-clip (or runs/pretrain-wardrobe-blip)
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = ROOT / "src" / "composir" / "backbones" / "embedded"
LIMIT = {"clip": 6_000_000, "blip": 8_000_000}  # bytes of weights

STOPPED = "**Its run was stopped early: these weights are far from what the recipe gives, and stand in until it has been run.**\n\n"

# What the cards of the families say differently.
WORDS = {
    "clip": {
        "what": "A small CLIP",
        "path": "the path that every CLIP takes; also by `transformers.CLIPModel.from_pretrained`",
        "loss": "symmetric contrastive, everything trainable, learnt scale",
        "tables": "",
    },
    "blip": {
        "what": "A small BLIP with its matching head",
        "path": "the path that every BLIP takes; also by `transformers.BlipForImageTextRetrieval.from_pretrained`",
        "loss": "symmetric contrastive plus matching on {share:.0%} of each batch, negatives drawn from it ({uniform:.0%} at random, the others by "
        "similarity); everything trainable, learnt scale; no captioning, no momentum copies",
        "tables": "The matching head, on test:\n\n<!-- figures blip-matching -->\n<!-- /figures -->\n\n",
    },
}

CARD = """---
license: mit
library_name: composir
tags: [composed-image-retrieval, {family}]
---
# {name}

{what} trained from scratch on drawn garments, so that composir can be tried, tested and taught without a download. Loaded as
`load_backbone("{name}")` by {path}.

| | |
|---|---|
| recipe | `composir train configs/pretrain-{name}.toml` |
| data | Wardrobe, style "photo", {train:,} drawings of {train:,} train designs at {image_size} px, four captions each; seed {data_seed} |
| loss | {loss} |
| architecture | image: {image_layers} layers of {image_width}, patches of {patch_size} px; text: {text_layers} layers of {text_width}; joint width {dim} |
| training | {steps:,} steps of {batch_size} ({planned}), AdamW, peak lr {lr:g}, warm-up and cosine, {precision}, seed {seed} |
| took | {minutes:.0f} minutes of wall clock on a CPU, drawing and validation included, other work running beside it |
| best weights | epoch {epoch}, by caption → image R@1 on val |
| weights | {parameters:,} parameters, float16, {size:,} bytes, sha256 `{sha}` |

## Scores

Caption → image on val after each epoch, R@1 of {val:,} (full captions): {curve}.

All figures on val and test:

<!-- figures {prefix}captions -->
<!-- /figures -->

{tables}Zero-shot composed retrieval on test, one right target among look-alikes:

<!-- figures {prefix}families -->
<!-- /figures -->

## Limits

{state}It has seen nothing but these drawings and their templated English: photographs, other garments, other words and other languages mean nothing to it. It never saw an
edit text ("is longer", "instead of"), so comparatives are noise to it. Its captions say "a orange", so it reads that better than "an orange". Its figures say nothing about real collections. On another processor the recipe gives other
last digits: kernels differ.
"""


def main() -> None:
    """Copy and write."""
    run = Path(sys.argv[1])
    config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    report = outcome(run, log)
    weights = (run / "backbone" / "model.safetensors").read_bytes()
    family = config["backbone"].get("family", "clip")
    if len(weights) > LIMIT[family]:
        sys.exit(f"the weights have {len(weights):,} bytes; at most {LIMIT[family]:,} are shipped")
    name = run.name.removeprefix("pretrain-")
    folder = EMBEDDED / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run / "backbone", folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    curve = ", ".join(f"{row['val']['caption R@1']:.1f}" for row in log if "val" in row)
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    shapes = [entry["shape"] for key, entry in header.items() if key != "__metadata__"]
    epochs = config["train"]["epochs"]
    facts = {
        **config["backbone"], **config["train"], **WORDS[family], "family": family, "name": name,
        "prefix": "" if family == "clip" else f"{family}-", "loss": WORDS[family]["loss"].format(**config["method"]), "train": config["data"]["train"],
        "val": config["data"]["val"], "data_seed": config["data"]["seed"], "steps": report["steps"],
        "minutes": report["seconds"] / 60, "epoch": report["best"]["epoch"],
        "parameters": sum(_product(shape) for shape in shapes), "size": len(weights),
        "sha": hashlib.sha256(weights).hexdigest(), "curve": curve, "seed": config["train"]["seed"],
        "state": STOPPED if report.get("stopped") else "",
        "planned": f"stopped early: {epochs} epochs were planned" if report.get("stopped") else f"{epochs} epochs",
    }  # fmt: skip
    (folder / "README.md").write_text(CARD.format(**facts), encoding="utf-8")
    more = "" if family == "clip" else f" --backbone {name} --out {name.replace('-', '_')}_quality"
    print(f"wrote {folder}; now run benchmarks/wardrobe_quality.py{more} and benchmarks/render.py")


def outcome(run: Path, log: list[dict[str, Any]]) -> dict[str, Any]:
    """The report of a finished run; of one that was stopped, what its log tells."""
    path = run / "report.json"
    if path.exists():
        return json.loads(path.read_text(encoding="utf-8"))
    best = max((row for row in log if "val" in row), key=lambda row: row["val"]["caption R@1"])
    steps = max(row.get("number", row.get("step")) for row in log)
    return {"best": best, "steps": steps, "seconds": log[-1]["seconds"], "stopped": True}


def _product(shape: list[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


if __name__ == "__main__":
    main()
