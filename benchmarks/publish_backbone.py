"""Take the best weights of a pre-training run into the package and write their card.

python benchmarks/publish_backbone.py runs/pretrain-wardrobe-clip
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = ROOT / "src" / "composir" / "backbones" / "embedded"
LIMIT = 6_000_000  # bytes of weights

CARD = """---
license: mit
library_name: composir
tags: [composed-image-retrieval, clip]
---
# {name}

A small CLIP trained from scratch on drawn garments, so that composir can be tried, tested and taught without a download. Loaded as
`load_backbone("{name}")` by the path that every CLIP takes; also by `transformers.CLIPModel.from_pretrained`.

| | |
|---|---|
| recipe | `composir train configs/pretrain-{name}.toml` |
| data | Wardrobe, style "photo", {train:,} drawings of {train:,} train designs at {image_size} px, four captions each; seed {data_seed} |
| loss | symmetric contrastive, everything trainable, learnt scale |
| architecture | image: {image_layers} layers of {image_width}, patches of {patch_size} px; text: {text_layers} layers of {text_width}; joint width {dim} |
| training | {steps:,} steps of {batch_size} ({epochs} epochs), AdamW, peak lr {lr:g}, warm-up and cosine, {precision}, seed {seed} |
| took | {minutes:.0f} minutes of wall clock on a CPU, drawing and validation included, other work running beside it |
| best weights | epoch {epoch}, by caption → image R@1 on val |
| weights | {parameters:,} parameters, float16, {size:,} bytes, sha256 `{sha}` |

## Scores

Caption → image on val after each epoch, R@1 of {val:,} (full captions): {curve}.

All figures on val and test:

<!-- figures captions -->
<!-- /figures -->

Zero-shot composed retrieval on test, one right target among look-alikes:

<!-- figures families -->
<!-- /figures -->

## Limits

It has seen nothing but these drawings and their templated English: photographs, other garments, other words and other languages mean nothing to it. It never saw an
edit text ("is longer", "instead of"), so comparatives are noise to it. Its captions say "a orange", so it reads that better than "an orange". Its figures say nothing about real collections. On another processor the recipe gives other
last digits: kernels differ.
"""


def main() -> None:
    """Copy and write."""
    run = Path(sys.argv[1])
    config = tomllib.loads((run / "config.toml").read_text(encoding="utf-8"))
    report = json.loads((run / "report.json").read_text(encoding="utf-8"))
    log = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    weights = (run / "backbone" / "model.safetensors").read_bytes()
    if len(weights) > LIMIT:
        sys.exit(f"the weights have {len(weights):,} bytes; at most {LIMIT:,} are shipped")
    name = run.name.removeprefix("pretrain-")
    folder = EMBEDDED / name
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run / "backbone", folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    curve = ", ".join(f"{row['val']['caption R@1']:.1f}" for row in log if "val" in row)
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    shapes = [entry["shape"] for key, entry in header.items() if key != "__metadata__"]
    facts = {
        **config["backbone"], **config["train"], "name": name, "train": config["data"]["train"],
        "val": config["data"]["val"], "data_seed": config["data"]["seed"], "steps": report["steps"],
        "minutes": report["seconds"] / 60, "epoch": report["best"]["epoch"],
        "parameters": sum(_product(shape) for shape in shapes), "size": len(weights),
        "sha": hashlib.sha256(weights).hexdigest(), "curve": curve, "seed": config["train"]["seed"],
    }  # fmt: skip
    (folder / "README.md").write_text(CARD.format(**facts), encoding="utf-8")
    print(f"wrote {folder}; now run benchmarks/wardrobe_quality.py and benchmarks/render.py")


def _product(shape: list[int]) -> int:
    count = 1
    for side in shape:
        count *= side
    return count


if __name__ == "__main__":
    main()
