"""The tables of docs/methods/tat.md out of results/tat.json: each function gives a head and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Table = tuple[list[str], list[list[str]]]
ANCHORS = {"text": "text (TAT)", "none": "none", "image": "image"}
GAP = {
    "distance": "distance of the centroids",
    "separability": "linear separability",
    "cosine": "cosine of a picture and its text",
    "other": "cosine of a picture and another text",
}


def scores(result: Mapping[str, Any]) -> Table:
    """Slerp before and after, each metric, mean of the seeds with its interval over queries."""
    rows = []
    for setting in result["settings"].values():
        for metric in ("R@1", "R@10", "R@50", "R@10 at 0.8"):
            shown = [setting["before"][metric], *(setting["anchors"][a][metric] for a in ANCHORS)]
            label = metric.replace(" at ", ", α = ")
            rows.append(
                [setting["told"], label, *(f"{s['value']:.1f} ({s['low']:.1f}–{s['high']:.1f})" for s in shown)]
            )
    return ["shift", "metric", "before", *ANCHORS.values()], rows


def differences(result: Mapping[str, Any]) -> Table:
    """Paired differences of R@10 in points."""
    rows = []
    for setting in result["settings"].values():
        made = {f"anchor {a} − before": setting["anchors"][a]["R@10"]["lift"] for a in ANCHORS}
        made |= {f"anchor text − anchor {a}": setting[f"text less {a}"] for a in ("none", "image")}
        rows += [
            [setting["told"], what, f"{d['value']:+.1f} ({d['low']:+.1f} to {d['high']:+.1f})", f"{d['p']:.2g}"]
            for what, d in made.items()
        ]
    return ["shift", "R@10", "points", "p"], rows


def gaps(result: Mapping[str, Any]) -> Table:
    """The modality gap, mean of the seeds and their range."""
    rows = []
    for setting in result["settings"].values():
        for key, label in GAP.items():
            after = [_range(setting["anchors"][a]["gap"][key]) for a in ANCHORS]
            rows.append([setting["told"], label, f"{setting['before']['gap'][key]:.3f}", *after])
    return ["shift", "on test pairs", "before", *ANCHORS.values()], rows


def choices(result: Mapping[str, Any]) -> Table:
    """What val chose, and R@10 of each seed."""
    rows = []
    for setting in result["settings"].values():
        rows.append([setting["told"], "before", "", f"{setting['before']['alpha']:g}", "", ""])
        for anchor, label in ANCHORS.items():
            own = setting["anchors"][anchor]
            alphas = ", ".join(f"{a:g}" for a in own["alpha"])
            seeds = ", ".join(f"{s:.1f}" for s in own["R@10"]["seeds"])
            rows.append([setting["told"], label, f"{own['lr']:g}", alphas, seeds, f"{100 * own['share']:.1f} %"])
    return ["shift", "anchor", "lr", "α of each seed", "R@10 of each seed", "trainable"], rows


def _range(values: Sequence[float]) -> str:
    mean = sum(values) / len(values)
    return f"{mean:.3f} ({min(values):.3f}–{max(values):.3f})"
