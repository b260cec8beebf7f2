"""Equality with trec_eval, through its Python binding, where the two conventions coincide.

trec_eval breaks ties by document name and divides map_cut_K by the number of all right answers, CIRCO by min(that, K).
So scores differ from each other here, and mAP@K is compared where there are at most K right answers.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from composir.metrics import average_precision_from_ranks, hit_rates
from composir.similarity import ranking

CUTOFFS = (1, 5, 10, 50)


@pytest.mark.parametrize("seed", range(4))
def test_metrics_are_those_of_trec_eval(seed):
    trec = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng(seed)
    q, n, d = 40, 300, 5
    query, gallery = (torch.from_numpy(rng.standard_normal((rows, 1, d))).float() for rows in (q, n))
    references = rng.integers(0, n, q)
    targets = [rng.choice(np.delete(np.arange(n), r), rng.integers(1, 15), replace=False).tolist() for r in references]
    found = ranking(query, gallery, targets, n, references.tolist())
    counts = np.array([len(own) for own in targets])
    ours = hit_rates(found.best, CUTOFFS)
    ours |= {f"mAP@{k}": average_precision_from_ranks(found.ranks, counts, k) for k in CUTOFFS}

    truth = {str(i): {f"d{row}": 1 for row in own} for i, own in enumerate(targets)}
    run = {
        str(i): {f"d{row}": float(score) for row, score in zip(rows, scores, strict=True)}
        for i, (rows, scores) in enumerate(zip(found.rows, found.scores, strict=True))
    }
    assert all(len(set(scores.values())) == n - 1 for scores in run.values()), "scores tie"
    cut = ",".join(map(str, CUTOFFS))
    theirs = trec.RelevanceEvaluator(truth, {f"success.{cut}", f"map_cut.{cut}"}).evaluate(run)
    compared = 0
    for i, own in enumerate(targets):
        for k in CUTOFFS:
            assert ours[f"R@{k}"][i] == theirs[str(i)][f"success_{k}"]
            if len(own) <= k:
                compared += 1
                assert ours[f"mAP@{k}"][i] == pytest.approx(theirs[str(i)][f"map_cut_{k}"], abs=1e-9)
    assert compared > q
