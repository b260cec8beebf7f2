"""The engine behind the server, over drawn garments and the embedded backbone."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from composir.datasets.wardrobe import Wardrobe
from composir.engine import Engine
from composir.errors import ComposirError, GalleryError
from composir.gallery import editions
from composir.gallery.place import Folder
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder
from composir.opening import find_method, load_wanted
from composir.server.answering import composing
from composir.server.answering.engine import GalleryService, open_service
from composir.server.service import NotFoundError, Reference, SearchRequest, Service, Verdict
from composir.server.settings import Settings
from composir.similarity.approximate import Approximate

STAGES: list[str] = []


@contextlib.contextmanager
def clock(stage: str):
    STAGES.append(stage)
    yield


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A hundred garments as files, with metadata."""
    folder = tmp_path_factory.mktemp("answering") / "garments"
    folder.mkdir()
    wardrobe = Wardrobe(6, 6, 102)
    for number, name in enumerate(wardrobe.ids("test")[:100]):
        wardrobe.image(name).save(folder / f"{number:03}.png")
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [("file_name", "number", "even"), *((f"{n:03}.png", n, n % 2 == 0) for n in range(100))]
        )
    return folder


@pytest.fixture(scope="module")
def slerp():
    return load_wanted(find_method("slerp"), device="cpu").eval()


