"""Take the best weights of a pre-training run into the package and write their card.

python benchmarks/publish_backbone.py runs/settle-wardrobe-clip (or runs/pretrain-wardrobe-blip)

Needs the record that pretraining.py makes of the run; a run that goes on from another's backbone is told with it.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from pretraining import parts
from rows import RESULTS

EMBEDDED = RESULTS.parents[1] / "src" / "composir" / "backbones" / "embedded"
LIMIT = {"clip": 6_000_000, "blip": 8_000_000}  # bytes of weights

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
| recipe | {recipe} |
| data | Wardrobe, style "photo", {train:,} drawings of {train:,} train designs at {image_size} px, four captions each; seed {data_seed} |
| loss | {loss} |
| architecture | image: {image_layers} layers of {image_width}, patches of {patch_size} px; text: {text_layers} layers of {text_width}; joint width {dim} |
| training | {training} |
| took | {minutes:.0f} minutes of wall clock on a CPU, drawing and validation included, other work running beside it |
| best weights | epoch {epoch}{of}, by caption → image R@1 on val |
| weights | {parameters:,} parameters, float16, {size:,} bytes, sha256 `{sha}` |

## Scores

Caption → image on val after each epoch, R@1 of {val:,} (full captions): {curve}.{end}

All figures on val and test:

<!-- figures {prefix}captions -->
<!-- /figures -->

{tables}Zero-shot composed retrieval on test, one right target among look-alikes:

<!-- figures {prefix}families -->
<!-- /figures -->

## Limits

It has seen nothing but these drawings and their templated English: photographs, other garments, other words and other languages mean nothing to it. It never saw an
edit text ("is longer", "instead of"), so comparatives are noise to it. Its captions say "a orange", so it reads that better than "an orange". Its figures say nothing about real collections. On another processor the recipe gives other
last digits: kernels differ.
"""


def card(name: str, folder: Path) -> str:
    """The card of a run's weights, its tables empty.

    Args:
        name: Of the run, as results/pretraining.json has it.
        folder: Where its weights lie.
    """
    runs = json.loads((RESULTS / "pretraining.json").read_text(encoding="utf-8"))["runs"]
    if name not in runs:
        sys.exit(f"results/pretraining.json does not know {name}; run benchmarks/pretraining.py runs/{name} first")
    records = parts(name, runs)
    first, *later = (tomllib.loads(record["config"]) for record in records)
    if any(config["data"] != first["data"] for config in later):
        sys.exit(f"the parts of {name} had other data, so val and test may not be unseen; train them on the same")
    weights = (folder / "model.safetensors").read_bytes()
    family = first["backbone"].get("family", "clip")
    if len(weights) > LIMIT[family]:
        sys.exit(f"the weights have {len(weights):,} bytes; at most {LIMIT[family]:,} are shipped")
    header = json.loads(weights[8 : 8 + int.from_bytes(weights[:8], "little")])
    shapes = [entry["shape"] for key, entry in header.items() if key != "__metadata__"]
    facts = {
        **first["backbone"], **WORDS[family], "family": family, "name": embedded(name), "prefix": "" if family == "clip" else f"{family}-",
        "loss": WORDS[family]["loss"].format(**first["method"]), "train": first["data"]["train"], "val": first["data"]["val"],
        "data_seed": first["data"]["seed"], "recipe": ", then ".join(f"`composir train configs/{r['run']}.toml`" for r in records),
        "training": "; then ".join(map(told, records)), "minutes": sum(r["seconds"] for r in records) / 60,
        "epoch": records[-1]["best"]["epoch"], "of": f" of `configs/{name}.toml`" if len(records) > 1 else "",
        "parameters": sum(map(math.prod, shapes)), "size": len(weights), "sha": hashlib.sha256(weights).hexdigest(),
        "curve": "; ".join(", ".join(f"{row['val']['caption R@1']:.1f}" for row in r["validations"]) for r in records),
        "end": ended(records[-1]),
    }  # fmt: skip
    return CARD.format(**facts)


def embedded(name: str) -> str:
    """The backbone that a run makes: pretrain-wardrobe-clip -> wardrobe-clip."""
    return name.split("-", 1)[1]


def ended(record: dict[str, Any]) -> str:
    """What the last part gained, if it went on from another."""
    if (gain := record.get("gain")) is None:
        return ""
    points = f"{gain['value']:+.1f} points ({gain['low']:+.1f} to {gain['high']:+.1f}, 95 %, paired bootstrap)"
    return f" The last part gained {points} over the one before it."


def main() -> None:
    """Copy and write."""
    run = Path(sys.argv[1])
    text = card(run.name, run / "backbone")
    folder = EMBEDDED / embedded(run.name)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(run / "backbone", folder)
    for path in folder.iterdir():
        path.chmod(0o644)
    (folder / "README.md").write_text(text, encoding="utf-8")
    name = embedded(run.name)
    more = "" if name == "wardrobe-clip" else f" --backbone {name} --out {name.replace('-', '_')}_quality"
    print(f"wrote {folder}; now run benchmarks/wardrobe_quality.py{more} and benchmarks/render.py")


def told(record: dict[str, Any]) -> str:
    """How one part was trained."""
    train = tomllib.loads(record["config"])["train"]
    steps = f"{record['steps']:,} steps of {train['batch_size']} ({train['epochs']} epochs)"
    return f"{steps}, AdamW, peak lr {train['lr']:g}, warm-up and cosine, {train['precision']}, seed {train['seed']}"


if __name__ == "__main__":
    main()
