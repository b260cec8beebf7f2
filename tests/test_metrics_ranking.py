"""From vectors to metrics: the one pass and its ranks, against a slow version that sorts names and counts.

Small whole numbers make ties common; metrics agree to 1e-9.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from composir.metrics import average_precision, average_precision_from_ranks, hit_rates
from composir.similarity import ranking, subset_ranking

CUTOFFS = (1, 2, 3, 5, 10, 50)


def slow_list(query: list[float], gallery: dict[str, list[float]], candidates: list[str], reference: str) -> list[str]:
    """Names of the candidates but the reference, best first, equal ones in the order given."""
    scores = {name: sum(a * b for a, b in zip(query, gallery[name], strict=True)) for name in candidates}
    return sorted((name for name in candidates if name != reference), key=lambda name: -scores[name])


def slow_average_precision(answers: list[str], targets: list[str], k: int) -> float:
    total, hits = 0.0, 0
    for place, name in enumerate(answers[:k], start=1):
        if name in targets:
            hits += 1
            total += hits / place
    return total / min(len(targets), k)


@st.composite
def tasks(draw):
    """Vectors and, for each query, targets, a reference that is none of them, and a subset of both and others."""
    q, n, d = draw(st.integers(1, 6)), draw(st.integers(3, 70)), draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    query, gallery = rng.integers(-2, 3, (q, d)), rng.integers(-2, 3, (n, d))
    targets, references, subsets = [], [], []
    for _ in range(q):
        order = rng.permutation(n)
        count = rng.integers(1, min(n - 1, 14) + 1)
        targets.append(order[:count].tolist())
        references.append(int(order[count]))
        subsets.append(rng.permutation([*order[count : count + 5], order[0]]).tolist())
    return query.astype(np.float32), gallery.astype(np.float32), targets, references, subsets


@given(tasks(), st.booleans())
def test_every_metric_is_the_slow_one(task, dropped):
    query, gallery, targets, references, subsets = task
    vectors = torch.from_numpy(query)[:, None], torch.from_numpy(gallery)[:, None]
    found = ranking(*vectors, targets, 50, references if dropped else None)
    within = subset_ranking(*vectors, subsets, [own[:1] for own in targets], references)
    counts = np.array([len(own) for own in targets])
    got = (
        hit_rates(found.best, CUTOFFS)
        | hit_rates(found.first, CUTOFFS, "Recall")
        | hit_rates(within.first, (1, 2, 3), "Rs")
    )
    got |= {f"mAP@{k}": average_precision_from_ranks(found.ranks, counts, k) for k in CUTOFFS}
    relevant = np.array([np.isin(rows, own) for rows, own in zip(found.rows, targets, strict=True)])
    got |= {f"mAP@{k} of answers": average_precision(relevant, counts, k) for k in CUTOFFS}

    named = {f"image {row}": vector.tolist() for row, vector in enumerate(gallery)}
    for i, vector in enumerate(query.tolist()):
        right = [f"image {row}" for row in targets[i]]
        reference = f"image {references[i]}"
        answers = slow_list(vector, named, list(named), reference if dropped else "")
        few = slow_list(vector, named, [f"image {row}" for row in subsets[i]], reference)
        for k in CUTOFFS:
            assert got[f"R@{k}"][i] == any(name in right for name in answers[:k])
            assert got[f"Recall@{k}"][i] == (right[0] in answers[:k])
            expected = slow_average_precision(answers, right, k)
            assert got[f"mAP@{k}"][i] == pytest.approx(expected, abs=1e-9)
            assert got[f"mAP@{k} of answers"][i] == pytest.approx(expected, abs=1e-9)
        for k in (1, 2, 3):
            assert got[f"Rs@{k}"][i] == (right[0] in few[:k])


def test_a_constant_scorer_hits_by_chance_only():
    """All scores equal: R@K and AP@K depend on where targets stand, which is random; four deviations from chance."""
    rng = np.random.default_rng(0)
    q, n = 4000, 101
    reference = rng.integers(0, n, q)
    target = (reference + rng.integers(1, n, q)) % n
    found = ranking(torch.ones(q, 1, 3), torch.ones(n, 1, 3), target[:, None].tolist(), 50, reference.tolist())
    for k in (1, 10, 50):
        chance = k / (n - 1)
        error = np.sqrt(chance * (1 - chance) / q)
        assert abs(hit_rates(found.best, (k,))[f"R@{k}"].mean() - chance) < 4 * error
    expected = sum(1 / r for r in range(1, 11)) / (n - 1)
    precision = average_precision_from_ranks(found.ranks, np.ones(q, int), 10)
    assert abs(precision.mean() - expected) < 4 * precision.std() / np.sqrt(q)
    assert (found.ties == n - 2).all()
