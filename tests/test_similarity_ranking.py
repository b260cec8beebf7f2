"""Top-k, ranks and ties from one pass, and ranks among a query's own candidates, against Python's stable sort.

Small whole numbers make ties common and every sum exact, so that all comparisons here are for equality.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from composir.errors import ComposirError
from composir.similarity import RANK_BYTES, Ranking, order, ranking, subset_ranking
from composir.similarity import scores as scoring

MEMORY = st.sampled_from((1, 2000, 20_000, RANK_BYTES))


def slow_score(query, item) -> float:
    """Mean over query vectors of the max over item vectors of the inner product, one number at a time."""
    best = [max(sum(a * b for a, b in zip(s, t, strict=True)) for t in item) for s in query]
    return sum(best) / len(best)


def slow_order(scored: list[tuple[float, int]]) -> list[tuple[float, int]]:
    """Best first; Python's sort is stable, so that equal scores keep the order they came in."""
    return sorted(scored, key=lambda pair: -pair[0])


def slow_ranks(ordered: list[tuple[float, int]], targets: list[int]) -> list[int]:
    rows = [row for _, row in ordered]
    return [1 + rows.index(t) if t in rows else 0 for t in targets]


def slow_ties(ordered: list[tuple[float, int]], targets: list[int]) -> int:
    found = [score for score, row in ordered if row in targets]
    return sum(score == max(found) and row not in targets for score, row in ordered) if found else 0


def whole(draw, *shape: int, most: int = 2) -> torch.Tensor:
    count = math.prod(shape)
    numbers = draw(st.lists(st.integers(-most, most), min_size=count, max_size=count))
    return torch.tensor(numbers, dtype=torch.float32).reshape(shape)


