"""A report in a real browser: it looks right at both widths, can be sorted, and asks for nothing."""

from __future__ import annotations

import io
import socket
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from composir.datasets import load_dataset
from composir.reporting import write_report
from composir.types import Query, Task

WIDTHS = (1280, 390)
SIZES = {"train": 6, "val": 6, "test": 60}
LONG = "a-name-without-any-place-to-break-it-" * 6


@pytest.fixture(scope="module")
def report(tmp_path_factory, write_run):
    """Three data sets: one with pictures, one wide and partial, one with aspects and words that want to act."""
    folder = tmp_path_factory.mktemp("report")
    asked = [replace(t, metrics=("R@1", "R@10")) for t in load_dataset("wardrobe", **SIZES).tasks("test")]
    data = {"name": "wardrobe", "split": "test", "arguments": SIZES}
    first = write_run(folder / "first", asked, data=data)
    second = write_run(folder / "second", asked, data=data, skill={"panda": 6, "sum": 2}, seed=1)
    metrics = ("R@1", "R@5", "R@10", "R@50", "Rs@1", "Rs@2")
    wide = [_task(name, metrics) for name in ("dress", "shirt", "toptee")]
    third = write_run(folder / LONG, wide, partial=True, warnings=[LONG], skill={LONG: 3, "image-only": 1, "sum": 2})
    script = "<script>document.title = 'taken'; fetch('http://192.0.2.1/')</script><img src=http://192.0.2.1/x.png>"
    hostile = [_task("circo", ("mAP@5", "mAP@10", "mAP@10/*"), script)]
    fourth = write_run(folder / "fourth", hostile, data={"name": "circo"}, warnings=[script])
    write_report([first, second, third, fourth], folder / "report.html", worst=4, best=7)
    return folder / "report.html"


def _task(name, metrics, words="is red"):
    ids = tuple(f"{name}-{i}-{LONG[: i % 90]}" for i in range(90))
    kinds = ("negation", "spatial_relations_background")
    asked = tuple(Query(f"q{i}", ids[i], (words,), (ids[i + 40],), aspects=kinds[: 1 + i % 2]) for i in range(30))
    return Task(name, ids, asked, metrics, drop_reference=False)


@pytest.mark.long
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_it_looks_right(browser, report, tmp_path, width, dark):
    browser.open(report, width, dark=dark)
    assert browser.run("return [innerWidth, document.title]") == [
        width,
        "wardrobe test, fashioniq val, circo val: composir report",
    ]
    assert browser.overflow() == 0
    assert browser.complaints() == []
    browser.screenshot(tmp_path / "page.png")
    picture = Image.open(io.BytesIO((tmp_path / "page.png").read_bytes())).convert("L")
    assert picture.width in (width, width - 15)  # less the scroll bar of a desktop
    assert picture.height > 3000
    paper = np.median(np.asarray(picture))
    assert paper < 40 if dark else paper > 240
    # Ink at the top (the title), in the middle and at the end: nothing is blank or one colour.
    for top in (0, picture.height // 2, picture.height - 900):
        assert np.asarray(picture)[top : top + 900].std() > 5


@pytest.mark.parametrize("width", WIDTHS)
def test_every_text_can_be_read(browser, report, width):
    """Text is inside the window or in a box that scrolls, and stands out from what is behind it."""
    browser.open(report, width)
    outside = browser.run(
        """
        return [...document.querySelectorAll("h2, h3, h4, p, dt, dd, li, summary, figcaption, td, th, svg text")]
          .filter((e) => e.checkVisibility() && !e.closest(".scroll"))
          .map((e) => [e.getBoundingClientRect(), e.textContent])
          .filter(([box]) => box.width && (box.left < 0 || box.right > innerWidth + 0.5)).map(([_, text]) => text)
        """
    )
    assert outside == []
    small = browser.run(
        """
        return [...document.querySelectorAll("body *")]
          .filter((e) => e.checkVisibility() && e.firstChild?.nodeType === 3)
          .map((e) => [e, parseFloat(getComputedStyle(e).fontSize) * (e.getScreenCTM ? e.getScreenCTM().a : 1)])
          .filter(([e, size]) => e.textContent.trim() && size < 9).map(([e, size]) => `${size} ${e.textContent}`)
        """
    )
    assert small == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_stands_out(browser, report, dark):
    browser.open(report, dark=dark)
    colours = browser.run(
        """
        const behind = (e) => { for (; e; e = e.parentElement) {
          const c = getComputedStyle(e).backgroundColor; if (!c.startsWith("rgba(0, 0, 0, 0")) return c } };
        return [...document.querySelectorAll("h2, p, small, td, th, summary, figcaption, .partial, .notices b, em")]
          .filter((e) => e.checkVisibility()).map((e) => [getComputedStyle(e).color, behind(e), e.textContent])
        """
    )
    assert len(colours) > 100
    for ink, paper, words in colours:
        assert contrast(ink, paper) >= 4.5, (ink, paper, words)  # WCAG 1.4.3


def contrast(*colours):
    def light(colour):
        part = np.array([float(v) for v in colour.partition("(")[2].rstrip(")").split(",")[:3]]) / 255
        return float(
            np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        )

    low, high = sorted(map(light, colours))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("width", WIDTHS)
def test_no_request_leaves_the_page(browser, report, width):
    browser.open(report, width)
    browser.run("document.querySelectorAll('details').forEach((each) => (each.open = true)); scrollTo(0, 1e6)")
    asked = browser.requests()
    assert report.as_uri() in asked
    assert {url for url in asked if not url.startswith("data:")} == {report.as_uri()}
    assert browser.run("return document.title").startswith("wardrobe")


def test_the_browser_would_tell_of_a_request(browser, tmp_path):
    """What the tests above find missing is found where it is."""
    page = tmp_path / "loud.html"
    page.write_text(
        "<title>x</title><img src='http://127.0.0.1:9/a.png'><p style='width: 3000px'>x<script>nothing()</script>"
    )
    browser.open(page)
    assert "http://127.0.0.1:9/a.png" in browser.requests()
    assert any("nothing is not defined" in line for line in browser.complaints())
    assert browser.overflow() > 1000


def test_the_policy_stops_what_would_leave(browser, report):
    """Even with a script of someone else's in it, the page reaches nobody; another page does."""
    knock = "document.body.append(Object.assign(new Image(), {src: arguments[0]})); fetch(arguments[0]).catch(() => 0)"
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.5)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/"
        browser.open(report)
        browser.run(knock, address)
        assert any("Content Security Policy" in line for line in browser.complaints())
        with pytest.raises(TimeoutError):
            server.accept()
        browser.open("data:text/html,<title>another")
        browser.run(knock, address)
        server.accept()[0].close()


