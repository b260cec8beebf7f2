"""Put the figures of benchmarks/results into the pages, between their markers.

python benchmarks/render.py [--check]

A page has `<!-- figures NAME -->` ... `<!-- /figures -->`; what stands between is replaced by the table NAME. --check
changes nothing; it fails where a page is stale, or a table has no result file.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bi_blip4cir_tables
import tat_tables

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    "README.md",
    "docs/data.md",
    "docs/wardrobe.md",
    "docs/methods/slerp.md",
    "docs/methods/tat.md",
    "docs/methods/bi-blip4cir.md",
    "docs/backbones.md",
    "docs/speed.md",
    "docs/server.md",
    "src/composir/backbones/embedded/wardrobe-clip/README.md",
    "src/composir/backbones/embedded/wardrobe-blip/README.md",
)
UNMEASURED = "(not measured yet)\n"
MARK = re.compile(r"(<!-- figures ([\w-]+) -->\n)(.*?)(<!-- /figures -->)", re.DOTALL)


def load(name: str) -> dict[str, Any]:
    """One result file."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def score(cell: dict[str, float]) -> str:
    """ "71.9 (69.6-74.1)"."""
    return f"{cell['value']:.1f} ({cell['low']:.1f}–{cell['high']:.1f})"


def task_table(key: str, wanted: list[str], result: str = "wardrobe_quality") -> str:
    """The four methods on one task."""
    quality = load(result)
    task = quality["tasks"][key]
    alpha = quality["protocol"]["alpha_chosen"]
    rows = []
    for name, scores in task["methods"].items():
        label = f"slerp, alpha {alpha:g}" if name == "slerp" else name
        rows.append([label, *(score(scores[m]) for m in wanted)])
    note = f"\nGallery {task['gallery']:,}, {task['queries']:,} queries, reference dropped; per cent, 95 % interval over queries.\n"
    return table(["method", *wanted], rows) + note


def families() -> str:
    """Wardrobe test, one right target."""
    return task_table("test families", ["R@1", "R@10", "R@50", "Rs@1"])


def concepts() -> str:
    """Wardrobe test, several right targets."""
    return task_table("test concepts", ["mAP@5", "mAP@10", "mAP@50"])


def trial() -> str:
    """The trial on the prototype, its recipe on these drawings, and the embedded backbone; on test."""
    results = [load("wardrobe_trial_quality"), load("wardrobe_quality")]
    prototype = dict(results[1]["trial_on_the_prototype"])
    before = prototype.pop("caption to image, partial captions")
    rows = []
    told = "each attribute told with probability"  # the prototype's captions told each with a probability of its own
    for form in (f"{told} 0.5 to 0.9", f"{told} 0.7", f"{told} 0.5", "full"):
        own = [quality["caption_to_image"]["test"].get(form) for quality in results]
        scores = [before if form.endswith("0.9") else None, *own]
        cells = (" / ".join(f"{row[k]:.1f}" for k in before) if row else "–" for row in scores)
        rows.append([f"caption to image, {form}", " / ".join(before), *cells])
    for name, before in prototype.items():
        methods = [quality["tasks"]["test families"]["methods"][name] for quality in results]
        shown = [before, *({k: v["value"] for k, v in own.items()} for own in methods)]
        rows.append([name, " / ".join(before), *(" / ".join(f"{row[k]:.1f}" for k in before) for row in shown)])
    return table(["what", "", "trial on the prototype", "its recipe on these drawings", "wardrobe-clip"], rows)


def pretraining() -> str:
    """What the embedded backbones' runs reached on val, epoch by epoch."""
    rows = []
    for name, run in load("pretraining")["runs"].items():
        curve = ", ".join(f"{row['val']['caption R@1']:.1f}" for row in run["validations"])
        gain = run.get("gain")
        gained = f"{gain['value']:+.1f} ({gain['low']:+.1f} to {gain['high']:+.1f})" if gain else ""
        rows.append([f"`configs/{name}.toml`", f"{run['steps']:,}", f"{run['seconds'] / 60:.0f}", curve, gained])
    return table(["run file", "steps", "minutes", "R@1 after each epoch", "gain over its start"], rows)


