"""CIRCO's own validation figures for its sample submission, to four digits, from its files and our metrics alone."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from composir.metrics import average_precision, average_precision_from_ranks, hit_rates, per_aspect

# Printed by src/evaluation.py of miccunifi/CIRCO for submission_examples/submission_val.json, in per cent.
GOLDEN = {
    "mAP@5": 0.4861, "mAP@10": 0.5178, "mAP@25": 0.5400, "mAP@50": 0.6020,
    "Recall@5": 0.9091, "Recall@10": 0.9091, "Recall@25": 1.3636, "Recall@50": 3.6364,
    "mAP@10/cardinality": 0, "mAP@10/statement_with_conjunction": 0.6183, "mAP@10/comparative_statement": 1.0500,
    "mAP@10/spatial_relations_background": 0.1808, "mAP@10/compare_change": 0.0242, "mAP@10/addition": 0.0871,
    "mAP@10/direct_addressing": 0.9197, "mAP@10/viewpoint": 0.6173, "mAP@10/negation": 0,
}  # fmt: skip
CUTOFFS = (5, 10, 25, 50)


@pytest.fixture(scope="module")
def circo(shared_data: Path) -> tuple[list[dict], list[list[int]]]:
    """The annotations of val and the sample's 50 answers to each query."""
    folder = shared_data / "circo"
    records = json.loads((folder / "annotations" / "val.json").read_text(encoding="utf-8"))
    sample = json.loads((folder / "submission_examples" / "submission_val.json").read_text(encoding="utf-8"))
    return records, [sample[str(record["id"])] for record in records]


def test_golden_numbers(circo):
    records, answers = circo
    counts = np.array([len(record["gt_img_ids"]) for record in records])
    ranks = np.zeros((len(records), counts.max()), np.int64)
    for own, record, given in zip(ranks, records, answers, strict=True):
        own[: len(record["gt_img_ids"])] = [
            1 + given.index(target) if target in given else 0 for target in record["gt_img_ids"]
        ]
    relevant = np.array([np.isin(given, r["gt_img_ids"]) for given, r in zip(answers, records, strict=True)])
    precision = {k: average_precision_from_ranks(ranks, counts, k) for k in CUTOFFS}
    got = {f"mAP@{k}": values for k, values in precision.items()} | hit_rates(ranks[:, 0], CUTOFFS, "Recall")
    got |= {f"mAP@10/{a}": v for a, v in per_aspect(precision[10], [r["semantic_aspects"] for r in records]).items()}
    assert {name: round(100 * float(np.nanmean(values)), 4) for name, values in got.items()} == GOLDEN
    for k in CUTOFFS:
        assert average_precision(relevant, counts, k) == pytest.approx(precision[k], abs=1e-12)
