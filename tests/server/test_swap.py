"""Another edition takes over while requests are under way: each is answered by the method that read its picture."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import numpy as np
import pytest

from composir.checkpoint import save
from composir.datasets.wardrobe import Wardrobe
from composir.errors import ComposirError, GalleryError
from composir.gallery import editions
from composir.gallery.place import Folder
from composir.gallery.scan import content_id
from composir.indexing import create_gallery, index_folder
from composir.opening import find_method, load_wanted
from composir.server import decoding
from composir.server.answering.engine import GalleryService, open_service
from composir.server.answering.stand import Stand
from composir.server.computing import Pictures, Texts, compute
from composir.server.references import References
from composir.server.service import SearchAnswer, SearchRequest
from composir.server.settings import Settings
from composir.server.telemetry import Telemetry

UPLOAD = b"the bytes of a picture"
PICTURE = Wardrobe(6, 6, 6, seed=9).image("test-00000-0")
ASKED = SearchRequest(text="is red", k=3)


def clock(stage: str):
    return contextlib.nullcontext()


class Decoders(decoding.Decoders):
    """Decode as the real ones do; `then` happens while they are at it."""

    def __init__(self, then=lambda: None):  # no child is started
        self.then, self.count = then, 0

    async def pixels(self, source, transform) -> np.ndarray:
        self.count += 1
        self.then()
        return transform.pixels(PICTURE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("swap")
    (root / "pictures").mkdir()
    wardrobe = Wardrobe(6, 6, 12)
    for name in wardrobe.ids("test")[:6]:
        wardrobe.image(name).save(root / "pictures" / f"{name}.png")
    for place, backbone in ((root / "g", None), (None, "wardrobe-blip")):
        method = load_wanted(find_method("slerp", *([backbone] if backbone else [])), device="cpu").eval()
        where = place or editions.edition(Folder(root / "g"), method.gallery_key())
        index_folder(create_gallery(where, method, root / "pictures"), method, root / "pictures", workers=0)
    return root, method.gallery_key()


@pytest.fixture
def service(folder):
    with contextlib.closing(open_service(Settings(gallery=str(folder[0] / "g"), refresh_seconds=3600.0))) as opened:
        yield opened
    if editions.current(Folder(folder[0] / "g")).name != "g":
        editions.go_back(Folder(folder[0] / "g"))


@pytest.fixture
def swap(service, folder):
    def change() -> None:
        before = service.info().key
        editions.point(Folder(folder[0] / "g"), folder[1])
        service.refresh()
        assert service.info().key != before

    return change


def into(service: GalleryService, decoders: Decoders, given: bytes = UPLOAD) -> SearchRequest:
    return asyncio.run(References(service, decoders, None, 10**6, Telemetry()).into(ASKED, given))


def answered(service: GalleryService, request: SearchRequest) -> SearchAnswer:
    (answer,) = service.search([request], clock)
    if isinstance(answer, ComposirError):
        raise answer
    return answer


def told(answer: SearchAnswer) -> list[tuple[str, float]]:
    return [(hit.id, hit.score) for hit in answer.hits]


def test_an_upload_is_computed_by_the_method_that_it_was_decoded_for(service, swap):
    expected = answered(service, into(service, Decoders()))
    service._composer = type(service._composer)()
    request = into(service, Decoders(then=swap))  # taken over while it was being decoded
    assert told(answered(service, request)) == told(expected)
    assert not service.knows(content_id(UPLOAD), ASKED)  # nothing of it is kept as the new method's
    now = into(service, Decoders())
    assert answered(service, now).gallery_version == service.info().version


def test_a_known_upload_stays_known_to_what_it_was_looked_up_for(service, swap):
    answered(service, into(service, Decoders()))
    decoders = Decoders()
    request = replace(into(service, decoders), text="is blue")
    assert decoders.count == 0
    swap()
    assert len(answered(service, request).hits) == 3


def test_both_sides_of_a_swap_are_answered_in_one_batch(service, swap):
    old = into(service, Decoders())
    swap()
    new = into(service, Decoders())
    first, words, second = service.search([old, replace(ASKED, text="a coat"), new], clock)
    assert told(first) == told(answered(service, old))
    assert told(second) == told(answered(service, new))
    assert told(first) != told(second)
    assert len(words.hits) == 3


def test_pictures_are_embedded_by_the_method_that_they_were_decoded_for(service, swap):
    state = service.state()
    pixels = service.transform("gallery", None, state).pixels(PICTURE)[None]
    before = service.embed_pictures(pixels, None, clock)
    swap()
    now = service.transform("gallery", None).pixels(PICTURE)[None]
    items = [Pictures(pixels, None, state), Pictures(now, None, service.state()), Texts(("red",), None)]
    old, new, _ = compute(service, items, clock)
    np.testing.assert_allclose(old, before, atol=1e-6)
    np.testing.assert_allclose(new, service.embed_pictures(now, None, clock), atol=1e-6)


def test_the_state_goes_with_pictures_to_embed(fakes, folder, app_with, make_jpeg, monkeypatch):
    (folder[0] / "one").mkdir(exist_ok=True)
    client, seen = app_with(fakes.FakeService(folder[0] / "one")), []
    real = client.service.transform
    monkeypatch.setattr(client.service, "state", lambda: "then")
    monkeypatch.setattr(client.service, "transform", lambda *own: seen.append(own[2]) or real(*own))
    embed = client.service.embed_pictures
    monkeypatch.setattr(client.service, "embed_pictures", lambda *own: seen.append(own[3]) or embed(*own))
    assert client.post("/v1/embeddings", files={"image": make_jpeg(1)}).status_code == 200
    assert seen == ["then", "then"]


def test_encodings_are_kept_by_what_made_them(service, swap, folder):
    """Not by an address, which another model may come to have: they are the old model's again when it is back."""
    answered(service, into(service, Decoders()))
    expected = answered(service, replace(into(service, Decoders()), text="is blue"))
    own = content_id(UPLOAD)
    assert service.knows(own, replace(ASKED, method="sum"))
    assert service.knows(own, replace(ASKED, text=""))  # read as the gallery is, which is the same
    swap()
    assert not service.knows(own, ASKED)
    editions.go_back(Folder(folder[0] / "g"))
    service.refresh()
    decoders = Decoders()
    again = answered(service, replace(into(service, decoders), text="is blue"))
    assert decoders.count == 0
    assert told(again) == told(expected)


