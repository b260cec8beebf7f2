"""Results: why-bars, order, endless scroll, folding, the large view, side by side, export."""

from __future__ import annotations

import csv
import io
import json

import pytest


def ids(answer):
    return [hit["id"] for hit in answer["hits"]]


def test_why_bars_tell_what_the_method_tells(visit):
    one = visit()
    answer = one.begin("in green")
    hit = answer["hits"][0]
    card = one.page.locator(f'.card[data-id="{hit["id"]}"]')
    assert set(hit["why"]) == {"image", "text", "composed"}
    for name, value in hit["why"].items():
        bar = card.locator(f".why-{name}")
        assert bar.get_attribute("title") == bar.get_attribute("aria-label")
        assert f"{value:.3f}" in bar.get_attribute("title")
        share = bar.locator(".line").evaluate("(e) => [getComputedStyle(e, '::before').width, e.clientWidth]")
        assert abs(float(share[0].rstrip("px")) / share[1] - max(0, value)) < 0.02
    words = one.say("blue coat")
    assert "image" in words["hits"][0]["why"]  # still about the picture
    one.search(lambda: one.page.click("#drop-reference"))
    assert one.page.locator(".why-image").count() == 0
    assert one.page.locator(".why-text").count() >= 24


def test_the_order_can_be_by_one_similarity(visit):
    one = visit()
    answer = one.begin("in green")
    one.page.click("#order [data-order=text]")
    by_text = sorted(answer["hits"], key=lambda hit: (-hit["why"]["text"], hit["rank"]))
    one.shows([hit["id"] for hit in by_text])
    assert "ordered by similarity to the words" in one.page.inner_text(".summary")
    assert one.page.locator(".card .rank").first.inner_text() == str(by_text[0]["rank"])  # ranks are told as they are
    one.page.keyboard.press("o")
    one.shows(ids(answer))
    one.page.keyboard.press("o")
    by_image = sorted(answer["hits"], key=lambda hit: (-hit["why"]["image"], hit["rank"]))
    one.shows([hit["id"] for hit in by_image])
    assert "ordered by similarity to the image" in one.page.inner_text(".summary")


