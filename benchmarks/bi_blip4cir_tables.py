"""The tables of docs/methods/bi-blip4cir.md out of results/bi_blip4cir.json: each function gives a head and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from composir.reporting.comparison import holm

Table = tuple[list[str], list[list[str]]]
METRICS = ("R@1", "R@5", "R@10", "R@50", "Rs@1", "(R@5 + Rs@1) / 2")
SHOWN = ("(R@5 + Rs@1) / 2", "R@1", "R@10")
LEVEL = 0.05
NAMES = {
    "baseline": "BLIP4CIR (baseline)",
    "bi": "+Bi",
    "bi-references": "+Bi, negatives among references",
    "bi-backward-token": "+Bi, token backwards only",
    "bi-no-token": "+Bi, no token",
}


def scores(found: Mapping[str, Any]) -> Table:
    """The baselines of one set, then every variant in both stages."""
    rows = []
    for name, own in found["unimodal"]["methods"].items():
        label = f"slerp, alpha {found['unimodal']['alpha']:g}" if name == "slerp" else name
        rows.append([label, "", *(_score(own[m]) for m in METRICS)])
    for key, own in found["variants"].items():
        variant, _, stage = key.rpartition(" stage ")
        rows.append([NAMES[variant], stage, *(_score(own[m]) for m in METRICS)])
    return ["method", "stage", *METRICS], rows


def orderings(found: Mapping[str, Any]) -> Table:
    """What the paper finds, and what is found here: by the summary, corrected for all orderings of the table."""
    deciding = [row["metrics"][SHOWN[0]] for row in found["orderings"]]
    corrected = holm([cell["p"] for cell in deciding])
    rows = [
        [row["claim"], *(_difference(row["metrics"][m]) for m in SHOWN), f"{p:.2g}", _holds(cell["difference"], p)]
        for row, cell, p in zip(found["orderings"], deciding, corrected, strict=True)
    ]
    return ["the paper's ordering", *(f"{m}, points" for m in SHOWN), f"{SHOWN[0]}, p by Holm", "holds here"], rows


def seeds(found: Mapping[str, Any]) -> Table:
    """How far seeds lie apart."""
    rows = [
        [
            NAMES[key.rpartition(" stage ")[0]],
            key[-1],
            *(" / ".join(f"{v:.1f}" for v in own[m]["seeds"]) for m in SHOWN),
        ]
        for key, own in found["variants"].items()
    ]
    return ["method", "stage", *SHOWN], rows


def note(found: Mapping[str, Any]) -> str:
    """What the numbers are of."""
    return (
        f"{found['train']:,} training triplets, gallery {found['gallery']:,}, {found['queries']:,} queries of test, "
        f"reference dropped, backbone `{found['backbone']}`; per cent, mean of {len(found['seeds'])} seeds, 95 % interval "
        "over queries."
    )


def _score(cell: Mapping[str, float]) -> str:
    return f"{cell['value']:.1f} ({cell['low']:.1f}–{cell['high']:.1f})"


def _holds(difference: float, p: float) -> str:
    return "undecided" if p >= LEVEL else "yes" if difference > 0 else "no"


def _difference(cell: Mapping[str, float]) -> str:
    return f"{cell['difference']:+.1f} ({cell['low']:+.1f} to {cell['high']:+.1f}), p = {cell['p']:.2g}"


def reversed_loss(rows: Sequence[Mapping[str, str]]) -> Table:
    """Rows of results/speed_reversed_loss*.json."""
    return ["what", "measured", "against, in the same run", "ratio"], [list(row.values()) for row in rows]
