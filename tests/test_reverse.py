"""Reverse search: the forward score with the gallery as references, against a slow loop over their files."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from moved import ids, trained
from PIL import Image

from composir import checkpoint, reverse
from composir.engine import Engine
from composir.errors import ComposirError, GalleryError
from composir.gallery.scan import file_id
from composir.gallery.store import Gallery
from composir.indexing import index_folder
from composir.methods import load_method


def slow_reverse(method, root, target, text, **controls):
    """(score, path) of every picture as the reference, one at a time, straight from its file."""
    with torch.inference_mode():
        pixels = method.transform("gallery")(Image.open(target))[None]
        wanted = method.encode_gallery(pixels)[0]
        scored = []
        for path in sorted(Path(root).iterdir()):
            reference = method.encode_reference(method.transform("reference")(Image.open(path))[None])
            query = method.compose(reference, [text], **controls)[0]
            scored.append((sum(max(float(s @ t) for t in wanted) for s in query) / len(query), path.name))
    return sorted(scored, reverse=True)


def check(hits, expected):
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))
    told = {name: score for score, name in expected}
    for hit, (score, _) in zip(hits, expected, strict=True):
        assert hit.score == pytest.approx(score, abs=1e-3)  # the gallery is kept in half precision
        assert hit.score == pytest.approx(told[hit.path], abs=1e-3)


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
def test_reverse_is_the_forward_score_with_the_gallery_as_references(engine, indexed, alpha, monkeypatch):
    monkeypatch.setattr(reverse, "AT_ONCE", 5)
    target = indexed / "003.png"
    hits = engine.search(target, "is red", k=99, reverse=True, keep_reference=True, alpha=alpha)
    check(hits, slow_reverse(engine.method, indexed, target, "is red", alpha=alpha))
    # What forward search says of that reference and this target is the same score.
    first = next(hit for hit in hits if hit.path != "003.png")
    forward = {hit.path: hit.score for hit in engine.search(indexed / first.path, "is red", k=99, alpha=alpha)}
    assert forward["003.png"] == pytest.approx(first.score, abs=1e-3)


@pytest.mark.parametrize("name", ["sum", "image-only"])
def test_reverse_of_the_baselines(engine, indexed, tmp_path, name):
    other = Engine(load_method(name, engine.method.backbone), Gallery.open(tmp_path / "g"))
    hits = other.search(indexed / "003.png", "is red", k=99, reverse=True)
    expected = slow_reverse(other.method, indexed, indexed / "003.png", "is red")
    check(hits, [(score, path) for score, path in expected if path != "003.png"])


def test_reverse_drops_the_target_unless_told_otherwise(engine, indexed):
    path = indexed / "003.png"
    for target in (path, file_id(path), path.read_bytes()):
        assert file_id(path) not in ids(engine.search(target, "is red", k=99, reverse=True))
    assert len(engine.search(path, "is red", k=99, reverse=True)) == 11
    assert len(engine.search(path, "is red", k=99, reverse=True, keep_reference=True)) == 12
    assert len(engine.search(path, "is red", k=4, reverse=True)) == 4


def test_reverse_from_stored_vectors_encodes_no_picture_and_reads_the_words_once(engine, indexed, encoded, monkeypatch):
    monkeypatch.setattr(reverse, "AT_ONCE", 5)
    read, real = [], engine.method.backbone.embed_text
    monkeypatch.setattr(engine.method.backbone, "embed_text", lambda texts: read.append(len(texts)) or real(texts))
    engine.search(indexed / "003.png", "is red", reverse=True)
    assert (encoded, read) == ([], [1])
    engine.search(text="blue")
    assert read == [1, 1]


def test_equal_scores_in_reverse_come_by_ascending_id(engine, indexed, tmp_path):
    other = Engine(load_method("text-only", engine.method.backbone), Gallery.open(tmp_path / "g"))
    hits = other.search(indexed / "003.png", "is red", k=99, reverse=True)
    assert ids(hits) == sorted(ids(hits))
    assert len({hit.score for hit in hits}) == 1


def test_reverse_needs_picture_and_words(engine, indexed):
    for question in (
        {"text": "red"},
        {"reference": indexed / "000.png"},
        {"reference": indexed / "000.png", "text": " "},
    ):
        with pytest.raises(ComposirError, match="leads to a target; give both"):
            engine.search(**question, reverse=True)
    with pytest.raises(ComposirError, match="takes no 'beta'"):
        engine.search(indexed / "000.png", "is red", reverse=True, beta=1.0)


@pytest.fixture
def outside(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    yield "turned"
    sys.modules.pop("turned", None)


@pytest.fixture
def foreign(outside, indexed, tmp_path):
    """foreign("Turned"): an engine over a method whose references are not the gallery's vectors."""

    def build(name):
        method = trained(tmp_path / f"{name}.safetensors", f"{outside}:{name}", share=2.0)
        return Engine(method, Gallery.open(tmp_path / "g"))

    return build