def steering() -> str:
    """What "without", keep and avoid do to the ten best."""
    names = {"without": '"without"', "keep": "keep", "avoid": "avoid"}
    rows = []
    for kind, own in load("steering")["kinds"].items():
        for metric, what in (("R@10", "target among the ten best"), ("shown", "of the ten best show it")):
            if metric in own["test"]:
                cells = [score(own["test"][metric][name]) for name in ("plain", "steered")]
                rows.append([names[kind], f"{own['weight_chosen']:g}", what, *cells, f"{own['queries']:,}"])
    note = f"\n{load('steering')['protocol']['method']}; per cent, 95 % interval over queries.\n"
    return table(["step", "weight", "what", "before", "after", "queries"], rows) + note


def captions(result: str = "wardrobe_quality") -> str:
    """Caption -> image."""
    quality = load(result)["caption_to_image"]
    rows = []
    for split, forms in quality.items():
        rows += [[split, form, *(f"{scores[k]:.1f}" for k in ("R@1", "R@5", "R@10"))] for form, scores in forms.items()]
    return table(["split", "captions", "R@1", "R@5", "R@10"], rows)


def blip_families() -> str:
    """As `families`, over the embedded BLIP."""
    return task_table("test families", ["R@1", "R@10", "R@50", "Rs@1"], "wardrobe_blip_quality")


def blip_matching() -> str:
    """What the matching head tells apart, and what it does to a ranking."""
    found = load("wardrobe_blip_matching")
    rows = [
        [
            "a picture's own full caption from a look-alike's",
            "right",
            f"{found['told_apart']['own_from_lookalike']:.1f}",
        ],
        ["a picture's own full caption from a random one", "right", f"{found['told_apart']['own_from_random']:.1f}"],
        *(
            [f"caption → image among {found['pictures']:,}, {what}", "R@1", f"{found['caption_to_image'][key]:.1f}"]
            for key, what in (
                ("cosine", "by cosine"),
                ("reranked", f"the first {found['depth']} ranked anew by matching"),
            )
        ),
    ]
    return table(["what", "", "per cent"], rows)


def alpha_curve() -> str:
    """R@1, R@10, R@50 at every alpha, val and test."""
    tasks = load("wardrobe_quality")["tasks"]
    val, test = (tasks[f"{split} families"]["alpha_curve"] for split in ("val", "test"))
    rows = [
        [f"{v['alpha']:.2f}", f"{v['R@10']:.1f}", *(f"{t[k]:.1f}" for k in ("R@1", "R@10", "R@50"))]
        for v, t in zip(val, test, strict=True)
    ]
    return table(["alpha", "val R@10", "test R@1", "test R@10", "test R@50"], rows)


