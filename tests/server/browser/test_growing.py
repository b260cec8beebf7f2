"""Scrolling through a gallery that grows: the real engine, and pictures that are indexed between its pages."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from composir.backbones import load_backbone
from composir.datasets.wardrobe import Wardrobe
from composir.gallery.store import Gallery
from composir.indexing import index_folder
from composir.methods import load_method
from composir.server.answering.engine import open_service
from composir.server.settings import Settings

pytestmark = pytest.mark.long


@dataclass
class Growing:
    """A folder of pictures, its gallery, and the server that looks at it all the time."""

    images: Path
    gallery: Gallery
    method: Any
    served: Any = None

    def index(self) -> Any:
        """Make the gallery hold what the folder holds."""
        return index_folder(self.gallery, self.method, self.images, batch_size=16, workers=0, new_root=True)

    def count(self) -> int:
        """How many pictures are served."""
        return self.served.get("/v1/gallery")["pictures"]

    def add(self, pictures: dict[str, Image.Image]) -> None:
        """Index these too, and wait until they are served."""
        wanted, end = self.count() + len(pictures), time.monotonic() + 60
        for name, picture in pictures.items():
            picture.save(self.images / name, quality=80)
        assert self.index().encoded == len(pictures)
        while self.count() != wanted:
            assert time.monotonic() < end, "what was added is not served"
            time.sleep(0.02)


@pytest.fixture
def growing(wardrobe, tmp_path, serving):
    """A copy, for the gallery of the other tests stays as it is."""
    images = tmp_path / "images"
    shutil.copytree(wardrobe / "set" / "images", images)
    shutil.copytree(wardrobe / "wardrobe", tmp_path / "wardrobe")
    method = load_method("slerp", load_backbone("wardrobe-clip"), alpha="wardrobe")
    grown = Growing(images, Gallery.open(tmp_path / "wardrobe"), method)
    assert grown.index().encoded == 0
    settings = Settings(gallery=str(tmp_path / "wardrobe"), device="cpu", refresh_seconds=0.05)
    with serving(open_service(settings)) as grown.served:
        yield grown


def paths(served, body):
    """The whole ranking as it is now: id -> path, best first."""
    answer = served.search(**body | {"k": 1000})
    return {hit["id"]: hit["path"] for hit in answer["hits"]}


def scroll(one, until):
    for _ in range(100):
        if until():
            return
        one.page.mouse.wheel(0, 400)
        one.page.wait_for_timeout(60)
    raise AssertionError(f"{len(one.ids())} cards, and no more came")


def is_over(one):
    return one.page.inner_text(".end").startswith("That is all")


def test_scrolling_neither_repeats_nor_skips_while_pictures_are_added(growing, visit):
    """Those that were there show once each, in their order; of new ones, those that rank below what is shown already.

    The others, as a copy that ranks at the top, come with the next search. The server is asked for before the page,
    to end behind it: a page whose server is gone looks for it, and complains.
    """
    served, drawn = growing.served, Wardrobe(train=6, val=6, test=6, image_size=64)
    name = sorted(growing.images.glob("*.jpg"))[7].name
    one = visit(f"/?reference_path={name}", at=served, height=500)
    body = {"reference": served.get(f"/v1/pictures?path={name}")}
    bound = paths(served, body)
    one.shows(list(bound)[:24])
    before = len(one.bodies())
    one.page.mouse.move(800, 300)

    expected = set(bound)
    for number, split in enumerate(("val", "train")):
        with Image.open(growing.images / name) as own:
            twin = own.convert("RGB")
        twin.putpixel((0, 0), (255 * number, 0, 0))  # another picture, and all but the same
        others = {f"{split}-{own}.jpg": drawn.image(own) for own in drawn.ids(split)}
        growing.add({f"twin-{number}.jpg": twin, **others})
        shown, now = one.ids(), paths(served, body)
        count = len(shown)
        assert count < len(bound)  # further pages are asked for after this
        assert next(iter(now.values())).startswith("twin-")
        below = list(now).index(shown[-1])
        new = {own: place for place, own in enumerate(now) if now[own] in {f"twin-{number}.jpg", *others}}
        assert len(new) == 1 + len(others)
        expected |= {own for own, place in new.items() if place > below}
        scroll(one, lambda count=count: len(one.ids()) > count)
    scroll(one, lambda: is_over(one))

    shown, now = one.ids(), paths(served, body)
    assert len(set(shown)) == len(shown)
    assert [own for own in shown if own in bound] == list(bound)
    assert shown == [own for own in now if own in expected]
    assert set(bound) < expected < set(now)  # some of the new ones came, those above did not
    assert one.page.locator(".card .rank").all_inner_texts() == [str(place) for place in range(1, len(shown) + 1)]
    assert one.page.inner_text(".end") == f"That is all: {len(shown)} pictures."
    asked = one.bodies()[before:]
    assert len(asked) == len({body["cursor"] for body in asked}) > 2  # all of them further pages, none asked for twice

    again = visit(one.page.url.removeprefix(served.url), at=served)
    again.shows(list(now)[:24])
    assert {now[own] for own in again.ids()[:2]} == {"twin-0.jpg", "twin-1.jpg"}