def test_an_edition_is_warm_before_it_takes_over(service, swap, folder, monkeypatch):
    seen, real = [], Stand.warm
    monkeypatch.setattr(Stand, "warm", lambda stand: (seen.append((stand, service.state())), real(stand)))
    before = service.state()
    swap()
    assert seen == [(service.state(), before)]


def test_an_edition_that_cannot_be_searched_does_not_take_over(service, swap, folder, monkeypatch):
    def broken(_stand):
        raise RuntimeError("no encoding")

    monkeypatch.setattr(Stand, "warm", broken)
    before = service.state()
    with pytest.raises(RuntimeError, match="no encoding"):
        swap()
    assert service.state() is before


def test_a_server_told_a_method_refuses_an_edition_of_another_key(folder):
    """As docs/gallery.md says: what is served goes on, and both keys are named."""
    place = Folder(folder[0] / "g")
    settings = Settings(gallery=str(folder[0] / "g"), method=str(_checkpoint(folder[0])), refresh_seconds=3600.0)
    with contextlib.closing(open_service(settings)) as opened:
        before = opened.info()
        editions.point(place, folder[1])
        try:
            with pytest.raises(GalleryError) as refused:
                opened.refresh()
        finally:
            editions.go_back(place)
        assert before.key in str(refused.value)
        assert folder[1] in str(refused.value)
        assert opened.info() == before
        assert len(answered(opened, ASKED).hits) == 3


def _checkpoint(root):
    path = root / "told.safetensors"
    save(path, load_wanted(find_method("slerp"), device="cpu"), arguments={})
    return path
