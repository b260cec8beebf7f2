"""Bi-BLIP4CIR against its baseline and its ablations, on drawings and on photographs; writes results/bi_blip4cir.json.

python benchmarks/bi_blip4cir_quality.py [--sets wardrobe myntra] [--myntra FOLDER] [--seeds 0 1 2] [--jobs 2]

Each variant is two runs of `composir train` from configs/bi-blip4cir-<set>-stage{1,2}.toml with a few keys changed,
each seed anew; the best weights of val answer test. Backbones are trained on the set's own captions: wardrobe-blip is
embedded, that of myntra comes from configs/pretrain-myntra-blip.toml and is made first where it is not there. FOLDER is
what prepare_myntra.py wrote. Every part is kept in --work and not made again, so that a run that was cut off goes on; the
parts are independent and run side by side in --jobs processes of one thread each. --set KEY=VALUE changes a key of every
run, --only keeps some variants; such results are written under another --out.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rows import machine, write

from composir.config import RunConfig, load_config
from composir.evaluation.scoring import score
from composir.metrics import paired_test

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
METRICS = ("R@1", "R@5", "R@10", "R@50", "Rs@1")
AVERAGE = "(R@5 + Rs@1) / 2"  # the paper's summary on CIRR, whose protocol both sets have
ALPHAS = [round(0.05 * i, 2) for i in range(1, 20)]
UNIMODAL = ("image-only", "text-only", "sum", "slerp")
# variant -> what it changes of the run files; in both stages.
VARIANTS: Mapping[str, tuple[str, ...]] = {
    "baseline": ("method.bidirectional=false",),
    "bi": (),
    "bi-references": ("method.reverse_negatives=references",),
    "bi-backward-token": ("method.direction_sides=backward_only",),
    "bi-no-token": ("method.direction_sides=none",),
}
# What the paper finds: the first is better than the second, each (variant, stage).
CLAIMS = (
    ("the Combiner improves on the sum, baseline", ("baseline", 2), ("baseline", 1)),
    ("the Combiner improves on the sum, +Bi", ("bi", 2), ("bi", 1)),
    ("+Bi improves on the baseline, stage 1", ("bi", 1), ("baseline", 1)),
    ("+Bi improves on the baseline, stage 2", ("bi", 2), ("baseline", 2)),
    ("negatives among targets are better than among references", ("bi", 2), ("bi-references", 2)),
    ("tokens in both directions are better than backwards only", ("bi", 2), ("bi-backward-token", 2)),
    ("any token is better than none (not in the paper)", ("bi", 2), ("bi-no-token", 2)),
)
Values = dict[str, NDArray[np.float64]]  # metric -> one value in 0..1 for each query


@dataclass(frozen=True)
class Plan:
    """What the command line asks for.

    Attributes:
        work: Where parts are kept.
        changes: Of every run: those of the command line, by set.
        backbone: By set.
    """

    work: Path
    changes: Mapping[str, tuple[str, ...]]
    backbone: Mapping[str, str]

    def folder(self, name: str, variant: str, stage: int, seed: int) -> Path:
        """Of a run."""
        return self.work / name / f"seed-{seed}" / f"{variant}-stage{stage}"

    def config(self, name: str, variant: str = "bi", stage: int = 1, seed: int = 0) -> RunConfig:
        """Of a run."""
        first = (f"init={json.dumps(str(self.folder(name, variant, 1, seed)))}",) if stage == 2 else ()
        changes = (f"backbone.name={json.dumps(self.backbone[name])}", f"train.seed={seed}", *VARIANTS[variant])
        path = CONFIGS / f"bi-blip4cir-{name}-stage{stage}.toml"
        return load_config(path, [*changes, *first, *self.changes[name]])


def chain(plan: Plan, name: str, variant: str, seed: int) -> None:
    """Both stages of one variant, each with its answers on test."""
    from composir import checkpoint
    from composir.training import run

    for stage in (1, 2):
        folder = plan.folder(name, variant, stage, seed)
        if (folder / "values.npz").exists():
            continue
        config = plan.config(name, variant, stage, seed)
        if not (folder / "report.json").exists():
            run(config, folder, say=lambda told, at=folder: print(f"{at}: {told}", flush=True), resume=True)
        keep(folder / "values.npz", answers(checkpoint.load(folder / checkpoint.BEST), config))


def answers(method: Any, config: RunConfig) -> Values:
    """Every metric of every query on test."""
    from composir.datasets import load_dataset
    from composir.evaluation import encode, per_query, rank

    data = load_dataset(config.data.name, **config.data.arguments)
    task = data.tasks("test")[0]
    # In this process: others may be at work beside it.
    gallery = encode(method, data, task.gallery, "gallery", workers=0)
    references = encode(method, data, [q.reference for q in task.queries], "reference", workers=0)
    return per_query(rank(method, task, data, gallery=gallery, references=references), task)


def unimodal(plan: Plan, name: str) -> dict[str, Any]:
    """image-only, text-only, sum and Slerp over the same backbone; Slerp's alpha is the best of val by R@10."""
    from composir.backbones import load_backbone
    from composir.datasets import load_dataset
    from composir.evaluation import encode, per_query, rank
    from composir.methods import load_method

    path = plan.work / name / "unimodal.npz"
    config = plan.config(name)
    if not path.exists():
        backbone = load_backbone(config.backbone.name)
        data = load_dataset(config.data.name, **config.data.arguments)
        found: dict[str, Any] = {}
        best = 0.0
        for split in ("val", "test"):
            task = data.tasks(split)[0]  # pyright: ignore[reportArgumentType]
            slerp = load_method("slerp", backbone)
            gallery = encode(slerp, data, task.gallery, "gallery", workers=0)
            row = {image_id: i for i, image_id in enumerate(task.gallery)}
            references = gallery[[row[q.reference] for q in task.queries]]
            given: dict[str, Any] = {"gallery": gallery, "references": references}
            if split == "val":
                curve = {a: per_query(rank(slerp, task, data, alpha=a, **given), task)["R@10"].mean() for a in ALPHAS}
                best = max(curve, key=lambda a: curve[a])
                continue
            for method in UNIMODAL:
                own = {**given, "alpha": best} if method == "slerp" else given
                values = per_query(rank(load_method(method, backbone), task, data, **own), task)
                found |= {f"{method} {metric}": values[metric] for metric in METRICS}
        keep(path, found | {"alpha": np.array(best)})
    with np.load(path, allow_pickle=False) as file:
        rows = {method: {m: file[f"{method} {m}"] for m in METRICS} for method in UNIMODAL}
        alpha = float(file["alpha"])
    return {"alpha": alpha, "methods": {method: told([values]) for method, values in rows.items()}}


