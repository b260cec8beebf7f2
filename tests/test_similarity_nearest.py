"""The exact search of one query against the slow obvious loop."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import composir.kernels
from composir.errors import ComposirError
from composir.kernels import BLOCK, WIDTH, available, scanner
from composir.similarity.nearest import Nearest, Products, Wanted, reaching
from composir.similarity.quantized import Codes


def slow(vectors, wanted, k, rows, drop):
    """One loop over all rows in double precision."""
    scored = []
    for row in rows:
        if row in drop:
            continue
        score = 0.0
        for vector, weight in zip(wanted.vectors.astype(float), wanted.weights, strict=True):
            score += weight * max(float((vector * own.astype(float)).sum()) for own in vectors[row])
        scored.append((-score, row))
    return sorted(scored)[:k]


def random(seed, n, t, d, twins):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, t, d)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    for _ in range(twins):
        vectors[rng.integers(n)] = vectors[rng.integers(n)]
    return rng, vectors.astype(np.float16)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 300),
    t=st.sampled_from([1, 1, 4, 32]),
    s=st.integers(1, 3),
    k=st.integers(1, 80),
    share=st.sampled_from([None, 0.02, 0.5]),
    dropped=st.integers(0, 3),
    scorer=st.sampled_from([Products, Codes]),
)
def test_the_best_are_those_of_the_slow_loop(seed, n, t, s, k, share, dropped, scorer):
    rng, vectors = random(seed, n, t, 24, twins=n // 3)
    wanted = Wanted.of(rng.normal(size=(s, 24))).plus(-0.4, rng.normal(size=(1, 24)))
    rows = None if share is None else np.flatnonzero(rng.random(n) < share)
    drop = rng.integers(n, size=dropped).tolist()
    found, scores = Nearest(vectors, scorer(vectors)).best(wanted, k, rows, drop)
    meant = wanted if t > 1 else wanted.merged()  # of single precision: what ranks is this vector, rounded
    expected = slow(vectors, meant, k, range(n) if rows is None else rows.tolist(), drop)
    # Twins tie exactly and come in gallery order; others lie much further apart than the last of 53 bits.
    assert found.tolist() == [row for _, row in expected]
    np.testing.assert_allclose(scores, [-score for score, _ in expected], rtol=0, atol=1e-12)
    plainly = slow(vectors, wanted, k, range(n) if rows is None else rows.tolist(), drop)
    np.testing.assert_allclose(scores, [-score for score, _ in plainly], atol=1e-6)


@pytest.mark.parametrize("width", [64, 256, 512])
def test_the_ids_are_those_of_numpy_in_double_precision(width):
    """Thirty thousand rows, a tenth of them twins: the scan of codes as a gallery of this size is searched."""
    rng, vectors = random(3, 30_000, 1, width, twins=3000)
    nearest = Nearest(vectors, Codes(vectors))
    plain = vectors[:, 0].astype(np.float64)
    for _ in range(10):
        query = (plain[rng.integers(len(plain))] + 0.05 * rng.normal(size=width)).astype(np.float32)
        scores = plain @ query.astype(np.float64)
        assert nearest.best(Wanted.of(query[None]), 50)[0].tolist() == _ordered(scores, plain)


def _ordered(scores, rows):
    """The fifty best; BLAS may sum equal rows differently, so that those have one score here: that of the first."""
    near = np.flatnonzero(scores >= np.sort(scores)[-60])
    first = {rows[row].tobytes(): row for row in near[::-1]}
    return sorted(near.tolist(), key=lambda row: (-scores[first[rows[row].tobytes()]], row))[:50]


@given(
    seed=st.integers(0, 2**32 - 1),
    t=st.sampled_from([1, 3]),
    dropped=st.integers(0, 4),
    scorer=st.sampled_from([Products, Codes]),
)
def test_ranks_are_the_places_in_the_whole_ranking(seed, t, dropped, scorer):
    rng, vectors = random(seed, 120, t, 8, twins=60)
    wanted, nearest = Wanted.of(rng.normal(size=(2, 8))), Nearest(vectors, scorer(vectors))
    rows, drop = np.flatnonzero(rng.random(120) < 0.7), rng.integers(120, size=dropped).tolist()
    order = nearest.best(wanted, 120, rows, drop)[0].tolist()
    expected = [order.index(row) + 1 if row in order else 0 for row in range(120)]
    assert nearest.ranks(wanted, np.arange(120), rows, drop).tolist() == expected


@pytest.mark.parametrize("width", [64, 9000])
def test_a_score_does_not_depend_on_what_else_is_there(width):
    rng, vectors = random(1, 500, 1, width, twins=0)
    wanted = Wanted.of(rng.normal(size=(1, width)))
    alone = [Nearest(vectors[i : i + 1]).best(wanted, 1)[1][0] for i in range(500)]
    rows, scores = Nearest(vectors).best(wanted, 500)
    assert scores.tolist() == [alone[row] for row in rows]


@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.sampled_from([1e-44, 1e-41, 1e-30, 1e-12, 1e12, 1e30]),
    t=st.sampled_from([1, 2]),
    scorer=st.sampled_from([Products, Codes]),
)
def test_the_length_of_a_query_changes_no_order(seed, size, t, scorer):
    """Single precision holds neither the products of the smallest nor those of the largest numbers it knows."""
    rng, vectors = random(seed, 150, t, 24, twins=50)
    wanted = Wanted.of((rng.normal(size=(1, 24)) * size).astype(np.float32))
    nearest = Nearest(vectors, scorer(vectors))
    true = nearest.scores(wanted, np.arange(150))
    expected = sorted(range(150), key=lambda row: (-true[row], row))
    assert nearest.best(wanted, 20)[0].tolist() == expected[:20]
    assert nearest.ranks(wanted, np.array(expected)).tolist() == list(range(1, 151))


@given(seed=st.integers(0, 2**32 - 1), error=st.floats(0, 0.5), k=st.integers(1, 40))
def test_no_row_within_the_error_is_missed(seed, error, k):
    """True scores lie anywhere within the bound; the k best of them must be among those that are kept."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=4000)
    quick = (true + rng.uniform(-error, error, 4000)).astype(np.float32)
    kept = set(reaching(quick, k, error * (1 + 1e-6) + 1e-6).tolist())
    assert set(np.argsort(-true)[:k].tolist()) <= kept
    assert len(kept) < 4000 or error > 0.3


