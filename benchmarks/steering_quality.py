"""What "without", keep and avoid are worth, and how much they should weigh; writes results/steering.json.

python benchmarks/steering_quality.py [--backbone wardrobe-clip]

Somebody who knows the target looks at the ten best answers of a query and steers once. "Without": names the attribute
value that most of them show and the target does not, if two do. "Keep": the one that shares most attributes with the
target, other than the target itself. "Avoid": the one that shares fewest. Score = query + weight * kept, or - weight * (words | avoided), as
`composir serve` has it; the weight is chosen on val by R@10 and reported on test beside weight 0.
"""

from __future__ import annotations

import argparse
from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from rows import machine, write

from composir.backbones import load_backbone
from composir.datasets.wardrobe import Wardrobe
from composir.datasets.wardrobe.garment import Garment
from composir.evaluation import encode
from composir.methods import load_method
from composir.methods.joint import JointSpace
from composir.methods.slerp import ALPHA
from composir.metrics import bootstrap_interval, paired_test

WEIGHTS = [round(0.125 * i, 3) for i in range(9)]
GARMENTS, SEEN = 3000, 10
PATTERNS = {"striped": "stripes", "pinstriped": "pinstripes", "dotted": "dots", "checked": "checks"}
KINDS = ("without", "keep", "avoid")
Vectors = NDArray[np.float32]


def named(attribute: str, value: str) -> str | None:
    """What somebody types who does not want to see a value; None for what nobody would."""
    match attribute:
        case "pattern":
            return PATTERNS.get(value)
        case "sleeve":
            return f"{value} sleeves" if value != "no" else None
        case "logo":
            return f"a {value} logo" if value != "no" else None
        case "kind" | "color":
            return value
    return None


def unwanted(target: Garment, shown: list[Garment]) -> tuple[str, str] | None:
    """The value, with its attribute, that most of the answers show and the target does not; None if not two do."""
    counts = Counter(
        (attribute, getattr(own, attribute))
        for own in shown
        for attribute in ("kind", "color", "pattern", "sleeve", "logo")
        if getattr(own, attribute) != getattr(target, attribute) and named(attribute, getattr(own, attribute))
    )
    best = max(sorted(counts), key=counts.__getitem__, default=None)
    return best if best is not None and counts[best] > 1 else None


def shared(one: Garment, other: Garment) -> int:
    """Attributes that two have in common."""
    return sum(a == b for a, b in zip(one.values(), other.values(), strict=True))


class Split:
    """The queries of one split, their ten best, and in which direction each kind of steering pushes."""

    def __init__(self, method: JointSpace, data: Wardrobe, split: str):
        task = next(own for own in data.tasks(split) if own.name == "families")  # pyright: ignore[reportArgumentType]
        garments = [data.garment(own) for own in task.gallery]
        row = {own: i for i, own in enumerate(task.gallery)}
        gallery = encode(method, data, task.gallery, "gallery")
        self.dropped = np.array([row[query.reference] for query in task.queries])
        self.targets = np.array([row[query.targets[0]] for query in task.queries])
        with torch.inference_mode():
            texts = [query.text for query in task.queries]
            self.queries = method.compose(gallery[self.dropped], texts, alpha=[ALPHA["wardrobe"]] * len(texts))[
                :, 0
            ].numpy()
        self.gallery: Vectors = gallery[:, 0].numpy()
        best = np.argsort(-self.scores("keep", 0.0), axis=1, kind="stable")[:, :SEEN]
        self.avoided = np.zeros(len(best), np.int64)
        self.shows, self.pushed = {}, {kind: np.zeros_like(self.queries) for kind in KINDS}
        for i, (seen, goal) in enumerate(zip(best, self.targets, strict=True)):
            others = seen[seen != goal]
            likeness = [shared(garments[own], garments[goal]) for own in others]
            self.avoided[i] = others[int(np.argmin(likeness))]
            self.pushed["keep"][i] = self.gallery[others[int(np.argmax(likeness))]]
            self.pushed["avoid"][i] = -self.gallery[self.avoided[i]]
            if value := unwanted(garments[goal], [garments[own] for own in seen]):
                self.shows[i] = np.array([getattr(own, value[0]) == value[1] for own in garments])
                self.pushed["without"][i] = -self._words(method, named(*value) or "")

    def _words(self, method: JointSpace, text: str) -> Vectors:
        with torch.inference_mode():
            return method.encode_text([text])[0].reshape(-1).float().numpy()

    def scores(self, kind: str, weight: float) -> Vectors:
        """(Q, N); the reference is left out, and what is avoided."""
        pushed = self.queries + weight * self.pushed[kind] if weight else self.queries
        scores = pushed.astype(np.float32) @ self.gallery.T
        every = np.arange(len(scores))
        scores[every, self.dropped] = -np.inf
        if kind == "avoid" and weight:
            scores[every, self.avoided] = -np.inf
        return scores

    def outcome(self, kind: str, weight: float) -> dict[str, NDArray[np.float64]]:
        """Of each query that was steered: whether its target is among the ten best, and how many show the unwanted."""
        scores = self.scores(kind, weight)
        asked = np.array(sorted(self.shows)) if kind == "without" else np.arange(len(scores))
        own = scores[asked]
        at = own[np.arange(len(asked)), self.targets[asked]][:, None]
        found = {"R@10": ((own > at).sum(axis=1) < SEEN).astype(np.float64)}
        if kind == "without":
            best = np.argsort(-own, axis=1, kind="stable")[:, :SEEN]
            found["shown"] = np.array([self.shows[i][top].mean() for i, top in zip(asked, best, strict=True)])
        return found


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="wardrobe-clip")
    options = parser.parse_args()
    method = load_method("slerp", load_backbone(options.backbone))
    assert isinstance(method, JointSpace)
    data = Wardrobe(val=GARMENTS, test=GARMENTS, seed=0)
    val, test = (Split(method, data, name) for name in ("val", "test"))
    kinds = {}
    for kind in KINDS:
        curve = [{"weight": own, **means(val.outcome(kind, own))} for own in WEIGHTS]
        chosen = max(curve, key=lambda point: point["R@10"])["weight"]
        plain, steered = test.outcome(kind, 0.0), test.outcome(kind, chosen)
        kinds[kind] = {
            "val_curve": curve,
            "weight_chosen": chosen,
            "queries": len(plain["R@10"]),
            "test": {
                name: {
                    "plain": cell(plain[name]),
                    "steered": cell(steered[name]),
                    "p": paired_test(steered[name], plain[name]).p_randomization,
                }
                for name in plain
            },
        }
    result = {
        "protocol": {
            "data": f"wardrobe, seed 0, val and test {GARMENTS} garments each; families, reference dropped",
            "method": f"slerp, alpha {ALPHA['wardrobe']:g}, {options.backbone}",
            "gallery_key": method.gallery_key(),
            "chosen": "on val, by R@10",
            "intervals": "95 %, percentile bootstrap over queries, 2,000 draws, seed 0; p of a paired randomisation test",
        },
        "kinds": kinds,
        "machine": machine(),
    }
    write("steering", result)


def cell(values: NDArray[np.float64]) -> dict[str, float]:
    """The mean and its interval, in per cent."""
    low, high = bootstrap_interval(values)
    return {"value": 100 * float(values.mean()), "low": 100 * low, "high": 100 * high}


def means(outcome: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """In per cent."""
    return {name: 100 * float(values.mean()) for name, values in outcome.items()}


if __name__ == "__main__":
    main()
