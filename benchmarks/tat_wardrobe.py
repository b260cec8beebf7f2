"""Text-anchored tuning under a shift: whether it lifts Slerp, which anchor is best, how the modality gap moves.

python benchmarks/tat_wardrobe.py [--settings style captions myntra] [--myntra FOLDER] [--work runs/tat]

A backbone is taken or pre-trained on one kind of pairs, tuned by LoRA on pairs of another kind, and tested there:
  style     wardrobe-clip, pre-trained on drawings in style "photo"; tuned and tested on style "synthetic"
  captions  a small CLIP pre-trained on captions that leave out most and are wrong for every fifth drawing; tuned on
            full captions of other drawings
  myntra    a small CLIP pre-trained on photographs with the shop's own names; tuned on clean captions of the same
            photographs (FOLDER is what prepare_myntra.py wrote)
Three anchors, three seeds; the learning rate of each anchor (on seed 0) and each alpha are chosen on val, by R@10.
Writes results/tat.json; a setting that is not asked for stays as it is there. Each part is kept in --work and not made again, so that a run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rows import RESULTS, machine, write
from torch import Tensor

from composir.backbones import load_backbone
from composir.backbones.clip import ClipBackbone
from composir.datasets import load_dataset
from composir.datasets.base import Dataset
from composir.evaluation import per_query
from composir.evaluation.modality_gap import encode_texts, modality_gap
from composir.evaluation.runs import ranked
from composir.evaluation.scoring import score
from composir.loading import pixel_batches
from composir.methods import load_method
from composir.methods.joint import JointSpace
from composir.methods.lora import trainable_share
from composir.methods.slerp import slerp
from composir.metrics import paired_test
from composir.training import fit
from composir.types import Pair

ALPHAS = [round(0.05 * i, 2) for i in range(1, 20)]
PAPER_ALPHA = 0.8
ANCHORS = ("text", "none", "image")
LRS = (3e-4, 1e-3)
SEEDS = (0, 1, 2)
METRIC = "R@10"
REPORTED = ("R@1", "R@10", "R@50")
BATCH, EPOCHS, WEIGHT_DECAY, WARMUP = 128, 1, 0.01, 0.03
SMALL = {
    "image_size": 64, "patch_size": 8, "image_width": 128, "image_layers": 4, "image_heads": 2, "text_width": 96,
    "text_layers": 3, "text_heads": 3, "dim": 128, "context": 64, "activation": "quick_gelu", "attention": "eager",
}  # fmt: skip
MADE = "a photo of "  # how captions begin that are made of attributes; the one other caption is the shop's name
WRONG = 0.2  # share of drawings that bear another one's captions in "captions"


@dataclass(frozen=True)
class Setting:
    """A shift: where the backbone comes from, on which pairs it is tuned, where it is asked.

    Attributes:
        told: In words, for the record.
        tune: The set whose train split it is tuned on.
        test: The set whose val and test splits it is asked on.
        captions: Of a pair, those to tune on.
        backbone: Made by name, or None for `before`.
        before: Pairs to pre-train a small CLIP on, their set, epochs, and the size of its vocabulary.
    """

    told: str
    tune: Dataset
    test: Dataset
    captions: Callable[[Pair], tuple[str, ...]]
    backbone: str | None = None
    before: tuple[Dataset, list[Pair], int, int] | None = None


def style() -> Setting:
    """Pre-trained on drawings of one style, tuned and asked on those of the other."""
    data = load_dataset("wardrobe", train=9_600, val=1_500, test=3_000, style="synthetic")
    return Setting("style photo -> synthetic", data, data, lambda pair: pair.captions, backbone="wardrobe-clip")


def noisy(pairs: Sequence[Pair]) -> list[Pair]:
    """Captions that leave out most; some pictures bear those of another."""
    rng = np.random.default_rng(0)
    wrong, others = rng.random(len(pairs)) < WRONG, rng.integers(0, len(pairs), len(pairs))
    sources = [pairs[other] if bad else pair for pair, bad, other in zip(pairs, wrong, others, strict=True)]
    return [Pair(p.id, p.image, s.captions[2:]) for p, s in zip(pairs, sources, strict=True)]


def captions() -> Setting:
    """Pre-trained on captions that tell little and are partly wrong, tuned and asked on full ones."""
    first = load_dataset("wardrobe", train=24_000, val=1_500, test=3_000)
    second = load_dataset("wardrobe", train=9_600, seed=1)
    before = (first, noisy(first.pairs("train")), 8, 640)
    return Setting("noisy partial -> full captions", second, first, lambda pair: pair.captions[:1], before=before)


def myntra(folder: Path) -> Setting:
    """Photographs, pre-trained on the shop's own names, tuned and asked on captions made of attributes."""
    data = load_dataset("jsonl", root=str(folder))
    named = [
        Pair(p.id, p.image, (next((c for c in p.captions if not c.startswith(MADE)), p.captions[0]),))
        for p in data.pairs("train")
    ]
    return Setting(
        "shop's names -> clean captions", data, data, lambda pair: pair.captions[:1], before=(data, named, 12, 2048)
    )


