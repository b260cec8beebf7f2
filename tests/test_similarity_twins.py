"""Equal rows of a gallery are found, all of them and no others, and get one score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from composir.similarity import twins
from composir.similarity.twins import Twins


def slow(gallery: torch.Tensor) -> dict[int, int]:
    """Each row that equals an earlier one, and the first of these."""
    found = {}
    for i in range(len(gallery)):
        for j in range(i):
            if torch.equal(gallery[i], gallery[j]):
                found[i] = j
                break
    return found


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 30),
    t=st.integers(1, 3),
    d=st.sampled_from([1, 5, 70]),
    kind=st.sampled_from([torch.float16, torch.float32, torch.bfloat16]),
    chunk=st.sampled_from([1, 2**20]),
)
def test_twins_are_those_of_the_slow_loop(seed, n, t, d, kind, chunk):
    rng = np.random.default_rng(seed)
    gallery = torch.from_numpy(rng.choice([-1.0, -0.0, 0.0, 0.5], (n, t, d))).to(kind)
    for i in range(1, n):
        if rng.random() < 0.4:
            gallery[i] = gallery[rng.integers(i)]
            if rng.random() < 0.3:
                gallery[i, -1, -1] = 2.0  # alike up to the last number
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(twins, "CHUNK_BYTES", chunk)
        found = Twins.of(gallery)
    assert dict(zip(found.later.tolist(), found.first.tolist(), strict=True)) == slow(gallery)


def test_rows_that_have_the_same_number_by_chance_are_compared(monkeypatch):
    monkeypatch.setattr(twins, "_keys", lambda rows, some=None: torch.zeros(len(rows if some is None else some)))
    gallery = torch.tensor([[[1.0]], [[2.0]], [[1.0]]])
    found = Twins.of(gallery)
    assert (found.later.tolist(), found.first.tolist()) == ([2], [0])


@pytest.mark.parametrize("queries", [0, 1, 5])
def test_equals_get_the_score_of_the_first(queries):
    found = Twins(torch.tensor([2, 3]), torch.tensor([0, 1]))
    scores = torch.rand(queries, 4)
    before = scores.clone()
    found.level(scores)
    assert torch.equal(scores, before[:, [0, 1, 0, 1]])
