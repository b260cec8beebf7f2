"""Scores, top-k and ranks against slow obvious loops; mostly on small whole numbers: ties are common, sums exact."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from composir.errors import ComposirError
from composir.similarity import RANK_BYTES, maxsim, paired_scores, target_ranks, top_k
from composir.similarity import scores as scoring


def slow_score(query, item) -> float:
    """Mean over query vectors of the max over item vectors of the inner product, one number at a time."""
    best = [max(sum(a * b for a, b in zip(s, t, strict=True)) for t in item) for s in query]
    return sum(best) / len(best)


def slow_ranking(query, gallery, dropped: int = -1) -> list[tuple[float, int]]:
    """Every (score, row) but the dropped one, best first; Python's sort is stable, so ties keep gallery order."""
    scored = [(slow_score(query, item), row) for row, item in enumerate(gallery) if row != dropped]
    return sorted(scored, key=lambda pair: -pair[0])


@st.composite
def problems(draw):
    """Queries, gallery, drops and a cut-off. Whole numbers within -2..2 make ties common and every sum exact.

    S is a power of two, so that the mean over it is exact too.
    """
    q, s, n, t, d = (draw(st.integers(1, top)) for top in (4, 1, 12, 3, 3))
    s = draw(st.sampled_from((1, 2, 4)))
    whole = st.integers(-2, 2)
    query = draw(st.lists(whole, min_size=q * s * d, max_size=q * s * d))
    gallery = draw(st.lists(whole, min_size=n * t * d, max_size=n * t * d))
    drop = draw(st.none() | st.lists(st.integers(-1, n - 1), min_size=q, max_size=q))
    return (
        torch.tensor(query, dtype=torch.float32).reshape(q, s, d),
        torch.tensor(gallery, dtype=torch.float32).reshape(n, t, d),
        drop,
        draw(st.integers(1, n + 3)),
    )


def units(*shape: int, seed: int = 0) -> torch.Tensor:
    return F.normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


@given(problems())
def test_maxsim_is_the_loop(problem):
    query, gallery, _, _ = problem
    expected = [[slow_score(q, g) for g in gallery.tolist()] for q in query.tolist()]
    assert maxsim(query, gallery).tolist() == expected


@given(problems(), st.sampled_from((1, 400, 4000, RANK_BYTES)))
def test_top_k_is_the_sorted_loop(problem, memory):
    query, gallery, drop, k = problem
    scores, rows = top_k(query, gallery, k, drop, memory=memory)
    n = len(gallery)
    kept = min(k, n - 1 if drop and max(drop) >= 0 else n)
    assert rows.shape == scores.shape == (len(query), kept)
    for i, q in enumerate(query.tolist()):
        expected = slow_ranking(q, gallery.tolist(), drop[i] if drop else -1)[:kept]
        assert list(zip(scores[i].tolist(), rows[i].tolist(), strict=True)) == expected


@given(problems(), st.sampled_from((1, 400, 4000, RANK_BYTES)))
def test_target_ranks_are_places_in_the_full_ranking(problem, memory):
    query, gallery, drop, _ = problem
    for target in range(len(gallery)):
        wanted = [i for i in range(len(query)) if not drop or drop[i] != target]
        if not wanted:
            continue
        dropped = [drop[i] for i in wanted] if drop else None
        ranks = target_ranks(query[wanted], gallery, torch.full((len(wanted),), target), dropped, memory=memory)
        for place, i in enumerate(wanted):
            ranking = slow_ranking(query[i].tolist(), gallery.tolist(), drop[i] if drop else -1)
            assert ranks[place] == 1 + [row for _, row in ranking].index(target)
            if not drop or max(dropped) < 0:
                _, rows = top_k(query[i : i + 1], gallery, len(gallery))
                assert rows[0, ranks[place] - 1] == target


@given(problems())
def test_paired_scores_are_the_loop(problem):
    query, gallery, _, k = problem
    items = torch.stack([gallery.roll(i, 0)[:k] for i in range(len(query))])
    expected = [[slow_score(q, g) for g in own] for q, own in zip(query.tolist(), items.tolist(), strict=True)]
    assert paired_scores(query, items).tolist() == expected


@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (5, 2)])
def test_one_vector_an_item_is_the_inner_product(shape):
    query, gallery = units(shape[0], 1, 16), units(40, 1, 16, seed=1)
    plain = query[:, 0] @ gallery[:, 0].T
    assert torch.allclose(maxsim(query, gallery), plain, atol=1e-6)
    scores, rows = top_k(query, gallery, 7)
    expected = plain.topk(7)
    assert torch.equal(rows, expected.indices)
    assert torch.allclose(scores, expected.values, atol=1e-6)