@pytest.mark.parametrize("bytes_kept", [2**30, 0])
def test_reverse_of_a_method_that_reads_references_otherwise(foreign, indexed, monkeypatch, bytes_kept):
    monkeypatch.setattr(reverse, "KEPT_BYTES", bytes_kept)
    monkeypatch.setattr(reverse, "ENCODED", 5)
    engine = foreign("Turned")
    told = []
    engine.prepare_reverse(lambda *progress: told.append(progress))
    assert told == ([(5, 12), (10, 12), (12, 12)] if bytes_kept else [(5, 12)])
    seen, real = [], engine.method.encode_reference
    monkeypatch.setattr(engine.method, "encode_reference", lambda pixels: seen.append(len(pixels)) or real(pixels))
    for target in ("003.png", "007.png"):
        hits = engine.search(indexed / target, "is red", k=99, reverse=True, keep_reference=True)
        check(
            hits,
            slow_reverse(
                checkpoint.load(checkpoint.loaded_from(engine.method).path), indexed, indexed / target, "is red"
            ),
        )
    assert seen == ([] if bytes_kept else [5, 5, 2] * 2)


def test_reverse_says_which_picture_it_misses(foreign, indexed):
    engine = foreign("Turned")
    (indexed / "004.png").unlink()
    with pytest.raises(
        GalleryError, match=r"'turned' does not compose from what the gallery stores.*004.png.*index the"
    ):
        engine.search(indexed / "003.png", "is red", reverse=True)


def test_a_learnt_way_back_is_one_ordinary_search(foreign, indexed):
    engine = foreign("Returning")
    method = engine.method
    hits = engine.search(indexed / "003.png", "is red", k=99, reverse=True, keep_reference=True)
    with torch.inference_mode():
        target = method.encode_reference(method.transform("reference")(Image.open(indexed / "003.png"))[None])
        query = F.normalize(method.mix(target) - method.encode_text(["is red"]), dim=-1)
    assert hits == engine.shelf.search(query, 99)
    method.bidirectional = False  # one that could, but was trained forwards only
    check(
        engine.search(indexed / "003.png", "is red", k=99, reverse=True, keep_reference=True),
        slow_reverse(method, indexed, indexed / "003.png", "is red"),
    )


def test_a_refreshed_engine_reads_references_anew(foreign, indexed):
    engine = foreign("Turned")
    assert len(engine.search(indexed / "003.png", "is red", k=99, reverse=True)) == 11
    (indexed / "004.png").unlink()
    index_folder(engine.gallery, engine.method, indexed, workers=0)
    engine.refresh()
    assert len(engine.search(indexed / "003.png", "is red", k=99, reverse=True)) == 10


def test_references_are_scored_in_pieces_that_one_thread_computes(engine, indexed, monkeypatch):
    references = engine._references
    target = engine.shelf.vectors([3]).float()
    together = references.scores(target, "is red", {})
    width = target.numel()
    monkeypatch.setattr(reverse, "SHARED", 5 * width + 1)
    parts = list(references.scored(target, "is red", {}))
    assert [len(part) for part in parts] == [5, 5, 2]
    assert torch.equal(torch.cat(parts), together)


def test_others_use_the_method_between_two_pieces(engine, indexed, monkeypatch):
    monkeypatch.setattr(reverse, "AT_ONCE", 5)
    target = engine.shelf.vectors([3]).float()
    expected = engine._references.scores(target, "is red", {})
    first, second = (engine._references.scored(target, text, {}) for text in ("is red", "is blue"))
    parts = [next(first), next(second)]
    assert not torch.is_inference_mode_enabled()
    assert "embed_text" not in vars(engine.method.backbone)
    assert torch.equal(torch.cat([parts[0], *first]), expected)


@pytest.mark.parametrize(("given", "expected"), [(None, 0), (1, 1)])
def test_a_server_decodes_even_few_pictures_in_other_processes(foreign, indexed, monkeypatch, given, expected):
    engine, seen, real = foreign("Turned"), [], reverse.pixel_batches
    monkeypatch.setattr(reverse, "pixel_batches", lambda *own, **more: seen.append(own[4]) or real(*own, **more))
    target = engine.shelf.vectors([3]).float()
    scores = reverse.References(engine.method, engine.shelf, indexed, given).scores(target, "is red", {})
    assert (len(scores), seen) == (12, [expected])