def keep(path: Path, values: Mapping[str, NDArray[Any]]) -> None:
    """Write beside and rename, so that what is there is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f"writing-{path.name}")
    np.savez(fresh, **values)  # pyright: ignore[reportArgumentType]
    fresh.rename(path)


def with_average(values: Values) -> Values:
    """And the paper's summary, query by query."""
    return {**{m: values[m] for m in METRICS}, AVERAGE: (values["R@5"] + values["Rs@1"]) / 2}


def mean_of(seeds: Sequence[Values]) -> Values:
    """Of each query, the mean over the seeds."""
    return {m: np.mean([values[m] for values in seeds], axis=0) for m in seeds[0]}


def told(seeds: Sequence[Values]) -> dict[str, Any]:
    """Per cent: mean over queries and seeds, its interval over queries, and each seed's."""
    seeds = [with_average(values) for values in seeds]
    return {
        metric: {**asdict(score(own)), "seeds": [100 * float(values[metric].mean()) for values in seeds]}
        for metric, own in mean_of(seeds).items()
    }


def differences(found: Mapping[tuple[str, int], Sequence[Values]]) -> list[dict[str, Any]]:
    """The paper's orderings, tested query by query on the means of the seeds."""
    rows = []
    for claim, better, worse in CLAIMS:
        if better not in found or worse not in found:
            continue
        one, other = (mean_of([with_average(v) for v in found[key]]) for key in (better, worse))
        by_metric = {}
        for metric in (AVERAGE, *METRICS):
            test = paired_test(100 * one[metric], 100 * other[metric])
            by_metric[metric] = {
                "difference": test.difference,
                "low": test.low,
                "high": test.high,
                "p": test.p_randomization,
            }
        rows.append({"claim": claim, "metrics": by_metric})
    return rows