@pytest.mark.parametrize(("scorer", "limit"), [(Products, 200), (Codes, 1000)])
def test_few_rows_are_scored_truly(scorer, limit):
    """Otherwise the quick pass were for nothing."""
    rng, vectors = random(2, 20_000, 1, 64, twins=0)
    wanted = Wanted.of(rng.normal(size=(1, 64))).merged()
    quick = scorer(vectors)(wanted)
    assert len(reaching(quick.scores, 50, quick.error, quick.peaks)) <= limit
    assert len(Nearest(vectors, scorer(vectors))._candidates(wanted, 50, None, ())) <= limit


def test_the_fine_pass_is_for_what_the_rough_one_leaves(monkeypatch):
    """In a collection of clusters that is little, and of it few rows are scored truly."""
    rng, centres = random(5, 20, 1, 64, twins=0)
    vectors = centres[rng.integers(20, size=20_000)] + 0.7 * random(6, 20_000, 1, 64, twins=0)[1]
    vectors = (vectors / np.linalg.norm(vectors, axis=2, keepdims=True)).astype(np.float16)
    wanted, asked = Wanted.of(vectors[7].astype(np.float32)), []
    fine = Codes._fine
    monkeypatch.setattr(Codes, "_fine", lambda own, query, some: asked.append(len(some)) or fine(own, query, some))
    kept = Nearest(vectors, Codes(vectors))._candidates(wanted, 50, None, ())
    assert 50 <= asked[0] <= 200  # the first by rough scores, for the bound
    assert len(kept) <= 200 < asked[1] <= 1500


@given(
    seed=st.integers(0, 2**32 - 1),
    spread=st.floats(1e-3, 100),
    shift=st.floats(-2, 2),
    t=st.sampled_from([1, 2]),
    scorer=st.sampled_from([Products, Codes]),
)
def test_the_bound_on_the_error_holds(seed, spread, shift, t, scorer):
    """Whatever the dimensions' ranges are: one large, one constant, far from zero."""
    rng = np.random.default_rng(seed)
    scales = np.array([spread, 1, 1, 0, 1e-3, 1, 1, 1])
    vectors = (rng.normal(size=(200, t, 8)) * scales + shift).astype(np.float16)
    wanted = Wanted.of(rng.normal(size=(1, 8))).plus(-0.3, rng.normal(size=(1, 8)))
    wanted = wanted.merged() if t == 1 else wanted
    quick = scorer(vectors)(wanted)
    true = Nearest(vectors).scores(wanted, np.arange(200))
    assert np.abs(quick.scores.astype(float) + quick.offset - true).max() <= quick.error
    rough, some = scorer(vectors).rough(wanted), np.flatnonzero(rng.random(200) < 0.4)
    assert np.abs(rough.scores.astype(float) + rough.offset - true).max() <= rough.error
    finer = scorer(vectors)(wanted, some)
    assert np.abs(finer.scores.astype(float) + finer.offset - true[some]).max(initial=0) <= finer.error
    assert rough.rough == (t == 1 and scorer is Codes)
    if rough.rough:
        assert rough.peaks.tolist()[:3] == rough.scores[: 3 * BLOCK].reshape(3, BLOCK).max(axis=1).tolist()


def test_a_vector_that_is_not_finite_has_no_code():
    with pytest.raises(ComposirError, match="not finite"):
        Codes(np.full((3, 1, 8), np.nan, np.float16))


