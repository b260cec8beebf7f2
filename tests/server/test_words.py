"""Words are read by the text tower once, not at every move of a slider."""

from __future__ import annotations

import contextlib
import gc
import weakref

import numpy as np
import pytest
import torch

from composir.backbones.base import Backbone
from composir.datasets.wardrobe import Wardrobe
from composir.indexing import create_gallery, index_folder
from composir.opening import find_method, load_wanted
from composir.server.answering.engine import open_service
from composir.server.answering.kept import Words
from composir.server.service import Reference, SearchRequest
from composir.server.settings import Settings

ALPHAS = [place / 10 for place in range(11)]


class Stages(list):
    @contextlib.contextmanager
    def __call__(self, stage):
        self.append(stage)
        yield


class Tower(Backbone):
    """As much of a backbone as reads texts; it remembers which."""

    def __init__(self):
        super().__init__()
        self.read: list[tuple[str, str]] = []

    def embed_text(self, texts, *, before="", words=None):
        self.read += [(before, text) for text in texts]
        made = torch.tensor([[float(len(before)), float(len(text))] for text in texts]).reshape(len(texts), 2)
        return made if words is None else made + words.sum()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    root = tmp_path_factory.mktemp("words")
    (root / "pictures").mkdir()
    wardrobe = Wardrobe(6, 6, 12)
    for name in wardrobe.ids("test")[:10]:
        wardrobe.image(name).save(root / "pictures" / f"{name}.png")
    slerp = load_wanted(find_method("slerp"), device="cpu").eval()
    index_folder(create_gallery(root / "g", slerp, root / "pictures"), slerp, root / "pictures", workers=0)
    with contextlib.closing(open_service(Settings(gallery=str(root / "g"), refresh_seconds=3600.0))) as opened:
        yield opened


def test_a_slider_encodes_nothing(service, monkeypatch):
    known, stages, read = service._stand.shelf.ids, Stages(), []
    backbone = service._stand.method(None).backbone
    real = backbone.embed_text
    counted = lambda texts, **around: read.extend(texts) or real(texts, **around)  # noqa: E731
    monkeypatch.setitem(vars(backbone), "embed_text", counted)
    asked = [SearchRequest(reference=Reference(known[0]), text="is red", without=("stripes",), alpha=a) for a in ALPHAS]
    answers = service.search(asked[:1], stages)
    assert sorted(read) == ["is red", "stripes"]
    del stages[:], read[:]
    for one in asked[1:]:
        answers = [*answers, *service.search([one], stages)]
    assert not read
    assert stages.count("compose") == len(ALPHAS) - 1
    assert not {"encode_text", "encode_image"} & set(stages)
    assert len({answer.hits[0].score for answer in answers}) > 5  # each alpha is answered for itself
    service.search([SearchRequest(reference=Reference(known[0]), text="is blue", method="sum")], stages)
    assert read == ["is blue"]
    assert stages.count("encode_text") == 1


def test_embedded_words_are_read_once_and_searched_with(service):
    stages, words = Stages(), ["is mustard", "has a zip", "is mustard"]
    first = service.embed_texts(words, None, stages)
    assert stages == ["encode_text"]
    assert np.array_equal(first[0], first[2])
    assert np.array_equal(service.embed_texts(words[1:], None, stages), first[1:])
    service.search([SearchRequest(text="has a zip")], stages)
    assert stages.count("encode_text") == 1


def test_what_is_kept_answers_as_what_is_read_anew(service):
    known = service._stand.shelf.ids
    requests = [SearchRequest(reference=Reference(known[1]), text=text, alpha=0.5) for text in ("longer", "in green")]
    service.search(requests[:1], Stages())
    both = service.search([SearchRequest(**{**_fields(one), "alpha": 0.6}) for one in requests], Stages())
    with contextlib.closing(open_service(Settings(gallery=str(service._place), refresh_seconds=3600.0))) as fresh:
        anew = fresh.search([SearchRequest(**{**_fields(one), "alpha": 0.6}) for one in requests], Stages())
    for ours, theirs in zip(both, anew, strict=True):
        assert [hit.id for hit in ours.hits] == [hit.id for hit in theirs.hits]
        np.testing.assert_allclose([hit.score for hit in ours.hits], [hit.score for hit in theirs.hits], atol=1e-3)


def _fields(request: SearchRequest) -> dict:
    return {"reference": request.reference, "text": request.text}


def test_what_stands_before_a_text_is_part_of_it():
    words, tower, stages = Words(8), Tower(), Stages()
    with words.read_once(tower, stages):
        first = tower.embed_text(["a", "bb", "a"])
        assert first.tolist() == [[0, 1], [0, 2], [0, 1]]
        assert tower.embed_text(["bb"], before="").tolist() == [[0, 2]]
        assert tower.embed_text(["bb"], before="xyz").tolist() == [[3, 2]]
        assert tower.embed_text([]).shape == (0, 2)
    assert tower.read == [("", "a"), ("", "bb"), ("xyz", "bb")]
    assert "embed_text" not in vars(tower)


def test_pseudo_words_are_read_each_time():
    words, tower = Words(8), Tower()
    with words.read_once(tower, Stages()):
        for value in (1.0, 2.0):
            assert tower.embed_text(["a"], words=torch.full((1, 1, 1), value)).tolist() == [[value, 1 + value]]
        assert tower.embed_text(["a"], words=None).tolist() == [[0, 1]]


def test_so_many_are_kept_of_each_tower_and_go_with_it():
    words, tower, other = Words(2), Tower(), Tower()
    for one in (tower, other):
        with words.read_once(one, Stages()):
            for text in ("a", "bb", "ccc", "ccc", "a"):
                one.embed_text([text])
            assert one.embed_text(["a", "bb", "ccc", "dddd"])[:, 1].tolist() == [1, 2, 3, 4]  # more than are kept
        assert [text for _, text in one.read[:4]] == ["a", "bb", "ccc", "a"]
    gone = weakref.ref(tower)
    del tower, one
    gc.collect()
    assert gone() is None


def test_the_ends_of_words_that_are_not_read_are_told(service):
    backbone = service._stand.method(None).backbone
    read = "red " * (backbone.tokenizer.context - 2)  # a token each in this vocabulary; one opens, one closes
    requests = [
        SearchRequest(text=read),
        SearchRequest(text=f"{read}dress"),
        SearchRequest(text=read, without=("blue", f"{read}long sleeves")),
    ]
    answers = service.search(requests, Stages())
    assert [answer.unread for answer in answers] == [(), ("dress",), ("long sleeves",)]