def ready(plan: Plan, name: str) -> None:
    """Make the backbone that is not there."""
    if name != "myntra" or Path(plan.backbone[name]).is_dir():
        return
    from composir.training import run

    config = load_config(
        CONFIGS / "pretrain-myntra-blip.toml", [c for c in plan.changes[name] if c.startswith("data.")]
    )
    run(config, Path(plan.backbone[name]).parent, resume=True)


def result_of(plan: Plan, name: str, variants: Sequence[str], seeds: Sequence[int]) -> dict[str, Any]:
    """Everything of one set, out of its parts."""
    from composir.datasets import load_dataset

    config = plan.config(name)
    data = load_dataset(config.data.name, **config.data.arguments)
    task = data.tasks("test")[0]
    found: dict[tuple[str, int], list[Values]] = {}
    minutes = {}
    for variant in variants:
        for stage in (1, 2):
            folders = [plan.folder(name, variant, stage, seed) for seed in seeds]
            loaded = []
            for folder in folders:
                with np.load(folder / "values.npz", allow_pickle=False) as file:
                    loaded.append({key: file[key] for key in METRICS})
            found[variant, stage] = loaded
            took = [json.loads((f / "report.json").read_text(encoding="utf-8"))["seconds"] for f in folders]
            minutes[f"{variant} stage {stage}"] = round(float(np.mean(took)) / 60, 1)
    keys = ("epochs", "batch_size", "lr", "optimizer", "schedule", "weight_decay", "warmup", "captions")
    recipes = [plan.config(name, stage=stage) for stage in (1, 2)]
    return {
        "train": len(data.triplets("train")),
        "gallery": len(task.gallery),
        "queries": len(task.queries),
        "backbone": "/".join(Path(config.backbone.name).parts[-3:]),
        "seeds": list(seeds),
        "recipe": [{**c.method.arguments, **{k: getattr(c.train, k) for k in keys}} for c in recipes],
        "minutes": minutes,
        "unimodal": unimodal(plan, name),
        "variants": {f"{variant} stage {stage}": told(own) for (variant, stage), own in found.items()},
        "orderings": differences(found),
    }


def main() -> None:
    """Train what is not there, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=("wardrobe", "myntra"), default=["wardrobe", "myntra"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, default=Path("runs/bi-blip4cir"))
    parser.add_argument("--wardrobe-backbone", default="wardrobe-blip")
    parser.add_argument("--myntra", type=Path, default=Path("data/myntra"))
    parser.add_argument("--myntra-backbone", default="runs/pretrain-myntra-blip/backbone")
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", default="bi_blip4cir")
    parser.add_argument("--chain", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    changes = tuple(options.set)
    plan = Plan(
        options.work,
        {"wardrobe": changes, "myntra": (f"data.root={json.dumps(str(options.myntra))}", *changes)},
        {"wardrobe": options.wardrobe_backbone, "myntra": options.myntra_backbone},
    )
    if options.chain:
        name, variant, seed = options.chain
        chain(plan, name, variant, int(seed))
        return
    for name in options.sets:
        ready(plan, name)
    again = [sys.executable, __file__, *sys.argv[1:], "--chain"]
    parts = [(name, v, str(seed)) for name in options.sets for seed in options.seeds for v in options.only]
    environment = {**os.environ, "OMP_NUM_THREADS": "1" if options.jobs > 1 else str(len(os.sched_getaffinity(0)))}
    with ThreadPoolExecutor(options.jobs) as pool:
        for _ in pool.map(lambda part: subprocess.run([*again, *part], check=True, env=environment), parts):
            pass
    sets = {name: result_of(plan, name, options.only, options.seeds) for name in options.sets}
    path = Path(__file__).parent / "results" / f"{options.out}.json"
    if path.exists():  # a set that was not asked for stays
        sets = {**json.loads(path.read_text(encoding="utf-8"))["sets"], **sets}
    protocol = {
        "what": __doc__,
        "weights": "best of val by the run file's metric, one validation an epoch",
        "intervals": "95 %, percentile bootstrap over queries of the means of the seeds, 2,000 draws",
        "orderings": "paired randomization test over queries of the means of the seeds, 10,000 draws; p not corrected",
    }
    write(options.out, {"machine": machine(), "protocol": protocol, "sets": sets})


if __name__ == "__main__":
    main()