@pytest.mark.parametrize("width", [1, 256, 1024, 8192])
def test_the_bound_holds_whatever_the_width(width):
    """The largest sums there can be: all codes at their end, the query as long as it gets in every dimension."""
    ends = np.ones((4, 1, width), np.float16)
    ends[1] = -1
    ends[2, 0, ::2] = -1
    ends[3] = 0
    for sign in (1.0, -1.0):
        wanted = Wanted.of(np.full((1, width), sign))
        true = Nearest(ends).scores(wanted, np.arange(4))
        for quick, most in ((Codes(ends)(wanted), 1e-3), (Codes(ends).rough(wanted), 0.1)):
            assert np.abs(quick.scores.astype(float) + quick.offset - true).max() <= quick.error < most * width


def test_a_query_of_nothing_scores_nothing():
    quick = Codes(random(4, 5, 1, 8, twins=0)[1])(Wanted.of(np.zeros((1, 8))))
    assert (quick.scores == 0).all()
    assert quick.error == 0


def test_without_the_extra_the_command_is_told(monkeypatch):
    scanner()
    monkeypatch.setitem(sys.modules, "numba", None)
    monkeypatch.delitem(sys.modules, "composir.kernels.scan")
    monkeypatch.delattr(composir.kernels, "scan")
    assert not available()
    with pytest.raises(ComposirError, match=r"pip install 'composir\[scale\]'"):
        Codes(np.ones((3, 1, 8), np.float16))


@pytest.mark.parametrize("kind", ["plain", "avx2", "vnni"])
@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 3), steps=st.sampled_from([1, 2, 5]), ends=st.booleans())
def test_the_scans_sum_as_the_slow_loop_does(kind, seed, blocks, steps, ends):
    if kind != "plain" and not getattr(scanner(), kind.upper()):
        pytest.skip(f"this processor has no products of bytes ({kind})")
    rng, scan, width = np.random.default_rng(seed), scanner(), steps * WIDTH
    upper, lower = (rng.choice([0, 255], (blocks * BLOCK, width)).astype(np.uint8) if ends else
                    rng.integers(0, 256, (blocks * BLOCK, width), dtype=np.uint8) for _ in range(2))  # fmt: skip
    digits = (rng.choice([-127, 127], (4, width)) if ends else rng.integers(-127, 128, (4, width))).astype(np.int8)
    rows = rng.integers(len(upper), size=70)
    first, second = digits.reshape(2, -1).astype(np.int64)
    high, low = (np.concatenate([own & 15, own >> 4], axis=1).astype(np.int64) for own in (upper, lower))
    expected = ((32 * (high @ first) - 77) * np.float32(0.5)).astype(np.float32)
    codes = 16 * high + low
    finely = ((256 * (codes @ first) + codes @ second - 5) * 1e-3).astype(np.float32)[rows]
    scores, peaks, some = np.empty(len(upper), np.float32), np.empty(blocks, np.float32), np.empty(70, np.float32)
    getattr(scan, f"_rough_{kind}")(upper, digits[:2], np.int32(77), np.float32(0.5), scores, peaks)
    fine = scan._fine_vnni if kind == "vnni" else scan._fine_plain
    fine(upper, lower, digits, np.int64(5), 1e-3, rows, some)
    assert scores.tolist() == expected.tolist()
    assert peaks.tolist() == expected.reshape(blocks, BLOCK).max(axis=1).tolist()
    assert some.tolist() == finely.tolist()


NOWHERE = """
import numba.core.caching as caching
caching.CacheImpl._locator_classes = []
import numpy as np
from composir.similarity.nearest import Nearest, Wanted
from composir.similarity.quantized import Codes
vectors = np.eye(8, dtype=np.float16)[:, None]
print(Nearest(vectors, Codes(vectors)).best(Wanted.of(np.eye(8)[3:4]), 1)[0][0])
"""


@pytest.mark.long
def test_it_searches_where_nothing_compiled_can_be_kept():
    """In a container with a user who owns nothing."""
    done = subprocess.run([sys.executable, "-c", NOWHERE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "3\n"), done.stderr


def test_small_galleries_load_no_compiler():
    code = (
        "import sys; import numpy as np; from composir.gallery.part import Part; import pyarrow as pa;"
        "p = Part.made(['a' * 32], np.ones((1, 1, 4), np.float16), pa.table({'id': ['a' * 32], 'path': ['x']}),"
        "pa.table({'path': pa.array([], pa.string())})); p.nearest; print('numba' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout == "False\n", done.stderr


def test_what_does_not_fit_is_refused():
    _, vectors = random(3, 10, 1, 8, twins=0)
    with pytest.raises(ComposirError, match="width 4 for a gallery of width 8"):
        Nearest(vectors).best(Wanted.of(np.ones((1, 4))), 1)
    with pytest.raises(ComposirError, match="k = 0"):
        Nearest(vectors).best(Wanted.of(np.ones((1, 8))), 0)
    vectors[4] = np.nan
    with pytest.raises(ComposirError, match="not finite"):
        Nearest(vectors)
    with pytest.raises(ComposirError, match="not a number"):
        Nearest(np.ones((3, 1, 8), np.float16)).best(Wanted.of(np.full((1, 8), np.inf)), 1)