def test_t_vectors_need_a_plain_search_over_k_minus_1_times_t_plus_1_rows():
    """What architecture.md promises of any vector library: the best rows grouped by image hold the k best images."""
    query, gallery, k = units(6, 1, 8), units(30, 4, 8, seed=1), 5
    flat = query[:, 0] @ gallery.reshape(-1, 8).T
    _, expected = top_k(query, gallery, k)
    for i, row in enumerate(flat):
        images = (row.topk((k - 1) * 4 + 1).indices // 4).tolist()
        assert list(dict.fromkeys(images))[:k] == expected[i].tolist()


def test_scores_of_unit_vectors_stay_within_one():
    scores = maxsim(units(9, 3, 32), units(50, 5, 32, seed=1))
    assert scores.abs().max() <= 1 + 1e-6
    same = units(4, 1, 32)
    assert torch.allclose(maxsim(same, same).diagonal(), torch.ones(4), atol=1e-6)


@pytest.mark.parametrize(("q", "n"), [(1, 5), (1, 17), (1, 257), (2, 33), (33, 7), (1, 1000)])
@pytest.mark.parametrize("d", [16, 128, 256, 300])
def test_equal_gallery_vectors_have_equal_scores_wherever_they_stand(q, n, d):
    """Random reals this time. BLAS sums a single row's products in an order that depends on the column."""
    gallery = units(1, 1, d, seed=3).expand(n, 1, d).contiguous()
    query = units(q, 1, d, seed=4)
    assert (maxsim(query, gallery) == maxsim(query, gallery)[:, :1]).all()
    assert torch.equal(top_k(query, gallery, n)[1], torch.arange(n).expand(q, n))
    assert (target_ranks(query, gallery, torch.full((q,), n - 1)) == n).all()
    if n > 200:  # and in several chunks, as long as these are not tiny
        _, rows = top_k(query, gallery, n, memory=16 * d * 70)
        assert torch.equal(rows, torch.arange(n).expand(q, n))


def test_ties_hold_whatever_sums_the_products(monkeypatch):
    """As if every place of the matrix had an order of summation of its own, on any processor."""
    true = scoring._products

    def uneven(query, gallery):
        found = true(query, gallery)
        return found + 1e-7 * torch.arange(found.shape[1])

    monkeypatch.setattr(scoring, "_products", uneven)
    gallery = units(40, 2, 16).repeat(3, 1, 1)
    query = units(7, 2, 16, seed=1)
    scores = maxsim(query, gallery)
    assert torch.equal(scores[:, :40].repeat(1, 3), scores)
    _, rows = top_k(query, gallery, 120, memory=20_000)  # in several chunks
    expected = [sorted(own[i : i + 3]) for own in rows.tolist() for i in range(0, 120, 3)]
    assert [own[i : i + 3] for own in rows.tolist() for i in range(0, 120, 3)] == expected
    assert all(row % 40 == own[0] % 40 for own in expected for row in own)


def test_chunks_give_the_same_answer_on_real_numbers():
    query, gallery = units(7, 2, 24), units(101, 3, 24, seed=1)
    scores, rows = top_k(query, gallery, 20)
    for memory in (1, 4000, 40_000, 400_000):
        other_scores, other_rows = top_k(query, gallery, 20, memory=memory)
        # Another shape of the product may be summed in another order, hence not equal to the last bit.
        assert torch.allclose(other_scores, scores, atol=1e-6)
        assert torch.equal(other_rows, rows)
        ranks = target_ranks(query, gallery, rows[:, 4], memory=memory)
        assert ranks.tolist() == [5] * 7


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_scored_in_single(kind):
    query, gallery = units(3, 1, 64).to(kind), units(20, 2, 64, seed=1).to(kind)
    scores, rows = top_k(query, gallery, 5)
    assert scores.dtype == torch.float32
    expected_scores, expected = top_k(query.float(), gallery.float(), 5)
    assert torch.equal(scores, expected_scores)
    assert torch.equal(rows, expected)
    assert torch.equal(target_ranks(query, gallery, rows[:, 2]), torch.full((3,), 3))
    # A half-precision product would be off by about 1e-3.
    assert torch.allclose(scores[0, 0].double(), max((query[0].double() @ g.double().T).amax() for g in gallery))


def test_a_half_precision_gallery_is_never_converted_as_a_whole(monkeypatch):
    converted = []
    true = torch.Tensor.float
    monkeypatch.setattr(torch.Tensor, "float", lambda t: converted.append(4 * t.numel()) or true(t))
    query, gallery = units(1, 1, 64), units(500, 1, 64).half()
    top_k(query, gallery, 3, memory=32_768)
    target_ranks(query, gallery, torch.tensor([3]), memory=32_768)
    assert max(converted) <= 8192  # a quarter; the rest is for scores and their order
    assert sum(converted) >= 2 * 4 * gallery.numel(), "the recorder sees nothing"


def recorded(monkeypatch) -> list[tuple[int, int]]:
    """How many queries and gallery rows each product had from here on."""
    seen = []
    true = scoring._products
    monkeypatch.setattr(scoring, "_products", lambda q, g: seen.append((len(q), len(g))) or true(q, g))
    return seen


def test_chunks_are_even(monkeypatch):
    seen = recorded(monkeypatch)
    top_k(units(1, 1, 8), units(101, 2, 8), 3, memory=4 * 4 * 1 * (2 + 2) * 100)
    assert seen == [(1, 51), (1, 50)]


def test_queries_are_scored_in_even_blocks(monkeypatch):
    seen = recorded(monkeypatch)
    monkeypatch.setattr(scoring, "QUERIES", 100)
    top_k(units(101, 2, 8), units(5, 1, 8), 3)
    assert seen == [(51, 5), (50, 5)]


def test_more_queries_than_are_scored_at_once(monkeypatch):
    query, gallery = units(11, 1, 8), units(30, 1, 8, seed=1)
    drop = [i if i % 2 else -1 for i in range(11)]
    target = torch.arange(11) + 15
    whole, ranks = top_k(query, gallery, 4, drop), target_ranks(query, gallery, target, drop)
    monkeypatch.setattr(scoring, "QUERIES", 3)
    scores, rows = top_k(query, gallery, 4, drop)
    assert torch.allclose(scores, whole[0], atol=1e-6)
    assert torch.equal(rows, whole[1])
    assert torch.equal(target_ranks(query, gallery, target, drop), ranks)


def test_products_of_many_queries_stay_in_their_chunk(monkeypatch):
    seen = recorded(monkeypatch)
    top_k(units(50, 2, 8), units(300, 2, 8, seed=1), 3, memory=80_000)
    assert len(seen) > 5
    assert max(4 * q * 2 * n * 2 for q, n in seen) <= 20_000


def test_more_than_there_are():
    query, gallery = units(2, 1, 4), units(3, 1, 4, seed=1)
    assert top_k(query, gallery, 99)[1].shape == (2, 3)
    assert top_k(query, gallery, 99, [-1, -1])[1].shape == (2, 3)
    scores, rows = top_k(query, gallery, 99, [2, -1])
    assert rows.shape == (2, 2)
    assert 2 not in rows[0].tolist()
    assert scores.isfinite().all()


def test_nothing_to_return():
    query = units(2, 1, 4)
    assert top_k(query, torch.zeros(0, 1, 4), 5)[1].shape == (2, 0)
    assert top_k(query, units(1, 1, 4), 5, [0, 0])[1].shape == (2, 0)
    assert top_k(query[:0], units(3, 1, 4), 2)[1].shape == (0, 2)
    assert target_ranks(query[:0], units(3, 1, 4), torch.zeros(0, dtype=torch.long)).shape == (0,)


@pytest.mark.parametrize("k", [0, -3])
def test_k_below_one_is_refused(k):
    with pytest.raises(ComposirError, match=rf"k = {k}; at least 1"):
        top_k(units(2, 1, 4), units(3, 1, 4), k)


@pytest.mark.parametrize("drop", [[0], [0, 1, 2], [0, 3], [-2, 0]])
def test_drop_that_does_not_fit_is_refused(drop):
    query, gallery = units(2, 1, 4), units(3, 1, 4)
    with pytest.raises(ComposirError, match=r"drop = .*-1\.\.2"):
        top_k(query, gallery, 1, drop)
    with pytest.raises(ComposirError, match=r"drop = .*-1\.\.2"):
        target_ranks(query, gallery, torch.tensor([1, 1]), drop)


def test_the_rank_of_a_dropped_row_is_refused():
    with pytest.raises(ComposirError, match="query 1 asks for the rank of gallery row 2"):
        target_ranks(units(2, 1, 4), units(3, 1, 4), torch.tensor([2, 2]), [0, 2])


@pytest.mark.parametrize("broken", ["query", "gallery"])
def test_a_broken_embedding_is_an_error_and_not_rank_1(broken):
    query, gallery = units(3, 1, 4), units(6, 1, 4)
    {"query": query, "gallery": gallery}[broken][-1] = math.nan
    for memory in (1, RANK_BYTES):
        with pytest.raises(ComposirError, match="is not a number"):
            top_k(query, gallery, 2, memory=memory)
        with pytest.raises(ComposirError, match="is not a number"):
            target_ranks(query, gallery, torch.tensor([0, 1, 2]), memory=memory)


def test_the_callers_tensors_stay_as_they_are():
    query, gallery = units(3, 1, 4), units(6, 1, 4, seed=1)
    before = query.clone(), gallery.clone()
    top_k(query, gallery, 2, [0, 1, 2])
    target_ranks(query, gallery, torch.tensor([0, 1, 2]), [1, 2, 3])
    assert torch.equal(query, before[0])
    assert torch.equal(gallery, before[1])


def test_gradients_flow_through_maxsim():
    query, gallery = units(1, 2, 4).requires_grad_(), units(1, 3, 4, seed=1).requires_grad_()
    assert torch.autograd.gradcheck(maxsim, (query.double(), gallery.double()))


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(1, 45), st.integers(0, 2**32 - 1))
def test_large_ties_at_the_cut(n, k, seed):
    """Scores 0 and 1 only, so that the cut nearly always falls among equals."""
    generator = torch.Generator().manual_seed(seed)
    gallery = torch.randint(0, 2, (n, 1, 1), generator=generator).float()
    for memory in (160, RANK_BYTES):
        _, rows = top_k(torch.ones(2, 1, 1), gallery, k, memory=memory)
        expected = sorted(range(n), key=lambda row: -gallery[row].item())[:k]
        assert rows.tolist() == [expected, expected]
