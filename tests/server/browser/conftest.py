"""The page in a real browser, over the real engine: drawn garments, indexed with the embedded backbone."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

SHELL = "/usr/bin/chromium-headless-shell"  # the same without a window, in three quarters of the time
QUIET = ("quic", "background-networking", "component-update", "sync", "gpu", "default-apps", "domain-reliability")
PAGE = 24  # hits that the page asks for at a time
FAMILIES = 32  # of six garments each
WAIT = 20_000  # milliseconds, for a machine that does other things too
IDS = """(n) => [...document.querySelectorAll('.column')].slice(n, n + 1)
  .flatMap((column) => [...column.querySelectorAll('.card:not(.skeleton):not(.alike-card)')])
  .map((card) => card.dataset.id)"""


# Of a module, not of the session: while it stands, Playwright keeps an event loop running in this thread, and other
# tests of this process could not have one.
@pytest.fixture(scope="module")
def chromium(machine_browser: tuple[str, str]) -> Iterator[Any]:
    """The machine's own Chromium."""
    from playwright.sync_api import sync_playwright

    flags = ["--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET)]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which(SHELL) or machine_browser[0], args=flags)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def wardrobe(tmp_path_factory, worker_id) -> Path:
    """A folder with the gallery "wardrobe" and the set that it was made of; made once, however many processes test."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "wardrobe-for-the-page"
    with contextlib.suppress(FileExistsError):
        folder.mkdir()
        _draw(folder / "set")
        _index(folder)
        (folder / "whole").touch()
    end = time.monotonic() + 200
    while not (folder / "whole").exists():
        assert time.monotonic() < end, "another process did not finish the gallery"
        time.sleep(0.2)
    return folder


def _draw(folder: Path) -> None:
    """Pictures, a table of what they show, and queries with their right answers."""
    from composir.datasets.wardrobe import Wardrobe

    data = Wardrobe(train=6, val=6, test=6 * FAMILIES, image_size=64)
    images = folder / "images"
    images.mkdir(parents=True)
    rows = []
    for number, name in enumerate(data.ids("test")):
        data.image(name).save(images / f"{name}.jpg", quality=90)
        shown = data.garment(name)
        price = 9.5 + number * 37 % 90
        stock = str(number % 3 > 0).lower()
        rows.append([f"{name}.jpg", shown.kind, price, stock, f"{shown.neck}'s 100%"])
    with (images / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["file_name", "kind", "price", "in stock", "Neck"], *rows])
    asked = [
        {"reference": q.reference, "caption": q.text, "targets": list(q.targets), "subset": list(q.subset)}
        for q in data.triplets("test")
    ]
    (folder / "triplets.jsonl").write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")


def _index(folder: Path) -> None:
    from composir.backbones import load_backbone
    from composir.indexing import create_gallery, index_folder
    from composir.methods import load_method

    method = load_method("slerp", load_backbone("wardrobe-clip"), alpha="wardrobe")
    images = folder / "set" / "images"
    gallery = create_gallery(folder / "wardrobe", method, images)
    index_folder(gallery, method, images, batch_size=64, workers=0)


@dataclass
class Served:
    """A server at work."""

    url: str
    service: Any

    def search(self, **body: Any) -> dict[str, Any]:
        """What the API answers."""
        answer = httpx.post(f"{self.url}/v1/search", json={"k": PAGE, **body}, timeout=60)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def get(self, path: str) -> Any:
        """JSON at an address."""
        return httpx.get(f"{self.url}{path}", timeout=60).raise_for_status().json()


@contextlib.contextmanager
def serving(service: Any, door: int = 0, *, ready: bool = True, **settings: Any) -> Iterator[Served]:
    """uvicorn at a port of this machine, a free one if none is named, in a thread; `ready` waits until it is that."""
    import uvicorn

    from composir.server import create_app
    from composir.server.lifecycle import connection_class
    from composir.server.settings import Settings

    chosen = Settings(decode_workers=1, batch_delay_seconds=0.0, **settings)
    made = {"http": connection_class(chosen.header_seconds), "lifespan": "on", "ws": "none", "log_config": None}
    config = uvicorn.Config(create_app(chosen, service), timeout_graceful_shutdown=1, **made)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", door)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            _until(lambda: httpx.get(f"{url}/{'readyz' if ready else 'livez'}", timeout=60).status_code == 200)
            yield Served(url, service)
        finally:
            server.should_exit = True
            thread.join(timeout=30)
            assert not thread.is_alive(), "the server did not stop within 30 s"


def _until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(httpx.HTTPError):
            if true():
                return
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture(scope="session", name="serving")
def _serving():
    return serving


@pytest.fixture(scope="module")
def served(wardrobe, tmp_path_factory) -> Iterator[Served]:
    """The gallery behind the real engine, with its benchmark and a folder for verdicts."""
    from composir.server.answering.engine import open_service
    from composir.server.settings import Settings

    judged = tmp_path_factory.mktemp("judged") / "verdicts"
    own = {"gallery": str(wardrobe / "wardrobe"), "data": "jsonl", "root": wardrobe / "set", "split": "test"}
    settings = Settings(**own, device="cpu", judgements=judged, fold_similarity=0.9)
    with serving(open_service(settings)) as at_work:
        yield at_work


@dataclass
class Visit:
    """A person with a browser of their own: what is shown, what was asked for, what was complained of."""

    page: Any
    served: Served
    context: Any
    shots: Path
    asked: list[Any] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    troubled: bool = False  # whether the test provokes errors, of which browsers tell on the console

    def bodies(self) -> list[dict[str, Any]]:
        """Of the searches sent so far, forms left out."""
        sent = [request for request in self.asked if request.url.endswith("/v1/search")]
        return [json.loads(r.post_data) for r in sent if "json" in (r.headers.get("content-type") or "")]

    def during(self, act: Callable[[], Any], **wanted: Any) -> dict[str, Any]:
        """Do something, and wait for the answer to the search with these values that it leads to; its JSON."""

        def fits(response: Any) -> bool:
            if not response.url.endswith("/v1/search") or not response.ok:
                return False
            if "json" not in (response.request.headers.get("content-type") or ""):
                return False
            body = json.loads(response.request.post_data)
            return all(body.get(name) == value for name, value in wanted.items())

        with self.page.expect_response(fits, timeout=WAIT) as caught:
            act()
        return caught.value.json()

    def search(self, act: Callable[[], Any], column: int = 0, **wanted: Any) -> dict[str, Any]:
        """As `during`, and wait until its hits are what is shown."""
        answer = self.during(act, **wanted)
        self.shows([hit["id"] for hit in answer["hits"]], column)
        return answer

    def shows(self, ids: list[str], column: int = 0) -> None:
        """Wait until the cards begin with these."""
        script = f"([ids, n]) => JSON.stringify(({IDS})(n).slice(0, ids.length)) === JSON.stringify(ids)"
        try:
            self.page.wait_for_function(script, arg=[ids, column], timeout=WAIT)
        except Exception:
            assert self.ids(column)[: len(ids)] == ids
            raise

    def ids(self, column: int = 0) -> list[str]:
        """Of the cards in a column."""
        return self.page.evaluate(IDS, column)

    def say(self, words: str, **wanted: Any) -> dict[str, Any]:
        """Type words and press Enter."""
        self.page.fill("#words", "")
        return self.search(
            lambda: (self.page.fill("#words", words), self.page.press("#words", "Enter")), text=words, **wanted
        )

    def begin(self, words: str = "in red") -> dict[str, Any]:
        """A reference from a search by words, then words about it."""
        first = self.say("blue")
        return self.take(first["hits"][0]["id"], words)

    def take(self, own: str, words: str) -> dict[str, Any]:
        """Make a result the reference by key, and say what differs."""
        self.focus(own)
        self.search(lambda: self.page.keyboard.press("r"), reference={"id": own})
        return self.say(words, reference={"id": own})

    def focus(self, own: str) -> None:
        """Put the focus on a card."""
        self.page.locator(f'[data-id="{own}"] .shot').first.focus()

    def steps(self) -> list[str]:
        """The words of the trail's cards."""
        return self.page.locator(".step-words").all_inner_texts()

    def until(self, script: str, argument: Any = None) -> None:
        """Wait for JavaScript to be true. It is sent as a function: the page's policy forbids what looks like eval."""
        function = script if script.startswith("(") else f"() => {script}"
        self.page.wait_for_function(function, arg=argument, timeout=WAIT)

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        return self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")

    def shot(self, name: str) -> bytes:
        """A picture of the window, kept for eyes."""
        self.page.evaluate("document.fonts.ready")
        self.until("[...document.images].every((image) => image.complete)")
        data = self.page.screenshot(animations="disabled")
        (self.shots / f"{name}.png").write_bytes(data)
        return data


@pytest.fixture(scope="session")
def shots(tmp_path_factory) -> Path:
    """Where pictures of the page are kept: pytest's folder of temporary files, or where COMPOSIR_SCREENSHOTS says."""
    named = os.environ.get("COMPOSIR_SCREENSHOTS")
    folder = Path(named) if named else tmp_path_factory.mktemp("screenshots", numbered=False)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def visit(chromium, served, shots) -> Iterator[Callable[..., Visit]]:
    """visit("/#…", width=390) opens the page in a fresh profile; at the end nothing may have gone wrong or outside."""
    opened: list[Visit] = []

    def make(
        path="/", *, at: Served = served, width=1280, height=860, prepare=None, gallery=None, ready=True, **more: Any
    ) -> Visit:
        def told(route):  # as the server, but for what `gallery` says
            answer = route.fetch()
            route.fulfill(response=answer, json={**answer.json(), **gallery})

        options = {"viewport": {"width": width, "height": height}, "reduced_motion": "reduce", **more}
        context = chromium.new_context(**options)
        context.set_default_timeout(WAIT)
        page = context.new_page()
        one = Visit(page, at, context, shots)
        opened.append(one)
        page.on("request", lambda request: one.asked.append(request))
        page.on("console", lambda said: said.type in ("error", "warning") and one.complaints.append(said.text))
        page.on("filechooser", lambda _: None)  # from now on: where a test begins to listen, a quick one is missed
        page.on("pageerror", lambda error: one.complaints.append(f"uncaught: {error}"))
        if prepare:
            prepare(page)
        if gallery:
            page.route("**/v1/gallery", told)
        page.goto(f"{at.url}{path}")
        if ready:
            page.wait_for_selector("#reference > *")
        return one

    yield make
    for one in opened:
        here = (one.served.url, "data:", "blob:")
        outside = [request.url for request in one.asked if not request.url.startswith(here)]
        wrong = [line for line in one.complaints if not (one.troubled and "Failed to load resource" in line)]
        one.page.unroute_all(behavior="ignoreErrors")  # a search that is still under way concerns no test any more
        one.context.close()
        assert outside == []
        assert wrong == []


@pytest.fixture(scope="session")
def png() -> Callable[..., bytes]:
    """A small picture that no gallery has."""
    from PIL import Image

    def make(colour: str = "orange", size: tuple[int, int] = (90, 60)) -> bytes:
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, format="PNG")
        return buffer.getvalue()

    return make
