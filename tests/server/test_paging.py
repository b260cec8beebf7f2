"""Pages of one ranking: nothing twice, nothing left out, whatever is searched in part, folded, forged, or added."""

from __future__ import annotations

import base64
import time
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from composir.gallery.columns import Columns
from composir.gallery.part import Ids, Part, Paths
from composir.gallery.search import Shelf
from composir.server.answering import paging
from composir.server.answering.marks import SEEN, Mark, Seal
from composir.server.answering.paging import TOP, Pages
from composir.server.answering.ranking import Scored, Searched
from composir.server.service import StaleCursorError
from composir.similarity.approximate import Approximate
from composir.similarity.nearest import Wanted

DIGEST = "ab" * 12


def shelf_of(vectors: np.ndarray, first: int = 0, step: int = 2, **more) -> Shelf:
    """A shelf whose ids begin with `first`, `first + step`, ..."""
    count = len(vectors)
    ids = Ids.of([f"{first + step * n:012x}{0:020x}" for n in range(count)])
    paths = Paths(pa.array([f"{first + step * n}.jpg" for n in range(count)]), np.ones(count, np.int64))
    columns = Columns(pa.table({"__row": pa.array(np.arange(count))}))
    part = Part(ids, paths, vectors[:, None].astype(np.float16), columns)
    return Shelf(part, {}, **more)


def unit(rng, count: int, width: int = 16) -> np.ndarray:
    vectors = rng.normal(size=(count, width))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def scroll(pages: Pages, k: int, most: int = 10**9) -> list[int]:
    seal, mark, rows = Seal("key"), TOP, []
    for _ in range(most):
        page = pages.page(k, mark)
        rows += [own.row for own in page.shown]
        if page.mark is None:
            break
        cursor = seal.write(replace(page.mark, digest=DIGEST))
        assert len(cursor) <= 1024
        mark = seal.read(cursor, DIGEST, len(pages.shelf))
        assert mark.rank == len(rows)
    return rows


@pytest.mark.long
@pytest.mark.parametrize("added", [0, 300])
def test_ten_pages_of_a_search_in_part_are_the_best_of_the_exact_one(added):
    rng = np.random.default_rng(0)
    vectors = unit(rng, 5000)
    shelf = shelf_of(vectors)
    searcher = Approximate(shelf.base.nearest)
    searcher.index.nprobe = 1  # so that much is missed
    if added:
        shelf = replace(shelf, added=shelf_of(unit(rng, added), first=1).base)
    for _ in range(5):
        wanted = Wanted.of(unit(rng, 1).astype(np.float32))
        pages = Pages(shelf, Searched(shelf, shelf.searched(searcher), wanted, True))
        exact = shelf.nearest.best(wanted, len(shelf))[0].tolist()
        found = scroll(pages, 24, 10)
        first = found[:24]
        assert first != exact[:24]
        assert len(found) == len(set(found)) == 240
        assert set(found) == set(first) | {*[row for row in exact if row not in set(first)][:216]}
        whole = scroll(pages, SEEN)
        assert sorted(whole) == list(range(len(shelf)))


@pytest.mark.parametrize("partial", [False, True])
def test_what_is_added_meanwhile_moves_nothing(partial):
    rng = np.random.default_rng(1)
    vectors = unit(rng, 3000)
    before = shelf_of(vectors)
    after = replace(before, added=shelf_of(unit(rng, 200), first=1).base)
    searcher = Approximate(before.base.nearest) if partial else before.base.nearest
    if partial:
        searcher.index.nprobe = 1
    wanted, shown, mark = Wanted.of(unit(rng, 1).astype(np.float32)), [], TOP
    for number in range(60):
        shelf = before if number < 3 else after
        page = Pages(shelf, Searched(shelf, shelf.searched(searcher), wanted, partial)).page(100, mark)
        shown += [own.row for own in page.shown]
        if (mark := page.mark) is None:
            break
    assert len(shown) == len(set(shown))
    assert set(range(3000)) <= set(shown)


