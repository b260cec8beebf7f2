"""A run file in, a folder of results out: runs/<name>/{config.toml, log.jsonl, backbone/, report.json}."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from composir.backbones import load_backbone, names
from composir.backbones.base import Backbone
from composir.backbones.clip import ClipBackbone
from composir.config import RunConfig, dump
from composir.datasets import load_dataset
from composir.errors import ComposirError
from composir.methods import load_method
from composir.methods.joint import JointSpace
from composir.metrics import hit_rates
from composir.plugins import check_arguments, nearest
from composir.similarity import target_ranks
from composir.training.fit import accelerator_for, fit
from composir.training.pairs import PairBatches, decoded
from composir.types import Pair

SCRATCH = "scratch"
CUTOFFS = (1, 5, 10)
METRICS = tuple(f"caption R@{k}" for k in CUTOFFS)


def build_backbone(config: RunConfig, texts: Sequence[str]) -> Backbone:
    """The backbone a run starts from: `name = "scratch"` makes a fresh one, any other name is loaded."""
    name, arguments = config.backbone.name, config.backbone.arguments
    if name == SCRATCH:
        check_arguments(ClipBackbone.from_scratch, f"backbone {name!r}", arguments, ("corpus_texts", "seed"))
        return ClipBackbone.from_scratch(texts, seed=config.train.seed, **arguments)
    if name not in names() and "/" not in name and not Path(name).expanduser().is_dir():
        raise nearest(name, [SCRATCH, *names()], "backbone (nor a folder or 'org/repo')")
    check_arguments(load_backbone, f"backbone {name!r}", arguments, ("name",))
    return load_backbone(name, **arguments)


@torch.no_grad()
def caption_scores(
    method: JointSpace, pairs: Sequence[Pair], pixels: UInt8[Tensor, "N 3 S S"], caption: int = 0, batch_size: int = 256
) -> dict[str, float]:
    """Caption -> its image among all images of the pairs: R@1, R@5, R@10 in per cent.

    Args:
        method: Encodes both sides.
        pairs: N pairs.
        pixels: Their pictures.
        caption: Which caption of each pair asks; 0 is the full one in Wardrobe.
        batch_size: Of encoding.
    """
    method.eval()
    transform, device = method.transform("gallery"), next(method.parameters()).device
    parts = (transform.normalise(part.to(device)) for part in pixels.split(batch_size))
    gallery = torch.cat([method.encode_gallery(part) for part in parts])
    texts = [p.captions[caption] for p in pairs]
    query = torch.cat([method.encode_text(texts[i : i + batch_size]) for i in range(0, len(texts), batch_size)])
    ranks = target_ranks(query, gallery, torch.arange(len(pairs), device=device)).cpu().numpy()
    return {name: float(100 * hits.mean()) for name, hits in hit_rates(ranks, CUTOFFS).items()}


def run(config: RunConfig, folder: Path, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Train as the run file says.

    Args:
        config: The checked run file.
        folder: Made for the results; a folder that holds a finished run is refused.
        say: Hears one line for each validation.

    Returns:
        The content of report.json: scores of the best weights and where they lie.
    """
    if (folder / "report.json").exists():
        raise ComposirError(f"{folder} already holds a finished run; remove it or give another --out")
    if config.eval.metric not in METRICS:
        raise nearest(config.eval.metric, METRICS, "metric in [eval]")
    accelerator_for(config.train.precision)
    dataset = load_dataset(config.data.name, **config.data.arguments)
    train, val = dataset.pairs("train"), dataset.pairs("val")
    texts = [caption for pair in train for caption in pair.captions]
    torch.manual_seed(config.train.seed)
    method = load_method(config.method.name, build_backbone(config, texts), **config.method.arguments)
    if method.trains_on != "pairs" or not isinstance(method, JointSpace):
        raise ComposirError(
            f"method {method.name!r} trains on {method.trains_on!r}; `composir train` fits methods on pairs"
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.toml").write_text(dump(config), encoding="utf-8")
    start = time.perf_counter()
    transform, workers = method.transform("gallery"), config.train.workers
    val_pixels = decoded(dataset, [p.image for p in val], transform, workers)
    batches = PairBatches(train, decoded(dataset, [p.image for p in train], transform, workers), config.train)
    say(f"{len(train)} training pairs and {len(val)} validation pairs ready after {time.perf_counter() - start:.0f} s")
    if config.train.compile:
        # Best with attention = "eager": on CPUs the flash kernel's backward pass is slow and does not fuse.
        method.backbone.image.compile()
    best: dict[str, Any] = {}
    keys = ("lr", "weight_decay", "warmup", "betas", "clip", "precision")
    options = {key: getattr(config.train, key) for key in keys}
    total = batches.steps * config.train.epochs
    with (folder / "log.jsonl").open("w", encoding="utf-8") as log:
        for step in fit(method, batches, steps=total, **options):
            elapsed = round(time.perf_counter() - start, 1)
            if step.number % 50 == 0 or step.number == 1:
                log.write(json.dumps({**asdict(step), "seconds": elapsed}) + "\n")
                log.flush()
            epoch, inside = divmod(step.number, batches.steps)
            if inside or (epoch % config.eval.every and step.number != total):
                continue
            scores = {f"caption {k}": v for k, v in caption_scores(method, val, val_pixels).items()}
            row = {"epoch": epoch, "step": step.number, "loss": step.losses["loss"], "seconds": elapsed, "val": scores}
            log.write(json.dumps(row) + "\n")
            log.flush()
            shown = "  ".join(f"{name} {score:.2f}" for name, score in scores.items())
            say(f"epoch {epoch:3d}  loss {step.losses['loss']:.3f}  {shown}  {elapsed:.0f} s")
            if not best or scores[config.eval.metric] > best["val"][config.eval.metric]:
                best = row
                _save(method.backbone, folder / "backbone")
    report = {"run": folder.name, "best": best, "steps": total, "seconds": round(time.perf_counter() - start, 1)}
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return report


def _save(backbone: Backbone, folder: Path) -> None:
    """Write beside and rename, so that a kill never leaves half a backbone under the name that is read."""
    fresh = folder.with_name(folder.name + ".writing")
    shutil.rmtree(fresh, ignore_errors=True)
    backbone.save_pretrained(fresh, dtype=torch.float16)
    shutil.rmtree(folder, ignore_errors=True)
    fresh.rename(folder)