@st.composite
def problems(draw):
    """Queries, gallery, ragged targets (none of them dropped), drops and a cut-off."""
    q, n, t, d = draw(st.integers(1, 5)), draw(st.integers(1, 40)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    query, gallery = whole(draw, q, draw(st.sampled_from((1, 2, 4))), d), whole(draw, n, t, d)
    drop = draw(st.none() | st.lists(st.integers(-1, n - 1), min_size=q, max_size=q))
    targets = [
        [row for row in draw(st.lists(st.integers(0, n - 1), unique=True, max_size=4)) if not drop or row != drop[i]]
        for i in range(q)
    ]
    return query, gallery, targets, drop, draw(st.integers(1, n + 3) | st.integers(1, 3))


@st.composite
def own_candidates(draw):
    """A problem with candidates of each query's own; its first target is one of them, and others may be."""
    query, gallery, targets, drop, k = draw(problems())
    members = []
    for i, own in enumerate(targets):
        others = draw(st.lists(st.integers(0, len(gallery) - 1), unique=True, max_size=6))
        first = [own[0]] if own and own[0] not in others else []
        members.append(draw(st.permutations(others + first)))
        if drop and draw(st.booleans()) and drop[i] >= 0 and drop[i] not in members[i]:
            members[i] = [*members[i], drop[i]]
    return query, gallery, members, targets, drop, k


def check(found: Ranking, i: int, ordered: list[tuple[float, int]], targets: list[int]) -> None:
    """Query i of a ranking against everything in its order."""
    kept = min(found.rows.shape[1], len(ordered))
    got = list(zip(found.scores[i].tolist(), found.rows[i].tolist(), strict=True))
    assert got == ordered[:kept] + [(-math.inf, -1)] * (found.rows.shape[1] - kept)
    ranks = slow_ranks(ordered, targets)
    assert found.ranks[i].tolist() == ranks + [0] * (found.ranks.shape[1] - len(targets))
    assert found.ties[i] == slow_ties(ordered, targets)
    assert found.best[i] == min([r for r in ranks if r], default=0)
    assert found.first[i] == (ranks[0] if targets else 0)


@given(problems(), MEMORY, st.booleans())
def test_ranking_is_the_stable_sort(problem, memory, small):
    query, gallery, targets, drop, k = problem
    with pytest.MonkeyPatch.context() as patch:
        if small:  # take the ways of large galleries and several threads
            patch.setattr(order, "GROUP", 3)
            patch.setattr(order, "WIDE", 4)
            patch.setattr(scoring, "QUERIES", 3)
            patch.setattr(torch, "get_num_threads", lambda: 2)
        found = ranking(query, gallery, targets, k, drop, memory=memory)
    n = len(gallery)
    assert found.rows.shape == (len(query), min(k, n - 1 if drop and max(drop) >= 0 else n))
    assert found.ranks.shape == (len(query), max(map(len, targets)))
    assert (found.scores.dtype, found.rows.dtype, found.ranks.dtype, found.ties.dtype) == ("f4", "i4", "i4", "i4")
    for i, q in enumerate(query.tolist()):
        dropped = drop[i] if drop else -1
        scored = [(slow_score(q, item), row) for row, item in enumerate(gallery.tolist()) if row != dropped]
        check(found, i, slow_order(scored), targets[i])


@given(own_candidates(), MEMORY)
def test_subset_ranking_is_the_stable_sort(problem, memory):
    query, gallery, members, targets, drop, k = problem
    found = subset_ranking(query, gallery, members, targets, drop, k=k, memory=memory)
    items, longest = gallery.tolist(), 0
    for i, q in enumerate(query.tolist()):
        scored = [(slow_score(q, items[row]), row) for row in members[i] if not drop or row != drop[i]]
        longest = max(longest, len(scored))
        check(found, i, slow_order(scored), targets[i])
    assert found.rows.shape[1] == min(k, longest)
    everything = subset_ranking(query, gallery, members, targets, drop)
    assert everything.rows.shape[1] == longest
    assert np.array_equal(everything.rows[:, :k], found.rows)


def units(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def hard(kind: str, rows: int, n: int) -> np.ndarray:
    """Scores that the search for the k best finds hard: ties in masses, or the best ones all in one group."""
    rng = np.random.default_rng(0)
    made = {
        "reals": lambda: rng.random((rows, n)),
        "all equal": lambda: np.full((rows, n), 0.25),
        "zeros and ones": lambda: rng.integers(0, 2, (rows, n)),
        "one better": lambda: (np.arange(n) == n // 2) * np.ones((rows, 1)),
        "few levels": lambda: np.round(rng.random((rows, n)), 1),
        "rising": lambda: np.arange(n) * np.ones((rows, 1)),
        "falling": lambda: -np.arange(n) * np.ones((rows, 1)),
        "best in one group": lambda: rng.random((rows, n)) + (np.arange(n) % max(1, n // order.GROUP) == 3),
        "best in the rest": lambda: rng.random((rows, n)) + (np.arange(n) >= n // order.GROUP * order.GROUP),
        "negative zero": lambda: np.where(rng.random((rows, n)) < 0.5, 0.0, -0.0),
    }
    return made[kind]().astype(np.float32)


@pytest.mark.parametrize("n", [5, 300, 1999, 5003])
@pytest.mark.parametrize("kind", [
    "reals", "all equal", "zeros and ones", "one better", "few levels", "rising", "falling", "best in one group",
    "best in the rest", "negative zero",
])  # fmt: skip
def test_best_columns_of_hard_rows(kind, n):
    scores = hard(kind, 4, n)
    expected = np.argsort(-scores, axis=1, kind="stable")
    for k in (1, 2, 5, 50, n // 9 + 1, n):
        assert np.array_equal(order.best_columns(scores, min(k, n)), expected[:, :k]), k


@pytest.mark.parametrize("place", [0, 37, 999, 1023])
def test_nan_is_found_wherever_it_stands(place):
    scores = hard("reals", 3, 1024)
    scores[1, place] = math.nan
    for k in (1, 50, 1024):
        with pytest.raises(ComposirError, match="not a number"):
            order.best_columns(scores, k)


@pytest.mark.parametrize(("n", "t"), [(3000, 1), (400, 8)])
@pytest.mark.parametrize("half", [False, True])
def test_ranks_are_places_among_the_best_on_real_numbers(n, t, half):
    """The same scores give both, to the last bit; here some gallery items stand twice, so that there are ties."""
    gallery = units(n // 2, t, 64).repeat(2, 1, 1)[torch.randperm(n, generator=torch.Generator().manual_seed(1))]
    query = units(24, 1, 64, seed=2)
    gallery = gallery.half() if half else gallery
    targets = np.random.default_rng(0).permuted(np.tile(np.arange(n), (24, 1)), axis=1)[:, :10].tolist()
    found = ranking(query, gallery, targets, n)
    for i, own in enumerate(targets):
        assert found.rows[i, found.ranks[i] - 1].tolist() == own
    copies = [[int((gallery == gallery[row]).all(dim=(1, 2)).sum()) - 1 for row in own] for own in targets]
    best = found.ranks.argmin(axis=1)
    unbidden = [
        copies[i][best[i]] - sum(bool((gallery[r] == gallery[own[best[i]]]).all()) for r in own if r != own[best[i]])
        for i, own in enumerate(targets)
    ]
    assert found.ties.tolist() == unbidden
    assert sum(unbidden) > 15, "no ties were made"


@pytest.mark.parametrize(("q", "t", "dtype"), [(1, 1, "half"), (3, 1, "float"), (70, 1, "half"), (2, 4, "half")])
@pytest.mark.parametrize("memory", [200_000, RANK_BYTES])
def test_a_gallery_of_copies_is_ranked_in_its_order(q, t, dtype, memory):
    gallery = getattr(units(1, t, 96), dtype)().expand(1500, t, 96).contiguous()
    found = ranking(units(q, 1, 96, seed=1), gallery, [[i, 1499 - i] for i in range(q)], 60, memory=memory)
    assert found.ranks.tolist() == [[i + 1, 1500 - i] for i in range(q)]
    assert found.ties.tolist() == [1498] * q
    assert found.rows.tolist() == [list(range(60))] * q


def test_a_constant_scorer_gets_no_more_than_chance_and_every_query_is_tied():
    """Random targets: hits at K are binomial with chance K / (N - 1), whatever the scores' common value."""
    rng = np.random.default_rng(3)
    q, n = 3000, 211
    drop = rng.integers(0, n, q)
    targets = (drop + rng.integers(1, n, q)) % n
    found = ranking(torch.ones(q, 1, 2), torch.ones(n, 1, 2), targets[:, None].tolist(), 50, drop.tolist())
    assert (found.ties == n - 2).all()
    for k in (1, 10, 50):
        chance = k / (n - 1)
        assert abs((found.best <= k).mean() - chance) < 4 * math.sqrt(chance * (1 - chance) / q)
    members = np.array([np.append(rng.choice(np.delete(np.arange(n), t), 4, replace=False), t) for t in targets])
    own = subset_ranking(
        torch.ones(q, 1, 2), torch.ones(n, 1, 2), rng.permuted(members, axis=1).tolist(), targets[:, None].tolist()
    )
    assert (own.ties == 4).all()
    assert abs((own.first == 1).mean() - 0.2) < 4 * math.sqrt(0.2 * 0.8 / q)


def test_equal_members_of_a_subset_tie_on_real_numbers():
    gallery = units(40, 3, 96)
    gallery[7] = gallery[3]
    query = units(50, 1, 96, seed=1)
    found = subset_ranking(query, gallery, [[7, 20, 3]] * 50, [[3]] * 50)
    assert (found.ties == 1).all()
    assert (found.first >= 2).all()  # 7 comes before 3 in the list


def test_more_threads_and_blocks_change_nothing(monkeypatch):
    query, gallery = units(300, 1, 32), units(2000, 1, 32, seed=1)
    targets = [[i, 1999 - i] for i in range(300)]
    alone = ranking(query, gallery, targets, 20)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    several = ranking(query, gallery, targets, 20)
    for name in ("scores", "rows", "ranks", "ties"):
        assert np.array_equal(getattr(alone, name), getattr(several, name)), name


def test_hidden_targets_give_answers_without_ranks():
    query, gallery = units(3, 1, 8), units(9, 1, 8, seed=1)
    found = ranking(query, gallery, [[], [], []], 4)
    assert found.ranks.shape == (3, 0)
    assert found.best.tolist() == found.first.tolist() == found.ties.tolist() == [0, 0, 0]
    own = subset_ranking(query, gallery, [[1, 2], [], [5]], [[], [], []])
    assert own.rows.tolist()[1:] == [[-1, -1], [5, -1]]
    assert own.best.tolist() == own.first.tolist() == [0, 0, 0]


def test_nothing_to_rank():
    query, gallery = units(2, 1, 4), units(3, 1, 4, seed=1)
    assert ranking(query[:0], gallery, [], 5).rows.shape == (0, 3)
    assert ranking(query, gallery[:0], [[], []], 5).rows.shape == (2, 0)
    assert ranking(query, gallery[:1], [[], []], 5, [0, 0]).rows.shape == (2, 0)
    assert subset_ranking(query[:0], gallery, [], []).rows.shape == (0, 0)
    assert subset_ranking(query, gallery, [[], []], [[], []]).rows.shape == (2, 0)


def test_requests_that_do_not_fit_are_refused():
    query, gallery = units(2, 1, 4), units(3, 1, 4, seed=1)
    with pytest.raises(ComposirError, match=r"k = 0; at least 1"):
        ranking(query, gallery, [[0], [1]], 0)
    with pytest.raises(ComposirError, match=r"k = 0; at least 1"):
        subset_ranking(query, gallery, [[0], [1]], [[0], [1]], k=0)
    with pytest.raises(ComposirError, match="1 lists of targets for 2 queries"):
        ranking(query, gallery, [[0]], 1)
    for wrong in (3, -1, -2):
        with pytest.raises(
            ComposirError, match=rf"query 1 names gallery row {wrong} among its targets; rows are 0\.\.2"
        ):
            ranking(query, gallery, [[0], [1, wrong]], 1)
        with pytest.raises(ComposirError, match=rf"query 0 names gallery row {wrong} among its members"):
            subset_ranking(query, gallery, [[0, wrong], [1]], [[0], [1]])
    with pytest.raises(ComposirError, match="query 1 names gallery row 2 twice among its targets"):
        ranking(query, gallery, [[0], [2, 1, 2]], 1)
    with pytest.raises(ComposirError, match="query 0 names gallery row 1 twice among its members"):
        subset_ranking(query, gallery, [[1, 1], [0]], [[], []])
    with pytest.raises(ComposirError, match="query 1 asks for the rank of gallery row 2, which it also drops"):
        ranking(query, gallery, [[0], [1, 2]], 1, [-1, 2])
    with pytest.raises(ComposirError, match="query 1 asks for the rank of gallery row 2, which it also drops"):
        subset_ranking(query, gallery, [[0], [1, 2]], [[0], [2]], [-1, 2])
    with pytest.raises(ComposirError, match=r"query 1: its first target, gallery row 2, is not among its own"):
        subset_ranking(query, gallery, [[0], [1]], [[0], [2, 1]])
    with pytest.raises(ComposirError, match=r"drop = \[0\] does not fit"):
        subset_ranking(query, gallery, [[0], [1]], [[], []], [0])


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("broken", ["query", "gallery"])
def test_a_broken_embedding_is_refused(broken, value):
    query, gallery = units(3, 1, 4).abs(), units(600, 1, 4).abs()
    {"query": query, "gallery": gallery}[broken][2] = value
    for targets in ([[2], [2], [2]], [[1], [3], [4]]):
        with pytest.raises(ComposirError, match="not a number"):
            ranking(query, gallery, targets, 2)
    with pytest.raises(ComposirError, match="not a number"):
        subset_ranking(query, gallery, [[1], [4, 2], [0, 2]], [[], [], []])


def test_the_callers_tensors_stay_as_they_are():
    query, gallery = units(3, 1, 4), units(6, 1, 4, seed=1)
    before = query.clone(), gallery.clone()
    ranking(query, gallery, [[1], [2], [3]], 2, [0, 1, 2])
    subset_ranking(query, gallery, [[0, 1], [1, 2], [2, 3]], [[1], [2], [3]], [0, 1, 2])
    assert torch.equal(query, before[0])
    assert torch.equal(gallery, before[1])


def test_learnable_vectors_are_ranked_too():
    query = units(2, 1, 4).requires_grad_()
    assert ranking(query, units(5, 1, 4, seed=1), [[0], [1]], 2).rows.shape == (2, 2)