@pytest.mark.parametrize("kind", ["searched", "scored"])
def test_equal_scores_are_parted_by_id(kind):
    vectors = np.repeat(unit(np.random.default_rng(2), 4), 25, axis=0)
    shelf = shelf_of(vectors)
    shelf = replace(shelf, added=shelf_of(vectors[::5], first=1).base)
    wanted = Wanted.of(vectors[:1].astype(np.float32))
    scores = shelf.nearest.scores(wanted, np.arange(len(shelf)))
    ranker = Searched(shelf, shelf.nearest, wanted, False) if kind == "searched" else Scored(scores, shelf)
    found = scroll(Pages(shelf, ranker), 7)
    assert found == sorted(range(len(shelf)), key=lambda row: (-scores[row], shelf.ids[row]))
    odd = np.arange(1, len(shelf), 2)
    assert scroll(Pages(shelf, ranker, odd, [3, 5]), 7) == [row for row in found if row % 2 and row not in (3, 5)]


@pytest.mark.parametrize("k", [7, 40])
def test_beyond_so_many_pictures_nothing_is_folded(monkeypatch, k):
    monkeypatch.setattr(paging, "FOLDED", 50)
    vectors = np.repeat(unit(np.random.default_rng(3), 40), 3, axis=0)
    shelf = shelf_of(vectors)
    wanted = Wanted.of(vectors[:1].astype(np.float32))
    order = shelf.nearest.best(wanted, 120)[0].tolist()
    found = scroll(Pages(shelf, Searched(shelf, shelf.nearest, wanted, False), alike=0.99), k)
    assert found == [*order[:50:3], *order[50:]]


@pytest.mark.parametrize("alike", [None, 0.999])
def test_a_deep_mark_costs_no_more_than_a_shallow_one(alike):
    """A forged rank: what is computed does not follow it, so the work is that of any page."""
    rng = np.random.default_rng(4)
    shelf = shelf_of(unit(rng, 30_000))
    wanted = Wanted.of(unit(rng, 1).astype(np.float32))
    asked = []

    class Watched(Searched):
        def best(self, k, rows, drop):
            asked.append(k)
            return super().best(k, rows, drop)

    pages = Pages(shelf, Watched(shelf, shelf.nearest, wanted, False), alike=alike)
    start = time.monotonic()
    page = pages.page(10, Mark("", 2**39, -1e300, "f" * 32))
    assert page.shown == []
    assert max(asked, default=0) <= paging.FOLDED
    assert time.monotonic() - start < 30


def test_a_cursor_is_signed():
    mark = Mark(DIGEST, 7, 0.25, "3f" * 16, frozenset({"0" * 12, "1" * 12}))
    cursor = Seal("key", ["a" * 16]).write(mark)
    read = lambda seal, told=cursor, digest=DIGEST: seal.read(told, digest, 100)  # noqa: E731
    assert read(Seal("key", ["a" * 16])) == mark  # after a restart, in another process
    assert read(Seal("key", ["b" * 16, "a" * 16])) == mark  # while keys are changed
    for other in (Seal("key"), Seal("yek", ["a" * 16]), Seal("key", ["b" * 16])):
        with pytest.raises(StaleCursorError, match="not one of this server's"):
            read(other)
    raw = bytearray(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        with pytest.raises(StaleCursorError, match="not one of this server's"):
            read(Seal("key", ["a" * 16]), base64.urlsafe_b64encode(changed).decode().rstrip("="))
    for told in ("A", "AAAA", "-" * 1024):
        with pytest.raises(StaleCursorError, match="not one of this server's"):
            read(Seal("key"), told)
    with pytest.raises(StaleCursorError, match="another query"):
        read(Seal("key", ["a" * 16]), digest="cd" * 12)


@pytest.mark.parametrize("rank", [0, 101, 2**39])
def test_a_rank_beyond_the_gallery_is_refused(rank):
    seal = Seal("key")
    with pytest.raises(StaleCursorError, match="the gallery has 100 pictures"):
        seal.read(seal.write(Mark(DIGEST, rank, 0.5, "0" * 32)), DIGEST, 100)