@pytest.fixture(scope="module")
def gallery(drawn, slerp, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("gallery") / "g"
    index_folder(create_gallery(path, slerp, drawn), slerp, drawn, workers=0)
    return path


@pytest.fixture(scope="module")
def service(gallery):
    opened = open_service(Settings(gallery=str(gallery), refresh_seconds=3600.0, fold_similarity=0.9))
    yield opened
    opened.close()


def whole(steps):
    """What a long answer comes to."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value


def ask(service: GalleryService, **fields):
    """One request; an error is raised."""
    answer = service.search([SearchRequest(**fields)], clock)[0]
    if isinstance(answer, Generator):
        answer = whole(answer)
    if isinstance(answer, ComposirError):
        raise answer
    return answer


def ids(answer) -> list[str]:
    return [hit.id for hit in answer.hits]


@pytest.fixture(scope="module")
def known(service) -> list[str]:
    return service._stand.shelf.ids


def test_it_is_a_service(service):
    assert isinstance(service, Service)
    info = service.info()
    assert (info.pictures, info.method, info.backbone) == (100, "slerp", "wardrobe-clip")
    assert info.columns == {"number": "integer", "even": "boolean"}
    assert (info.benchmark, info.judging) == (None, True)
    assert next(method.name for method in service.methods()) == "slerp"
    assert {method.name for method in service.methods()} == {"slerp", "sum", "image-only", "text-only"}
    controls = {method.name: method.controls for method in service.methods()}
    assert (controls["slerp"], controls["sum"], controls["image-only"]) == (("alpha",), ("image", "text"), ())


def test_answers_are_those_of_the_engine(service, gallery, drawn):
    engine = Engine.open(gallery)
    own = service.find("007.png")
    expected = engine.search(own, "is red", 10, alpha=0.3)
    answer = ask(service, reference=Reference(own), text="is red", alpha=0.3, k=10)
    assert ids(answer) == [hit.id for hit in expected]
    np.testing.assert_allclose([h.score for h in answer.hits], [h.score for h in expected], atol=2e-3)
    words = ask(service, text="a red dress", k=5)
    assert ids(words) == [hit.id for hit in engine.search(None, "a red dress", 5)]
    assert answer.total == 99
    assert words.total == 100
    assert answer.hits[0].metadata["number"] == int(answer.hits[0].path[:3])


def test_the_ends_of_alpha_are_the_picture_alone_and_the_words_alone(service, known):
    picture = Reference(known[3])
    ask_all = lambda **fields: ids(ask(service, k=100, keep_reference=True, **fields))  # noqa: E731
    assert ask_all(reference=picture, text="is red", alpha=0.0) == ask_all(reference=picture)
    assert ask_all(reference=picture, text="is red", alpha=1.0) == ask_all(text="is red")


def test_a_gallery_picture_is_never_encoded_again_and_an_upload_once(service, slerp, drawn, known):
    STAGES.clear()
    for alpha in (0.1, 0.5, 0.9):
        ask(service, reference=Reference(known[0]), text=f"in blue {alpha}", alpha=alpha)
    assert "encode_image" not in STAGES
    pixels = slerp.transform("reference").pixels(Wardrobe(6, 6, 6, seed=9).image("test-00000-0"))
    upload = "ab" * 16
    request = SearchRequest(reference=Reference(upload), text="longer")
    assert not service.knows(upload, request)
    ask(service, reference=Reference(upload, pixels=pixels), text="longer")
    assert STAGES.count("encode_image") == 1
    assert service.knows(upload, request)
    assert service.knows(upload, replace(request, method="sum"))
    assert service.knows(known[0], request)
    ask(service, reference=Reference(upload), text="shorter", method="sum")
    assert STAGES.count("encode_image") == 1


def test_company_changes_no_answer(service, known):
    requests = [
        SearchRequest(reference=Reference(known[i]), text=text, alpha=alpha, method=method, k=7)
        for i, (text, alpha, method) in enumerate(
            [
                ("in red", 0.2, None),
                ("a much longer text about stripes", 0.8, None),
                ("blue", None, "sum"),
                ("", None, None),
            ]
        )
    ] + [
        SearchRequest(text="a green coat", k=7),
        SearchRequest(text="x", alpha=0.5),
        SearchRequest(text="y", method="no"),
    ]
    fresh = GalleryService(str(service._place), Settings(gallery=str(service._place), refresh_seconds=3600.0))
    together = fresh.search(requests, clock)
    fresh.close()
    for request, answer in zip(requests[:5], together, strict=False):
        alone = GalleryService(str(service._place), Settings(gallery=str(service._place), refresh_seconds=3600.0))
        single = alone.search([request], clock)[0]
        alone.close()
        assert ids(single) == ids(answer)
        np.testing.assert_allclose([h.score for h in single.hits], [h.score for h in answer.hits], atol=1e-3)
    assert "alpha weighs picture against words" in str(together[5])
    assert isinstance(together[6], NotFoundError)


def test_bars_tell_what_a_hit_is_like(service, known):
    answer = ask(service, reference=Reference(known[5]), text="in red", alpha=0.4, k=100)
    shelf = service._stand.shelf
    for hit in answer.hits[:5]:
        row = shelf.vectors([shelf.rows[hit.id]]).float().numpy()[0, 0]
        assert hit.why["image"] == pytest.approx(float(row @ shelf.vectors([5]).float().numpy()[0, 0]), abs=1e-5)
        assert hit.why["composed"] == pytest.approx(hit.score, abs=1e-5)
        assert hit.why["text"] == pytest.approx(
            float(row @ service.embed_texts(["in red"], None, clock)[0, 0]), abs=1e-5
        )
    assert set(ask(service, text="in red").hits[0].why) == {"text", "composed"}


def test_without_keep_and_avoid_move_pictures_as_they_say(service, known):
    base = {"reference": Reference(known[1]), "text": "is red", "alpha": 0.8, "k": 100}
    plain = ask(service, **base)
    last, first = plain.hits[-1].id, plain.hits[0].id
    place = lambda answer, own: ids(answer).index(own)  # noqa: E731
    assert place(ask(service, **base, keep=(last,)), last) < 20
    assert first not in ids(ask(service, **base, avoid=(first,)))
    vectors = service._stand.shelf.base.vectors[:, 0].astype(np.float32)
    rows = service._stand.shelf.rows

    def nearness(answer, other) -> float:
        return float(np.mean([vectors[rows[own]] @ other for own in ids(answer)[:10]]))

    assert nearness(ask(service, **base, avoid=(first,)), vectors[rows[first]]) < nearness(plain, vectors[rows[first]])
    stripes = service.embed_texts(["stripes"], None, clock)[0, 0]
    striped = max((hit.id for hit in plain.hits[:50]), key=lambda own: vectors[rows[own]] @ stripes)
    assert place(ask(service, **base, without=("stripes",)), striped) > place(plain, striped)
    with pytest.raises(NotFoundError, match="no picture"):
        ask(service, **base, keep=("0" * 32,))


def test_weights_by_direction(service, known):
    base = {"reference": Reference(known[2]), "text": "in red", "k": 100, "keep_reference": True}
    assert ids(ask(service, **base, weights={"image": 1.0})) == ids(
        ask(service, reference=Reference(known[2]), k=100, keep_reference=True)
    )
    assert ids(ask(service, **base, weights={"text": 1.0})) == ids(ask(service, text="in red", k=100))
    assert ids(ask(service, **base, weights={"image": 0.5, "text": 0.5})) == ids(ask(service, **base, method="sum"))
    with pytest.raises(ComposirError, match="'pictur' is unknown"):
        ask(service, **base, weights={"pictur": 1.0})
    with pytest.raises(ComposirError, match="nothing to compare to"):
        ask(service, text="in red", weights={"image": 1.0})
    with pytest.raises(ComposirError, match="all weights are 0"):
        ask(service, **base, weights={"image": 0.0, "text": 0.0})
    with pytest.raises(ComposirError, match="cancels out"):
        ask(service, reference=Reference(known[2]), weights={"image": 1.0, "composed": -1.0})


@pytest.mark.parametrize("fold", [False, True])
@pytest.mark.parametrize("where", ["", "even"])
def test_pages_are_one_ranking(service, known, fold, where):
    base = {"reference": Reference(service.find("000.png")), "text": "is blue", "fold": fold, "where": where}
    whole = ask(service, **base, k=100)
    assert whole.cursor is None
    pages, cursor = [], None
    while True:
        answer = ask(service, **base, k=7, cursor=cursor)
        pages += answer.hits
        cursor = answer.cursor
        if cursor is None:
            break
        assert len(answer.hits) == 7
    assert [(h.rank, h.id, h.score) for h in pages] == [(h.rank, h.id, h.score) for h in whole.hits]
    everything = sum(1 + len(hit.folded) for hit in whole.hits)
    assert everything == whole.total == (50 if where else 100) - 1
    assert fold == any(hit.folded for hit in whole.hits)


def test_a_large_gallery_is_searched_in_part_and_targets_are_ranked_exactly(service, gallery, known):
    settings = Settings(gallery=str(gallery), refresh_seconds=3600.0, approximate_from=50)
    with contextlib.closing(open_service(settings)) as large:
        assert isinstance(large._stand.searcher, Approximate)
        base = {"reference": Reference(known[0]), "text": "is blue", "targets": tuple(known)}
        exact, part = ask(service, **base, k=10), ask(large, **base, k=10)
        assert len(set(ids(exact)) & set(ids(part))) >= 9
        assert dict(part.target_ranks) == dict(exact.target_ranks)
        assert ids(ask(large, text="red", where="even", k=10)) == ids(ask(service, text="red", where="even", k=10))


def test_what_lies_far_from_its_picture_is_searched_exactly(service, gallery, known, monkeypatch):
    """The lists are chosen by queries beside pictures: of words alone they would miss much."""
    asked, best = [], Approximate.best
    monkeypatch.setattr(Approximate, "best", lambda self, *given: asked.append(1) or best(self, *given))
    settings = Settings(gallery=str(gallery), refresh_seconds=3600.0, approximate_from=50)
    with contextlib.closing(open_service(settings)) as large:
        asked.clear()  # when lists were chosen
        words = ask(large, text="is blue", k=10)
        ask(large, reference=Reference(known[0]), text="is blue", alpha=1.0, k=10)
        assert not asked
        assert ids(words) == ids(ask(service, text="is blue", k=10))
        ask(large, reference=Reference(known[0]), text="is blue", alpha=0.1, k=10)
        assert asked == [1]


def test_a_cursor_of_another_query_is_refused(service, known):
    cursor = ask(service, text="is red", k=3).cursor
    for told, fields in (("another query", {"text": "is blue"}), ("not one of this", {"text": "is red"})):
        with pytest.raises(ComposirError, match=told):
            ask(service, **fields, cursor=cursor if told == "another query" else "AAAA")


def test_targets_are_ranked_beyond_the_page(service, known):
    base = {"reference": Reference(known[0]), "text": "is blue"}
    whole = {hit.id: hit.rank for hit in ask(service, **base, k=100).hits}
    answer = ask(service, **base, k=1, targets=(*known, "0" * 32))
    assert dict(answer.target_ranks) == whole


def test_reversed_search_asks_every_picture(service, gallery, known):
    expected = Engine.open(gallery).search(known[4], "is red", 20, reverse=True)
    answer = ask(service, reference=Reference(known[4]), text="is red", reverse=True, k=20)
    assert ids(answer) == [hit.id for hit in expected]
    order = ids(ask(service, reference=Reference(known[4]), text="is red", reverse=True, k=100))
    ranks = ask(
        service, reference=Reference(known[4]), text="is red", reverse=True, k=1, targets=(order[30],)
    ).target_ranks
    assert dict(ranks) == {order[30]: 31}
    with pytest.raises(ComposirError, match="give both"):
        ask(service, text="is red", reverse=True)


def test_a_reversed_search_is_answered_in_turns_and_scored_once(service, known, monkeypatch):
    asked = {"reference": Reference(known[9]), "text": "is blue", "reverse": True, "k": 30}
    (steps,) = service.search([SearchRequest(**asked)], clock)
    assert next(steps) is None
    assert len(ask(service, text="a coat").hits) == 10  # by the same thread, meanwhile
    first = whole(steps)
    monkeypatch.setattr(type(service._stand.references["slerp"]), "scored", lambda *_: pytest.fail("scored again"))
    second = ask(service, **asked, cursor=first.cursor)
    assert ids(first) + ids(second) == ids(ask(service, **{**asked, "k": 60}))
    assert all(own._workers for own in service._stand.references.values())
    # What is wrong with the rest is told at once.
    (refused,) = service.search([SearchRequest(**{**asked, "text": "is green", "where": "number <"})], clock)
    assert isinstance(refused, ComposirError)


def test_a_tensor_encoded_elsewhere_is_a_reference(service, known):
    vector = service._stand.shelf.vectors([6])[0].float().numpy()
    by_tensor = ask(service, reference=Reference(tensor=vector), text="is red", k=20)
    by_id = ask(service, reference=Reference(known[6]), text="is red", k=20, keep_reference=True)
    assert ids(by_tensor) == ids(by_id)
    with pytest.raises(ComposirError, match="2 x 3; method 'slerp' encodes a reference as 1 x 128"):
        ask(service, reference=Reference(tensor=np.ones((2, 3), np.float32)), text="is red")


@pytest.mark.parametrize(
    ("where", "told"),
    [("prize > 1", "no column is called 'prize'"), ("repeat('a', 1000000000) = 'a'", "the function 'repeat' found")],
)
def test_filters_that_mean_nothing_spoil_no_other_answer(service, where, told):
    good, bad = service.search([SearchRequest(text="red"), SearchRequest(text="red", where=where)], clock)
    assert len(good.hits) == 10
    assert told in str(bad)


def test_the_gallery_is_followed(drawn, slerp, tmp_path, pictures):
    folder = pictures(5)
    built = create_gallery(tmp_path / "g", slerp, folder)
    index_folder(built, slerp, folder, workers=0)
    service = open_service(Settings(gallery=str(tmp_path / "g"), refresh_seconds=3600.0))
    try:
        first = ask(service, text="red", k=3)
        version = service.info().version
        (folder / "new.png").write_bytes((drawn / "000.png").read_bytes())
        (folder / "new2.png").write_bytes((drawn / "001.png").read_bytes())
        index_folder(Gallery.open(tmp_path / "g"), slerp, folder, workers=0)
        service.refresh()
        assert service.info().pictures == 7
        assert service.info().version != version
        # The rest of what was begun before: nothing that was shown comes again, nothing of it is left out.
        rest = ask(service, text="red", k=7, cursor=first.cursor)
        assert not set(ids(first)) & set(ids(rest))
        assert (
            len(ids(first))
            + len(ids(rest))
            + sum(hit.id not in {*ids(first), *ids(rest)} for hit in ask(service, text="red", k=7).hits)
            == 7
        )
    finally:
        service.close()


def test_another_edition_takes_over(drawn, slerp, tmp_path, pictures):
    folder = pictures(4)
    index_folder(create_gallery(tmp_path / "g", slerp, folder), slerp, folder, workers=0)
    service = open_service(Settings(gallery=str(tmp_path / "g"), refresh_seconds=3600.0))
    try:
        other = load_wanted(find_method("slerp", "wardrobe-blip"), device="cpu").eval()
        key = other.gallery_key()
        index_folder(
            create_gallery(editions.edition(Folder(tmp_path / "g"), key), other, folder), other, folder, workers=0
        )
        before = service.info()
        service.refresh()
        assert service.info() == before
        editions.point(Folder(tmp_path / "g"), key)
        service.refresh()
        assert (service.info().key, service.info().backbone) == (key, "wardrobe-blip")
        assert len(ask(service, text="a red dress").hits) == 4
        editions.go_back(Folder(tmp_path / "g"))
        service.refresh()
        assert service.info() == before
    finally:
        service.close()


def test_a_method_of_another_key_is_refused_with_both_keys(gallery, tmp_path, slerp):
    run = load_wanted(find_method("slerp", "wardrobe-blip"), device="cpu")
    from composir.checkpoint import save

    save(tmp_path / "other.safetensors", run, arguments={})
    with pytest.raises(GalleryError, match=slerp.gallery_key()) as raised:
        open_service(Settings(gallery=str(gallery), method=str(tmp_path / "other.safetensors")))
    assert run.gallery_key() in str(raised.value)


def test_verdicts_become_a_set_that_is_evaluated(service, known, tmp_path, gallery, make_jpeg):
    from composir.evaluation.opening import open_dataset

    settings = Settings(gallery=str(gallery), judgements=tmp_path / "judged", refresh_seconds=3600.0)
    with contextlib.closing(open_service(settings)) as judging:
        jpeg = make_jpeg(3)
        assert judging.judge(Verdict(known[0], "in red", (known[1], known[2]), (known[3],)), None)[0] == 1
        assert judging.judge(Verdict("ab" * 16, "longer", (known[4],), ()), jpeg)[0] == 2
        assert judging.judge(Verdict(known[5], "shorter", (), (known[6],)), None)[0] == 3
        assert judging.judge(Verdict(known[0], "in red", (known[1],), (known[3],)), None)[0] == 3
        with pytest.raises(NotFoundError):
            judging.judge(Verdict(known[0], "in red", ("0" * 32,), ()), None)
    (task,) = open_dataset("jsonl", tmp_path / "judged").tasks("test")
    assert len(task.gallery) == 101
    assert [(q.captions, len(q.targets), len(q.subset)) for q in task.queries] == [
        (("in red",), 1, 3),
        (("longer",), 1, 0),
    ]
    for query in task.queries:
        for name in (query.reference, *query.targets):
            open_dataset("jsonl", tmp_path / "judged").image(name)


def test_what_steering_weighs_is_what_val_chose():
    """benchmarks/steering_quality.py wrote it; another backbone may choose others."""
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "steering.json"
    kinds = json.loads(path.read_text(encoding="utf-8"))["kinds"]
    chosen = {kind: told["weight_chosen"] for kind, told in kinds.items()}
    assert chosen == {"without": composing.WITHOUT, "keep": composing.KEEP, "avoid": composing.AVOID}