def pixels_of(place: Path, data: Dataset, ids: Sequence[str], backbone: ClipBackbone) -> Tensor:
    """Pictures as bytes, drawn or decoded once."""
    path = place.with_suffix(".npy")
    if not path.exists():
        parts = [b.pixels.numpy() for b in pixel_batches(data.image, list(ids), backbone.transform(), 256, workers=1)]
        kept(path, lambda fresh: np.save(fresh, np.concatenate(parts), allow_pickle=False))
    return torch.from_numpy(np.load(path, allow_pickle=False))


def kept(path: Path, make: Callable[[Path], object]) -> None:
    """Write beside and rename, so that what is there is whole."""
    fresh = path.with_name("writing-" + path.name)
    make(fresh)
    fresh.rename(path)


def batches(
    ids: Sequence[str],
    texts: Sequence[tuple[str, ...]],
    pixels: Tensor,
    *,
    size: int,
    epochs: int,
    seed: int,
    shift: int = 0,
) -> Iterator[dict[str, Any]]:
    """Shuffled epochs, a caption of each pair drawn anew; `shift` moves pictures by up to so many pixels."""
    rng = np.random.default_rng(seed)
    for _ in range(epochs):
        order = rng.permutation(len(ids))
        for rows in order[: len(ids) // size * size].reshape(-1, size):
            chosen = pixels[torch.from_numpy(rows)]
            if shift:
                chosen = chosen.roll(tuple(rng.integers(-shift, shift + 1, 2).tolist()), dims=(2, 3))
            told = [texts[row][rng.integers(len(texts[row]))] for row in rows]
            yield {"ids": [ids[row] for row in rows], "texts": told, "rows": torch.from_numpy(rows), "pixels": chosen}


def pretrained(setting: Setting, folder: Path) -> ClipBackbone:
    """The backbone before tuning."""
    if setting.before is None:
        backbone = load_backbone(str(setting.backbone))
    else:
        data, pairs, epochs, words = setting.before
        if not (folder / "backbone").is_dir():
            texts = [pair.captions for pair in pairs]
            made = ClipBackbone.from_scratch([t for own in texts for t in own], vocab_size=words, **SMALL)  # type: ignore[arg-type]
            method = load_method("contrastive", made)
            pixels = pixels_of(folder / "before", data, [p.image for p in pairs], made)
            torch.manual_seed(0)
            steps = epochs * (len(pairs) // 256)
            parts = batches([p.id for p in pairs], texts, pixels, size=256, epochs=epochs, seed=0, shift=3)
            for step in fit(method, parts, steps=steps, lr=1e-3, weight_decay=0.1, warmup=100, precision="bf16"):
                if step.number % 50 == 0:
                    print(
                        f"{folder.name}: pre-training {step.number}/{steps}, loss {step.losses['loss']:.3f}", flush=True
                    )
            kept(folder / "backbone", made.save_pretrained)
        backbone = load_backbone(str(folder / "backbone"))
    assert isinstance(backbone, ClipBackbone)
    # The fast kernel's backward pass is slow on CPUs.
    backbone.image.vision_model.set_attn_implementation("eager")
    return backbone


@torch.inference_mode()
def embedded(method: JointSpace, pixels: Tensor) -> Tensor:
    """Gallery vectors, (N, 1, D)."""
    method.eval()
    normalise = method.transform("gallery").normalise
    return torch.cat([method.encode_gallery(normalise(part)) for part in pixels.split(256)])


def gallery_of(setting: Setting, folder: Path, method: JointSpace, split: str) -> Tensor:
    """Vectors of a split's gallery; those of the image tower as it was are kept, for anchor "image" has the same."""
    task, backbone = setting.test.tasks(split)[0], method.backbone  # type: ignore[arg-type]
    path = folder / f"gallery-{split}-{method.gallery_key()}.npy"
    if not path.exists():
        made = embedded(method, pixels_of(folder / split, setting.test, task.gallery, backbone))  # type: ignore[arg-type]
        if method.name != "slerp":
            return made
        kept(path, lambda fresh: np.save(fresh, made.numpy(), allow_pickle=False))
    return torch.from_numpy(np.load(path, allow_pickle=False))


def measured(setting: Setting, folder: Path, method: JointSpace) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Slerp's scores on test at the alpha that is best on val, those at the paper's, and the gap; values by query."""
    curves, found, values = {}, {}, {}
    for split in ("val", "test"):
        task = setting.test.tasks(split)[0]  # type: ignore[arg-type]
        gallery = gallery_of(setting, folder, method, split)
        row = {image_id: i for i, image_id in enumerate(task.gallery)}
        references = gallery[[row[q.reference] for q in task.queries]]
        words = encode_texts(method, [task.wording.texts(q)[0] for q in task.queries])[:, None]
        by_alpha = {}
        for alpha in ALPHAS:
            query = slerp(references, words, torch.full(words.shape[:2], alpha))
            by_alpha[alpha] = per_query(ranked(query, gallery.half(), task), task)
        curves[split] = {alpha: 100 * float(np.mean(own[METRIC])) for alpha, own in by_alpha.items()}
        if split == "test":
            best = max(ALPHAS, key=lambda alpha: curves["val"][alpha])
            found |= {"alpha": best, **{m: asdict(score(by_alpha[best][m])) for m in REPORTED}}
            found[f"{METRIC} at {PAPER_ALPHA}"] = asdict(score(by_alpha[PAPER_ALPHA][METRIC]))
            values = {m: by_alpha[best][m] for m in REPORTED} | {"paper": by_alpha[PAPER_ALPHA][METRIC]}
            pairs = setting.test.pairs("test")
            image = gallery[[row[p.image] for p in pairs], 0]
            found["gap"] = asdict(modality_gap(image, encode_texts(method, [setting.captions(p)[0] for p in pairs])))
    found["val"] = max(curves["val"].values())
    found["curves"] = {split: list(curve.values()) for split, curve in curves.items()}
    return found, values


def tuned(setting: Setting, folder: Path, anchor: str, lr: float, seed: int) -> JointSpace:
    """The method after its epochs of LoRA; what stands still is computed once."""
    torch.manual_seed(seed)
    method = load_method("tat", pretrained(setting, folder), anchor=anchor)
    assert isinstance(method, JointSpace)
    pairs = setting.tune.pairs("train")
    texts = [setting.captions(pair) for pair in pairs]
    pixels = pixels_of(folder / "tune", setting.tune, [p.image for p in pairs], method.backbone)  # type: ignore[arg-type]
    distinct = {text: i for i, text in enumerate(dict.fromkeys(t for own in texts for t in own))}
    text = encode_texts(method, list(distinct)) if method.frozen("text") else None
    image = embedded(method, pixels)[:, 0] if method.frozen("image") else None

    def ready() -> Iterator[dict[str, Any]]:
        for batch in batches([p.id for p in pairs], texts, pixels, size=BATCH, epochs=EPOCHS, seed=seed):
            if text is not None:
                batch["text"] = text[[distinct[t] for t in batch["texts"]]].clone()
            if image is not None:
                batch["image"] = image[batch["rows"]].clone()
            yield batch

    steps = EPOCHS * (len(pairs) // BATCH)
    warmup = max(1, round(WARMUP * steps))
    for step in fit(method, ready(), steps=steps, lr=lr, weight_decay=WEIGHT_DECAY, warmup=warmup, precision="bf16"):
        if step.number % 25 == 0:
            print(
                f"{folder.name}: {anchor} {lr:g} {seed}: {step.number}/{steps}, loss {step.losses['loss']:.3f}",
                flush=True,
            )
    return method


def part(setting: Setting, folder: Path, anchor: str, lr: float = 0.0, seed: int = 0) -> dict[str, Any]:
    """One run and what it reaches, from --work if it is there."""
    name = f"{anchor}-{lr:g}-{seed}" if anchor in ANCHORS else anchor
    path = folder / f"{name}.json"
    if not path.exists():
        start = time.perf_counter()
        if anchor in ANCHORS:
            method = tuned(setting, folder, anchor, lr, seed)
        else:
            method = load_method("slerp", pretrained(setting, folder))
        assert isinstance(method, JointSpace)
        share = trainable_share(method) if anchor in ANCHORS else 0.0
        found, values = measured(setting, folder, method)
        found |= {"lr": lr, "seed": seed, "share": share, "seconds": round(time.perf_counter() - start, 1)}
        found["gallery_key"] = method.gallery_key()
        np.savez(folder / f"{name}.npz", **values)
        kept(path, lambda fresh: fresh.write_text(json.dumps(found)))
        print(
            f"{folder.name}: {name}: val {found['val']:.2f}, test {found[METRIC]['value']:.2f}, {found['gap']}",
            flush=True,
        )
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        return json.loads(path.read_text()) | {"values": dict(file)}


def summary(runs: Sequence[dict[str, Any]], before: dict[str, Any]) -> dict[str, Any]:
    """Mean over seeds, its interval over queries, each seed, and the difference to `before` on the same queries."""
    rows: dict[str, Any] = {"lr": runs[0]["lr"], "share": runs[0]["share"], "alpha": [run["alpha"] for run in runs]}
    for metric in (*REPORTED, "paper"):
        mean, base = np.mean([run["values"][metric] for run in runs], axis=0), before["values"][metric]
        name = f"{METRIC} at {PAPER_ALPHA}" if metric == "paper" else metric
        each = [100 * float(run["values"][metric].mean()) for run in runs]
        rows[name] = {**asdict(score(mean)), "seeds": each, "lift": points(mean, base)}
    rows["gap"] = {key: [run["gap"][key] for run in runs] for key in runs[0]["gap"]}
    rows["curves"] = {s: np.mean([run["curves"][s] for run in runs], axis=0).tolist() for s in ("val", "test")}
    return rows


def points(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """The paired difference in points of per cent."""
    test = paired_test(a, b)
    return {"value": 100 * test.difference, "low": 100 * test.low, "high": 100 * test.high, "p": test.p_randomization}


def experiment(setting: Setting, folder: Path) -> dict[str, Any]:
    """All parts of one setting."""
    folder.mkdir(parents=True, exist_ok=True)
    before = part(setting, folder, "before")
    result = {
        "told": setting.told,
        "before": {k: v for k, v in before.items() if k != "values"},
        "anchors": {},
        "lrs": {},
    }
    task = setting.test.tasks("test")[0]
    pairs = len(setting.tune.pairs("train"))
    result |= {"task": task.name, "gallery": len(task.gallery), "queries": len(task.queries), "pairs": pairs}
    means = {}
    for anchor in ANCHORS:
        tried = {lr: part(setting, folder, anchor, lr) for lr in LRS}
        lr = max(LRS, key=lambda lr: tried[lr]["val"])
        result["lrs"][anchor] = {f"{lr:g}": own["val"] for lr, own in tried.items()}
        runs = [part(setting, folder, anchor, lr, seed) for seed in SEEDS]
        result["anchors"][anchor] = summary(runs, before)
        means[anchor] = np.mean([run["values"][METRIC] for run in runs], axis=0)
    result["text less none"] = points(means["text"], means["none"])
    result["text less image"] = points(means["text"], means["image"])
    return result


def main() -> None:
    """Measure what is not there yet, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="+", default=["style", "captions", "myntra"])
    parser.add_argument("--myntra", type=Path, help="what prepare_myntra.py wrote; without it that setting is left out")
    parser.add_argument("--work", type=Path, default=Path("runs/tat"))
    parser.add_argument("--out", default="tat")
    options = parser.parse_args()
    makers: dict[str, Callable[[], Setting]] = {"style": style, "captions": captions}
    if options.myntra:
        makers["myntra"] = lambda: myntra(options.myntra)
    path = RESULTS / f"{options.out}.json"
    left_out = [name for name in options.settings if name not in makers]
    print(f"left out: {', '.join(left_out)}" if left_out else "all settings", flush=True)
    result: dict[str, Any] = {
        "protocol": {
            "tuning": f"{EPOCHS} epoch, batch {BATCH}, AdamW, cosine, weight decay {WEIGHT_DECAY}, bf16; LoRA r 16 on "
            "query and value, alpha 16, dropout 0.1; temperature 0.07",
            "lr": f"of {', '.join(f'{lr:g}' for lr in LRS)}, by val {METRIC} of seed 0, for each anchor",
            "alpha": f"0.05 to 0.95, by val {METRIC}, for each run",
            "intervals": "95 %, percentile bootstrap over queries of the mean over 3 seeds of tuning; one backbone",
            "gap": "on the pairs of test with the first caption; separability by 5-fold logistic regression",
            "alphas": ALPHAS,
        },
        "settings": json.loads(path.read_text(encoding="utf-8"))["settings"] if path.exists() else {},
    }
    for name in options.settings:
        if name in makers:
            result["settings"][name] = {**experiment(makers[name](), options.work / name), "machine": machine()}
            write(options.out, result)


if __name__ == "__main__":
    main()