def column(browser, number):
    script = (
        "return [...document.querySelector('.board').tBodies[0].rows].map((r) => r.children[arguments[0]].innerText)"
    )
    return [text.split("\n")[0].rstrip("*†‡") for text in browser.run(script, number)]


def way(browser, number):
    return browser.find(".board [data-sort]")[number].get_attribute("aria-sort")


def test_sorting_by_click(browser, report):
    browser.open(report)
    before = column(browser, 1)
    browser.find(".board button")[1].click()
    values = [float(text) for text in column(browser, 1)]
    assert way(browser, 1) == "descending"
    assert sorted(map(float, before), reverse=True) == values
    assert len(set(values)) > 2
    browser.find(".board button")[1].click()
    assert way(browser, 1) == "ascending"
    assert [float(text) for text in column(browser, 1)] == values[::-1]
    browser.find(".board button")[0].click()
    assert way(browser, 1) is None
    names = column(browser, 0)
    assert names == sorted(names)


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_sorting_by_key(browser, report, key):
    from selenium.webdriver.common.keys import Keys

    browser.open(report)
    button = browser.find(".board button")[2]
    browser.run("arguments[0].focus()", button)
    assert browser.run("return document.activeElement === arguments[0]", button)
    browser.driver.switch_to.active_element.send_keys({"Enter": Keys.ENTER, "Space": Keys.SPACE}[key])
    values = [float(text) for text in column(browser, 2)]
    assert way(browser, 2) == "descending"
    assert all(a >= b for a, b in pairwise(values))
    assert browser.run("return document.activeElement === arguments[0]", button)


def test_wide_tables_scroll_in_their_own_box(browser, report):
    browser.open(report, 390)
    boxes = browser.run("return [...document.querySelectorAll('.scroll')].map((e) => [e.scrollWidth, e.clientWidth])")
    assert any(inner > outer for inner, outer in boxes)
    assert all(outer <= 390 for _, outer in boxes)


def test_pictures_are_seen(browser, report):
    """A picture shown by reference has pixels of its own, not those of an empty square."""
    browser.open(report)
    card = browser.find("article svg.picture")[0]
    browser.run("arguments[0].scrollIntoView()", card)
    pixels = np.asarray(Image.open(io.BytesIO(card.screenshot_as_png)).convert("RGB"))
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100


def test_a_method_pointed_at_stands_out(browser, report):
    from selenium.webdriver import ActionChains

    browser.open(report)
    [item, *_] = browser.find(".series li")
    ActionChains(browser.driver).move_to_element(item).perform()
    faded = "return [...document.querySelectorAll('section')].map((s) => s.classList.contains('dimmed'))"
    assert browser.run(faded) == [True, False, False]


def test_it_prints_unfolded(browser, report):
    browser.open(report)
    folded = "return [...document.querySelectorAll('.protocol, .more')].filter((e) => !e.open).length"
    assert browser.run(folded) > 0
    browser.command("Page.printToPDF")
    assert browser.run(folded) == 0
