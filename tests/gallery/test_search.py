"""Search over a gallery in memory: exact, in a defined order, in half precision without harm."""

import numpy as np
import pyarrow as pa
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from composir.gallery.part import _by_row
from composir.gallery.scan import FileRow, Stamp
from composir.gallery.search import Shelf
from composir.gallery.store import Gallery, Manifest
from composir.similarity import maxsim, top_k

STAMP = Stamp(1, 2, 3)


@pytest.fixture
def build(tmp_path):
    """build({"id": [[vector] ...]}) gives the shelf of a gallery with one file per picture."""

    def make(pictures: dict[str, list[list[float]]]) -> Shelf:
        vectors = np.asarray(list(pictures.values()), dtype=np.float16)
        manifest = Manifest("k", "slerp", "b", "b", "r", vectors.shape[1], vectors.shape[2], "/photos")
        gallery = Gallery.create(tmp_path / f"g{len(list(tmp_path.iterdir()))}", manifest)
        gallery.add(list(pictures), vectors, [FileRow(f"{i}.png", i, STAMP) for i in pictures])
        return Shelf.load(gallery)

    return make


def test_best_first_and_ties_by_id(build):
    pictures = {"d": [[1, 0]], "b": [[0, 1]], "c": [[1, 0]], "a": [[0.6, 0.8]]}
    query = torch.tensor([[[1.0, 0.0]]])
    hits = build(pictures).search(query, 4)
    assert [(h.rank, h.id, h.path) for h in hits] == [
        (1, "c", "c.png"),
        (2, "d", "d.png"),
        (3, "a", "a.png"),
        (4, "b", "b.png"),
    ]
    assert [h.score for h in hits] == pytest.approx([1, 1, 0.6, 0], abs=1e-3)
    backwards = dict(reversed(pictures.items()))
    assert build(backwards).search(query, 4) == hits  # the order of indexing changes nothing


def test_k_is_cut_to_what_there_is(build):
    shelf = build({"a": [[1, 0]], "b": [[0, 1]]})
    query = torch.tensor([[[1.0, 0.0]]])
    assert [h.id for h in shelf.search(query, 99)] == ["a", "b"]
    assert [h.id for h in shelf.search(query, 1)] == ["a"]
    assert shelf.search(query, 0) == []


def test_a_dropped_picture_is_left_out(build):
    shelf = build({"a": [[1, 0]], "b": [[0, 1]]})
    query = torch.tensor([[[1.0, 0.0]]])
    assert [(h.rank, h.id) for h in shelf.search(query, 9, drop="a")] == [(1, "b")]
    assert [h.id for h in shelf.search(query, 9, drop="elsewhere")] == ["a", "b"]
    assert build({"a": [[1, 0]]}).search(query, 9, drop="a") == []


def test_several_vectors_a_picture_are_scored_by_their_best(build):
    shelf = build({"a": [[1, 0, 0], [0, 1, 0]], "b": [[0, 0, 1], [0.6, 0.8, 0]]})
    query = torch.tensor([[[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]])
    hits = {hit.id: hit.score for hit in shelf.search(query, 2)}
    assert hits == pytest.approx({"a": (0.8 + 0) / 2, "b": (1 + 1) / 2}, abs=1e-3)


def test_thirty_two_vectors_a_picture(build):
    """A gallery as MAPNet's: a query's every vector meets the best of a picture's thirty-two, with twins among them."""
    vectors = F.normalize(torch.randn(60, 32, 16, generator=torch.Generator().manual_seed(0)), dim=-1)
    vectors[30:] = vectors[:30]
    shelf = build({f"{i:02}": vector.tolist() for i, vector in enumerate(vectors)})
    query = F.normalize(torch.randn(1, 3, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    stored = shelf.vectors(range(60)).double()
    slow = [sum(max(float(q @ own) for own in picture) for q in query[0].double()) / 3 for picture in stored[:30]]
    order = sorted(range(60), key=lambda row: (-slow[row % 30], row))
    hits = shelf.search(query, 40)
    assert [hit.id for hit in hits] == [f"{row:02}" for row in order[:40]]
    assert [hit.score for hit in hits] == pytest.approx([slow[row % 30] for row in order[:40]], abs=1e-6)


def test_search_is_top_k_over_the_stored_vectors(build):
    vectors = F.normalize(torch.randn(50, 1, 8, generator=torch.Generator().manual_seed(0)), dim=-1)
    shelf = build({f"{i:02}": vector.tolist() for i, vector in enumerate(vectors)})
    scores = maxsim(vectors[:1], shelf.vectors(range(50)).float())[0]
    assert [hit.id for hit in shelf.search(vectors[:1], 50)] == [
        f"{i:02}" for i in scores.argsort(descending=True, stable=True)
    ]


def test_half_precision_keeps_the_answers(shared_data):
    """On real CLIP vectors: the same first answer, at least 99 % of the first ten and fifty, scores within 2e-4."""
    image, text = (
        torch.from_numpy(np.load(shared_data / "fashionclip99" / f"{n}_embeddings.npy")) for n in ("image", "text")
    )
    image, text = (F.normalize(vectors.float(), dim=-1)[:, None] for vectors in (image, text))
    for query in (text, image):
        for k, share in ((1, 1.0), (10, 0.99), (50, 0.99)):
            exact, stored = top_k(query, image, k), top_k(query, image.half(), k)
            both = [len(set(a) & set(b)) / k for a, b in zip(exact[1].tolist(), stored[1].tolist(), strict=True)]
            assert np.mean(both) >= share
            assert float((exact[0] - stored[0]).abs().max()) < 2e-4


@given(st.lists(st.tuples(st.integers(0, 4), st.text("ab/", max_size=3)), max_size=12))
def test_paths_are_by_row_and_sorted_within(files):
    rows = np.asarray([row for row, _ in files], np.int64)
    made = _by_row(pa.array([path for _, path in files], pa.string()), rows, np.bincount(rows, minlength=5))
    assert made.to_pylist() == [path for _, path in sorted(files)]
