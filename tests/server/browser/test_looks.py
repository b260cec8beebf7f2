"""How it looks: nothing is wider than the window, nothing is blank, both themes are whole; pictures are kept."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

pytestmark = pytest.mark.long

HEIGHTS = {390: 844, 1280: 860, 1440: 900, 1680: 1000}
CUT = """[...document.querySelectorAll('button, p, h1, h2, label, .summary span, .mark, output, dd')].filter((e) => {
    const box = e.getBoundingClientRect(); const style = getComputedStyle(e);
    if (!e.checkVisibility() || !box.width) return false;
    if (e.closest('.unseen, .steps, .skip, dialog:not([open]), .toast')) return false;
    const spills = e.scrollWidth > e.clientWidth + 1 && style.overflowX === 'visible' && e.clientWidth > 0;
    return spills || box.left < -0.5 || box.right > innerWidth + 0.5 }).map((e) => e.outerHTML.slice(0, 160))"""


WINDOWS = [(390, "dark"), (1280, "light"), (1280, "dark"), (1440, "light"), (1680, "light")]


def pixels(data):
    return np.asarray(Image.open(io.BytesIO(data)).convert("L"), dtype=float)


def look(one, name):
    """Keep a picture, after a look for what a look would find."""
    assert one.overflow() == 0, name
    assert one.page.evaluate(CUT) == [], name
    shot = pixels(one.shot(name))
    for half in (shot[: len(shot) // 2], shot[len(shot) // 2 :]):
        assert half.std() > 4, f"{name}: blank"
    return shot


def searched(one):
    one.begin("has short sleeves")
    one.page.evaluate("document.activeElement.blur()")


@pytest.mark.parametrize(("width", "theme"), WINDOWS)
def test_the_search(visit, width, theme):
    one = visit(width=width, height=HEIGHTS[width], color_scheme=theme, has_touch=width == 390)
    one.page.wait_for_selector(".example:not(.skeleton)")
    look(one, f"empty-{theme}-{width}")
    searched(one)
    shot = look(one, f"results-{theme}-{width}")
    paper = np.median(shot[:, :12])  # the margin
    assert paper < 40 if theme == "dark" else paper > 235
    columns = one.page.evaluate(
        "getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length"
    )
    assert columns == {390: 2, 1280: 4, 1440: 5, 1680: 6}[width]
    first = one.page.locator(".card").first.bounding_box()
    assert first["y"] < HEIGHTS[width] * 0.75  # results are seen without scrolling


@pytest.mark.parametrize("width", [390, 1280, 1440])
def test_all_that_opens(visit, width):
    one = visit(width=width, height=HEIGHTS[width], color_scheme="light")
    searched(one)
    for key, name in (("?", "keys"), ("b", "benchmark"), ("e", "export")):
        one.page.keyboard.press(key)
        one.page.wait_for_selector("dialog[open] button")
        one.page.wait_for_timeout(250)
        look(one, f"{name}-{width}")
        one.page.keyboard.press("Escape")
    one.page.locator(".card .shot").nth(1).click()
    one.page.wait_for_selector("#large[open]")
    look(one, f"large-{width}")
    one.page.keyboard.press("Escape")
    one.page.evaluate("document.activeElement.blur()")
    one.page.keyboard.press("s")
    one.until(
        "[...document.querySelectorAll('.column')].filter((c) => c.querySelector('.card:not(.skeleton)')).length === 2"
    )
    look(one, f"side-by-side-{width}")
    one.page.keyboard.press("s")
    one.page.keyboard.press("f")
    one.page.click("#add-filter")
    one.page.select_option("#filter-column", "price")
    one.page.click("#add-filter")
    one.page.locator(".filter input").last.fill("1,234")
    one.page.wait_for_timeout(300)
    look(one, f"filters-{width}")


@pytest.mark.parametrize("theme", ["dark"])
def test_a_trail_with_branches_and_a_benchmark(visit, theme):
    one = visit(color_scheme=theme)
    answer = one.say("blue")
    for word in ("in red", "with stripes"):
        answer = one.take(answer["hits"][2]["id"], word)
    one.page.click("#undo")
    one.page.wait_for_timeout(200)
    one.say("in green")
    own = one.ids()[3]
    one.focus(own)
    one.search(lambda: one.page.keyboard.press("k"), keep=[own])
    one.page.fill("#without", "stripes")
    one.search(lambda: one.page.press("#without", "Enter"), without=["stripes"])
    one.focus(one.ids()[0])
    one.page.keyboard.press("y")
    one.page.wait_for_selector(".card.is-right")
    look(one, f"trail-{theme}")
    one.page.click("#open-benchmark")
    one.search(one.page.locator(".query").nth(4).click)
    look(one, f"benchmark-query-{theme}")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_error_and_a_notice(visit, theme):
    one = visit("/#cut", color_scheme=theme)
    one.troubled = True
    told = {"code": "internal", "message": "the server failed at this request", "request_id": "5e1c8f0a2b3d4e6f"}
    one.page.route("**/v1/search", lambda route: route.fulfill(status=500, json={"error": told}))
    one.page.fill("#words", "красное платье")
    one.page.wait_for_selector(".message-error")
    look(one, f"error-{theme}")