def speed() -> str:
    """All speed rows: what, measured, against what, ratio."""
    rows = []
    for path in sorted(RESULTS.glob("speed_*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        own = bi_blip4cir_tables.reversed_rows(result) if "reversed_loss" in path.stem else result["rows"]
        for row in own:
            rows.append([row["what"], row["value"], row["against"], row["ratio"]])
    return table(["what", "measured", "against, in the same run", "ratio"], rows)


def of_set(name: str) -> dict[str, Any]:
    """What was measured on one data set; each may be measured alone."""
    found = load("bi_blip4cir")["sets"].get(name)
    if found is None:
        raise FileNotFoundError
    return found


def bi_blip4cir(name: str) -> str:
    """All variants on one data set, and what the numbers are of."""
    found = of_set(name)
    return f"{table(*bi_blip4cir_tables.scores(found))}\n{bi_blip4cir_tables.note(found)}\n"


def bi_blip4cir_orderings(name: str) -> str:
    """Which of the paper's orderings hold on one data set."""
    return table(*bi_blip4cir_tables.orderings(of_set(name)))


def bi_blip4cir_seeds() -> str:
    """Single seeds on every data set."""
    found = load("bi_blip4cir")["sets"]
    return "\n".join(f"{name}:\n\n{table(*bi_blip4cir_tables.seeds(own))}" for name, own in found.items())


def real_pictures(name: str, wanted: list[str]) -> str:
    """The zero-shot methods on pictures that nobody drew by code."""
    found = load("real_pictures")["sets"].get(name)
    if found is None:
        raise FileNotFoundError
    rows = [[method, *(score(scores[m]) for m in wanted)] for method, scores in found["methods"].items()]
    protocol = found["protocol"]
    note = (
        f"`{protocol['backbone']['name']}`, gallery {found['gallery']:,}, {found['queries']:,} queries of test, reference "
        f"dropped; Slerp's alpha {protocol['alpha']}; per cent, 95 % interval over queries."
    )
    return f"{table(['method', *wanted], rows)}\n{note}\n"


def reversed_loss() -> str:
    """Time and memory beside the naive form, on every device that it was measured on."""
    results = [load(path.stem) for path in sorted(RESULTS.glob("speed_reversed_loss*.json"))]
    if not results:
        raise FileNotFoundError
    return table(*bi_blip4cir_tables.reversed_loss(results))


TABLES: dict[str, Callable[[], str]] = {
    "families": families,
    "concepts": concepts,
    "captions": captions,
    "trial": trial,
    "pretraining": pretraining,
    "alpha-curve": alpha_curve,
    "blip-captions": lambda: captions("wardrobe_blip_quality"),
    "blip-families": blip_families,
    "blip-matching": blip_matching,
    "speed": speed,
    "steering": steering,
    "tat-scores": lambda: table(*tat_tables.scores(load("tat"))),
    "tat-differences": lambda: table(*tat_tables.differences(load("tat"))),
    "tat-choices": lambda: table(*tat_tables.choices(load("tat"))),
    "tat-gaps": lambda: table(*tat_tables.gaps(load("tat"))),
    "real-myntra": lambda: real_pictures("myntra", ["R@1", "R@10", "R@50", "Rs@1", "mAP@10"]),
    "real-noto-emoji": lambda: real_pictures("noto_emoji", ["R@1", "R@10", "R@50"]),
    "reversed-loss": reversed_loss,
    "bi-blip4cir-wardrobe": lambda: bi_blip4cir("wardrobe"),
    "bi-blip4cir-wardrobe-orderings": lambda: bi_blip4cir_orderings("wardrobe"),
    "bi-blip4cir-myntra": lambda: bi_blip4cir("myntra"),
    "bi-blip4cir-myntra-orderings": lambda: bi_blip4cir_orderings("myntra"),
    "bi-blip4cir-seeds": bi_blip4cir_seeds,
    "bi-blip4cir-recipe": lambda: table(*bi_blip4cir_tables.recipe(load("bi_blip4cir")["sets"])),
}


def made(name: str) -> str:
    """A table, or that nobody has measured it yet."""
    try:
        return TABLES[name]()
    except FileNotFoundError:
        return UNMEASURED


def rendered(text: str) -> str:
    """A page with every table made anew."""
    return MARK.sub(lambda m: f"{m[1]}{made(m[2])}{m[4]}", text)


def main() -> int:
    """Rewrite the pages; with --check only say which are stale, and fail if one is or lacks a measurement."""
    check = "--check" in sys.argv
    stale, missing = [], []
    for name in PAGES:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        missing += [f"{name} {mark[2]}" for mark in MARK.finditer(after) if mark[3] == UNMEASURED]
        if after != before:
            stale.append(name)
            if not check:
                path.write_text(after, encoding="utf-8")
    print(f"{'stale' if check else 'rewritten'}: {', '.join(stale) or 'none'}")
    print(f"not measured yet: {', '.join(missing) or 'none'}")
    return check and bool(stale or missing)


if __name__ == "__main__":
    sys.exit(main())
