"""The tables of docs/methods/bi-blip4cir.md out of results: each function gives a head and rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from composir.reporting.comparison import holm

Table = tuple[list[str], list[list[str]]]
METRICS = ("R@1", "R@5", "R@10", "R@50", "Rs@1", "(R@5 + Rs@1) / 2")
SHOWN = ("(R@5 + Rs@1) / 2", "R@1", "R@10")
LEVEL = 0.05
NAIVE = 220_000  # bytes a pair that the naive reversed loss keeps in single precision: what is not run is judged by it
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


def recipe(sets: Mapping[str, Any]) -> Table:
    """What the runs of both stages were told, a row for each argument; a set's own column only where sets differ."""
    told = {name: found["recipe"] for name, found in sets.items()}
    first = next(iter(told.values()))
    if all(own == first for own in told.values()):
        told = {"": first}
    columns = [(f"{name} stage {own['stage']}".strip(), own) for name, stages in told.items() for own in stages]
    keys = dict.fromkeys(key for _, own in columns for key in own if key != "stage")
    return ["argument", *(head for head, _ in columns)], [
        [f"`{key}`", *(str(own.get(key, "")) for _, own in columns)] for key in keys
    ]


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


def reversed_loss(results: Sequence[Mapping[str, Any]]) -> Table:
    """All rows of results/speed_reversed_loss*.json."""
    rows = [list(row.values()) for result in results for row in reversed_rows(result)]
    return ["what", "measured", "against, in the same run", "ratio"], rows


def reversed_rows(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Rows of one result, told from its numbers: a batch size each.

    A naive step that was not run has its memory estimated from the largest that was.
    """
    sizes = {int(size): own for size, own in result["sizes"].items()}
    known = [own["peak_mib"]["naive"] / size**2 for size, own in sizes.items() if "naive" in own["peak_mib"]]
    estimate = known[-1] if known else NAIVE / 2**20
    where = "on a GPU, bfloat16 autocast" if "gpu" in result["machine"] else "on a CPU"
    return [_reversed_row(size, own, estimate, where) for size, own in sizes.items()]


def _reversed_row(size: int, found: Mapping[str, Any], estimate: float, where: str) -> dict[str, str]:
    times, peaks = found["seconds"], found["peak_mib"]
    ours = max(1, peaks["ours"])
    told = {
        "what": f"reversed loss of Bi-BLIP4CIR's second stage, B = {size}, forward and backward, {where}",
        "value": f"{_time(times['ours']['median'])}, {_size(peaks['ours'])}",
    }
    if "naive" not in times:
        needed = estimate * size**2
        against = f"all B * B rows at once: not run, it would take about {_size(needed)}"
        return {**told, "against": against, "ratio": f"{_factor(needed / ours)} × less memory"}
    faster = times["naive"]["median"] / times["ours"]["median"]
    return {
        **told,
        "against": f"all B * B rows at once: {_time(times['naive']['median'])}, {_size(peaks['naive'])}",
        "ratio": f"{_factor(faster)} × faster, {_factor(peaks['naive'] / ours)} × less memory",
    }


def _factor(value: float) -> str:
    """ "1.3" or "15"."""
    return f"{value:.1f}" if round(value, 1) < 10 else f"{value:.0f}"


def _time(seconds: float) -> str:
    """ "0.42 s" or "35 ms"."""
    return f"{seconds:.2f} s" if seconds >= 0.2 else f"{1000 * seconds:.0f} ms"


def _size(mib: float) -> str:
    """ "1.2 GiB" or "300 MiB"."""
    return f"{mib / 1024:.1f} GiB" if mib >= 1000 else f"{mib:.0f} MiB"
