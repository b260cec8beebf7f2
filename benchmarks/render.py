"""Put the figures of benchmarks/results into the pages, between their markers.

python benchmarks/render.py [--check]

A page has `<!-- figures NAME -->` ... `<!-- /figures -->`; what stands between is replaced by the table NAME.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGES = (
    "README.md",
    "docs/wardrobe.md",
    "docs/methods/slerp.md",
    "docs/speed.md",
    "src/composir/backbones/embedded/wardrobe-clip/README.md",
)
MARK = re.compile(r"(<!-- figures ([\w-]+) -->\n).*?(<!-- /figures -->)", re.DOTALL)


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
    """The prototype's trial beside test."""
    quality = load("wardrobe_quality")
    methods = quality["tasks"]["test families"]["methods"]
    partial = quality["caption_to_image"]["test"]["each attribute told with probability 0.5"]
    rows = []
    for name, before in quality["trial_on_the_prototype"].items():
        now = {k: v["value"] for k, v in methods[name].items()} if name in methods else partial
        rows.append([name, " / ".join(before), *(" / ".join(f"{row[k]:.1f}" for k in before) for row in (before, now))])
    return table(["what", "", "trial on the prototype", "here"], rows)


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
        for row in result["rows"]:
            rows.append([row["what"], row["value"], row["against"], row["ratio"]])
    return table(["what", "measured", "against, in the same run", "ratio"], rows)


TABLES: dict[str, Callable[[], str]] = {
    "families": families,
    "concepts": concepts,
    "captions": captions,
    "trial": trial,
    "alpha-curve": alpha_curve,
    "blip-captions": lambda: captions("wardrobe_blip_quality"),
    "blip-families": blip_families,
    "blip-matching": blip_matching,
    "speed": speed,
}


def rendered(text: str) -> str:
    """A page with every table made anew."""
    return MARK.sub(lambda m: f"{m[1]}{TABLES[m[2]]()}{m[3]}", text)


def main() -> int:
    """Rewrite the pages; with --check only say which are stale."""
    stale = []
    for name in PAGES:
        path = ROOT / name
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(after, encoding="utf-8")
    print(f"{'stale' if '--check' in sys.argv else 'rewritten'}: {', '.join(stale) or 'none'}")
    return bool(stale) and "--check" in sys.argv


if __name__ == "__main__":
    sys.exit(main())
