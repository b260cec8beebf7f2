"""Two galleries searched as one give the answers of the one gallery that holds both."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.errors import ComposirError
from composir.similarity.joined import Joined
from composir.similarity.nearest import Nearest, Products, Wanted
from composir.similarity.quantized import Codes


def gallery(rng, n, t):
    """Unit vectors, a third of them twins of others: their scores tie."""
    vectors = rng.normal(size=(n, t, 12)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    for _ in range(n // 3):
        vectors[rng.integers(n)] = vectors[rng.integers(n)]
    return vectors.astype(np.float16)


def apart(vectors, added, scorer=Products):
    """The gallery in two, and for each row of both the row of the whole; large ones are scored by codes."""
    whole = np.concatenate([np.flatnonzero(~added), np.flatnonzero(added)])
    places = np.cumsum(~added)[added]
    base = vectors[~added]
    return Joined(Nearest(base, scorer(base) if len(base) else None), Nearest(vectors[added]), places), whole


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(2, 150),
    t=st.sampled_from([1, 3]),
    s=st.integers(1, 2),
    k=st.integers(1, 160),
    share=st.sampled_from([None, 0.05, 0.6]),
    dropped=st.integers(0, 4),
    parts=st.sampled_from([0.02, 0.3, 0.95]),
    scorer=st.sampled_from([Products, Codes]),
)
def test_answers_and_ranks_are_those_of_the_whole(seed, n, t, s, k, share, dropped, parts, scorer):
    rng = np.random.default_rng(seed)
    vectors, added = gallery(rng, n, t), rng.random(n) < parts
    added[rng.integers(n)] = True
    joined, whole = apart(vectors, added, scorer)
    wanted = Wanted.of(rng.normal(size=(s, 12))).plus(-0.3, rng.normal(size=(1, 12)))
    rows = None if share is None else np.flatnonzero(rng.random(n) < share)
    drop = rng.integers(n, size=dropped).tolist()
    own_rows = None if rows is None else np.flatnonzero(np.isin(whole, rows))
    own_drop = np.flatnonzero(np.isin(whole, drop)).tolist()
    found, scores = joined.best(wanted, k, own_rows, own_drop)
    expected, expected_scores = Nearest(vectors).best(wanted, k, rows, drop)
    assert whole[found].tolist() == expected.tolist()
    assert scores.tolist() == expected_scores.tolist()
    ranks = joined.ranks(wanted, np.arange(n), own_rows, own_drop)
    assert ranks.tolist() == Nearest(vectors).ranks(wanted, whole, rows, drop).tolist()
    assert joined.scores(joined._first.fitting(wanted), np.arange(n)).tolist() == [
        Nearest(vectors).scores(Nearest(vectors).fitting(wanted), whole)[row] for row in range(n)
    ]


def test_another_searcher_answers_for_the_first():
    rng = np.random.default_rng(0)
    vectors = gallery(rng, 60, 1)

    class Lazy(Nearest):
        """Looks at even rows alone."""

        def best(self, wanted, k, rows=None, drop=()):
            return super().best(wanted, k, np.arange(0, 50, 2), drop)

    first, second, wanted = vectors[:50], Nearest(vectors[50:]), Wanted.of(rng.normal(size=(1, 12)))
    joined = Joined(Nearest(first), second, np.full(10, 50), Lazy(first))
    assert set(joined.best(wanted, 60)[0].tolist()) == {*range(0, 50, 2), *range(50, 60)}
    assert sorted(joined.ranks(wanted, np.arange(60)).tolist()) == list(range(1, 61))


def test_nothing_to_rank_and_a_query_of_another_width():
    joined, _ = apart(gallery(np.random.default_rng(0), 9, 1), np.arange(9) > 6)
    assert len(joined) == 9
    assert not len(joined.ranks(Wanted.of(np.ones((1, 12))), np.zeros(0, np.int64)))
    with pytest.raises(ComposirError, match="width 5"):
        joined.best(Wanted.of(np.ones((1, 5))), 3)