def test_the_list_goes_on_to_its_end_and_nothing_stands_twice(visit):
    one = visit()
    one.say("red")
    before = len(one.bodies())
    for _ in range(40):
        one.page.mouse.wheel(0, 4000)
        one.page.wait_for_timeout(60)
        if one.page.locator(".end").inner_text().startswith("That is all"):
            break
    everything = one.served.search(text="red", k=1000)
    assert one.ids() == ids(everything)
    assert len(set(one.ids())) == len(one.ids()) == everything["total"]
    assert one.page.inner_text(".end") == f"That is all: {everything['total']} pictures."
    cursors = [body["cursor"] for body in one.bodies()[before:]]
    assert len(cursors) == len(set(cursors)) == -(-everything["total"] // 24) - 1


def roll(one):
    one.page.mouse.wheel(0, 4000)


def to_the_end(one):
    one.page.keyboard.press("End")


@pytest.mark.parametrize(("order", "further"), [("composed", to_the_end), ("image", roll), ("text", to_the_end)])
def test_no_order_and_no_way_of_scrolling_stops_the_list(visit, order, further):
    """In another order further pictures come among those above, and the end may stay where it was: near."""
    one = visit(width=1440, height=900)
    answer = one.begin("in green")
    one.page.keyboard.press("Escape")
    if order != "composed":
        one.page.click(f"#order [data-order={order}]")
    one.page.locator(".card").last.hover()
    for _ in range(40):
        further(one)
        one.page.wait_for_timeout(60)
        if one.page.locator(".end").inner_text().startswith("That is all"):
            break
    assert one.page.inner_text(".end") == f"That is all: {answer['total']} pictures."
    assert len(one.ids()) == answer["total"]


def test_words_typed_as_the_end_comes_near_are_searched_for(visit):
    """What waits for the end of typing is not displaced by a request for further pictures, nor lost to Enter."""
    one = visit(width=1440, height=900)
    one.begin("in green")
    one.page.wait_for_load_state("networkidle")
    typed = """async () => {
      scrollTo(0, 0);
      for (let i = 0; i < 3; i++) await new Promise(requestAnimationFrame);
      const field = document.getElementById("words");
      field.value = "in yellow";
      field.dispatchEvent(new Event("input", { bubbles: true }));
      document.querySelector(".end").scrollIntoView();
    }"""

    def act():
        one.page.evaluate(typed)
        one.page.wait_for_timeout(100)  # the end is seen, and the pause that ends typing is not over
        one.page.press("#words", "Enter")

    one.search(act, text="in yellow")
    sent = [body["text"] for body in one.bodies() if not body.get("cursor")]
    assert sent.count("in yellow") == 1


def test_a_tall_window_is_filled_without_scrolling(visit):
    one = visit(height=5000)
    one.say("red")
    one.until("document.querySelectorAll('.card:not(.skeleton)').length >= 80")
    one.until("document.querySelector('.end').getBoundingClientRect().top > innerHeight")


def test_a_picture_that_comes_again_is_shown_once(visit):
    """As it may when the gallery grows between two pages."""
    one = visit()

    def repeat(route):
        answer = route.fetch()
        told = answer.json()
        if route.request.post_data_json.get("cursor"):
            told["hits"] = [first["hits"][3], *told["hits"]]
        route.fulfill(response=answer, json=told)

    first = one.say("red")
    one.page.route("**/v1/search", repeat)
    one.page.mouse.wheel(0, 20_000)
    one.until("document.querySelectorAll('.card').length > 45")
    everything = ids(one.served.search(text="red", k=1000))
    assert one.ids() == everything[: len(one.ids())]
    assert f"{len(one.ids())} shown" in one.page.inner_text(".summary")


def test_near_duplicates_fold_and_unfold(visit):
    one = visit()
    plain = one.begin("in green")
    answer = one.search(lambda: one.page.click("label:has(#fold)"), fold=True)
    hit = next(hit for hit in answer["hits"] if hit["folded"])
    assert plain["total"] == answer["total"]
    button = one.page.locator(f'.card[data-id="{hit["id"]}"] .unfold')
    assert button.inner_text() == f"+{len(hit['folded'])} alike"
    button.click()
    alike = one.page.locator(".alike-card")
    assert [card.get_attribute("data-id") for card in alike.all()] == hit["folded"]
    shown = "(id) => document.querySelector(`[data-id='${id}']`).nextElementSibling.dataset.id"
    assert one.page.evaluate(shown, hit["id"]) == hit["folded"][0]
    button.click()
    assert alike.count() == 0
    one.search(lambda: one.page.keyboard.press("h"))
    assert "fold" not in one.bodies()[-1]


def test_a_picture_large_with_all_that_is_known(visit):
    one = visit()
    answer = one.begin("in green")
    hit, after = answer["hits"][:2]
    one.page.locator(f'.card[data-id="{hit["id"]}"] .shot').click()
    dialog = one.page.locator("#large")
    told = dialog.inner_text()
    for part in (hit["path"], f"{hit['score']:.4f}", hit["metadata"]["kind"], hit["id"], "Rank 1"):
        assert str(part) in told
    one.until(f"document.querySelector('#large img').src.endsWith('/v1/images/{hit['id']}')")
    one.page.keyboard.press("ArrowRight")
    assert after["path"] in dialog.inner_text()
    one.page.keyboard.press("ArrowLeft")
    assert hit["path"] in dialog.inner_text()
    one.search(lambda: one.page.keyboard.press("k"), keep=[hit["id"]])
    assert dialog.locator('[data-act="keep"]').get_attribute("aria-pressed") == "true"
    one.page.keyboard.press("Escape")
    assert dialog.is_hidden()
    assert one.page.evaluate("document.activeElement.closest('.card').dataset.id") == hit["id"]
    one.page.keyboard.press("Enter")
    assert dialog.is_visible()
    one.search(lambda: dialog.locator('[data-act="reference"]').click(), reference={"id": hit["id"]})
    assert dialog.is_hidden()


def test_two_methods_side_by_side(visit):
    one = visit()
    answer = one.begin("in green")
    one.page.keyboard.press("Escape")
    other = one.search(lambda: one.page.keyboard.press("s"), 1, method="image-only")
    one.shows(ids(answer), 0)
    summed = one.search(lambda: one.page.select_option("[data-side=second]", "sum"), 1, method="sum")
    assert ids(summed) != ids(other)
    shared = set(ids(answer)) & set(ids(summed))
    assert one.page.inner_text("#overlap") == f"{len(shared)} of the first 24 are in both"
    ranks = {hit["id"]: hit["rank"] for hit in summed["hits"]}
    marks = """[...document.querySelectorAll('.column')[0].querySelectorAll('.card')]
      .map((card) => [card.dataset.id, card.querySelector('.mark-shared')?.textContent])"""
    assert dict(one.page.evaluate(marks)) == {i: f"#{ranks[i]} beside" if i in shared else None for i in ids(answer)}
    link = visit(one.page.url.removeprefix(one.served.url))
    link.shows(ids(answer), 0)
    link.shows(ids(summed), 1)
    one.page.click("#second")
    one.until("document.querySelectorAll('.column').length === 1")


def test_names_and_numbers_of_the_bars_stay_apart_on_a_phone(visit):
    one = visit(width=390)
    one.begin("in green")
    one.page.keyboard.press("Escape")
    labels = one.page.locator(".card .why-label")
    assert labels.count() >= 3 * 24
    assert (
        labels.evaluate_all("(all) => all.filter((e) => e.scrollWidth > e.clientWidth).map((e) => e.innerText)") == []
    )


def test_results_are_saved_as_json_and_csv(visit):
    one = visit()
    answer = one.begin("in green")
    one.page.keyboard.press("Escape")
    one.page.keyboard.press("e")
    with one.page.expect_download() as saved:
        one.page.locator("#export .choice").first.click()
    told = json.loads(saved.value.path().read_text(encoding="utf-8"))
    assert told["hits"][: len(answer["hits"])] == answer["hits"]
    assert told["query"]["text"] == "in green"
    assert told["query"]["reference"] == {"id": answer["reference"]}
    assert saved.value.suggested_filename == "results.json"
    one.page.click("#open-export")
    with one.page.expect_download() as saved:
        one.page.locator("#export .choice").last.click()
    rows = list(csv.DictReader(io.StringIO(saved.value.path().read_text(encoding="utf-8"))))
    assert [row["id"] for row in rows][:24] == ids(answer)
    assert float(rows[0]["why.image"]) == answer["hits"][0]["why"]["image"]
    assert rows[0]["kind"] == answer["hits"][0]["metadata"]["kind"]


def test_a_new_order_keeps_the_cards_and_the_focus(visit):
    """Cards that stay are moved, not drawn anew: no picture is loaded twice, and the focus stays on its picture."""
    one = visit()
    answer = one.begin("in green")
    own = ids(answer)[3]
    one.focus(own)
    one.page.evaluate("() => { for (const card of document.querySelectorAll('.card')) card.kept = true }")
    one.page.keyboard.press("]")
    one.page.wait_for_timeout(200)
    one.until("document.querySelectorAll('.card:not(.skeleton)').length >= 24")
    assert one.page.evaluate("document.activeElement.closest('.card').dataset.id") == own
    assert one.page.evaluate("document.activeElement.closest('.card').kept") is True
