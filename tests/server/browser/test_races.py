"""What happens at once: questions that wait, further pictures under way or failed, another order, a gallery renewed."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.long


def problem(status, code, **headers):
    told = {"error": {"code": code, "message": "the server cannot now", "request_id": "r-1"}}
    return {"status": status, "json": told, "headers": {name.replace("_", "-"): v for name, v in headers.items()}}


def only_further(told):
    """A route that answers requests for further pictures with these, one after another, and lets others pass."""
    answers = iter(told)

    def handle(route):
        answer = next(answers, None) if route.request.post_data_json.get("cursor") else None
        route.fulfill(**answer) if answer else route.continue_()

    return handle


@pytest.fixture
def one(visit):
    opened = visit()
    opened.troubled = True
    return opened


def type_words(one, words):
    one.page.evaluate(
        """(words) => {
          const field = document.getElementById("words");
          field.value = words;
          field.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        words,
    )


def test_another_order_keeps_what_is_said_at_the_end(one):
    """Else nothing would go on: the end stays near, and whoever could ask for more is gone.

    An end that was far and comes near asks of itself. So further pictures fail until it is in view and nothing moves.
    """
    failing = [True]

    def handle(route):
        fails = failing and route.request.post_data_json.get("cursor")
        route.fulfill(**problem(500, "internal")) if fails else route.continue_()

    one.page.route("**/v1/search", handle)
    one.begin("in green")
    one.page.keyboard.press("Escape")
    one.page.keyboard.press("End")
    one.page.wait_for_selector(".end .message-error")
    one.page.click("#order [data-order=text]")
    one.until("document.querySelector('.summary').innerText.includes('similarity to the words')")
    assert len(one.ids()) == 24
    again = one.page.locator(".end").get_by_role("button", name="Try again")
    again.click(trial=True)
    one.page.wait_for_timeout(300)  # the end has told that it is near, if it does
    again.click(trial=True)
    failing.clear()
    again.click()
    one.until("document.querySelectorAll('.card:not(.skeleton)').length > 24")
    one.until("document.querySelector('.end .message') === null")


def test_a_wait_for_further_pictures_is_told_at_the_end_and_ends_with_them(one):
    told = [problem(503, "unavailable", Retry_After="1"), problem(500, "internal")]
    one.page.route("**/v1/search", only_further(told))
    one.say("red")
    one.page.keyboard.press("Escape")
    one.page.keyboard.press("End")
    one.page.wait_for_selector(".end .message-wait")
    one.page.wait_for_selector(".end .message-error")
    assert one.page.locator(".message").count() == 1  # nothing else is said, above the results least of all
    one.page.locator(".end").get_by_role("button", name="Try again").click()
    one.until("document.querySelectorAll('.card:not(.skeleton)').length > 24")
    assert one.page.locator(".message").count() == 0


def test_a_question_that_was_stopped_tells_of_its_wait_no_more(one):
    """It may be looking for the server just then, and learn late that it is gone."""
    looks = []
    one.page.route("**/livez", lambda route: looks.append(route))
    one.page.route("**/v1/search", lambda route: route.abort())
    one.page.fill("#words", "red")
    one.page.wait_for_selector(".message-wait")
    one.page.wait_for_timeout(1600)  # it knocks every 1.5 s
    assert looks
    one.page.unroute("**/v1/search")
    one.say("blue")
    looks[0].abort()
    one.page.wait_for_timeout(200)
    assert one.page.locator(".message").count() == 0


def test_another_order_keeps_the_places_of_pictures_on_their_way(one):
    held = []
    one.page.route("**/v1/search", lambda route: held.append(route))
    one.page.fill("#words", "red")
    one.page.wait_for_selector(".skeleton")
    one.page.click("#order [data-order=text]")
    assert one.page.locator(".skeleton").count() > 0
    held[-1].continue_()
    one.page.wait_for_selector(".card:not(.skeleton)")
    assert "ordered by similarity to the words" in one.page.inner_text(".summary")


def test_a_renewed_gallery_is_told_of_to_nobody_who_asks_something_else(one):
    """Words wait for the end of typing; what had been under way comes back as of another gallery."""
    held = []

    def hold(route):
        held.append(route) if route.request.post_data_json.get("cursor") else route.continue_()

    one.say("red")
    one.page.wait_for_load_state("networkidle")
    one.page.keyboard.press("Escape")
    one.page.route("**/v1/search", hold)
    one.page.keyboard.press("End")
    one.until("document.querySelector('.end .more') !== null")

    def act():
        type_words(one, "blue")
        held[0].fulfill(**problem(422, "stale_cursor"))

    one.search(act, text="blue")
    assert "renewed" not in one.page.inner_text(".summary")
    assert [body["text"] for body in one.bodies() if not body.get("cursor")].count("blue") == 1


def test_what_is_saved_is_the_query_that_the_results_are_of(one):
    """While a filter cannot be read they are those of the query before it."""
    one.say("red")
    one.page.keyboard.press("Escape")
    one.page.keyboard.press("f")
    one.page.fill("#where", "price <")
    one.page.wait_for_selector("#filter-problem:not([hidden])")
    one.page.click("#open-export")
    with one.page.expect_download() as saved:
        one.page.locator("#export .choice").first.click()
    told = json.loads(saved.value.path().read_text(encoding="utf-8"))
    assert told["query"] == {"k": 24, "text": "red"}
    assert [hit["id"] for hit in told["hits"]] == one.ids()


@pytest.mark.parametrize("way", ["order", "second", "typing"])
def test_words_that_wait_survive_whatever_comes_between(one, way):
    """A second column, another order, an answer that was under way: the words are asked for once by each column."""
    one.begin("in green")
    one.page.wait_for_load_state("networkidle")

    def act():
        type_words(one, "in yellow")
        if way == "order":
            one.page.evaluate("document.querySelector('#order [data-order=text]').click()")
        elif way == "second":
            one.page.evaluate("document.getElementById('second').click()")

    before = len(one.bodies())
    answer = one.during(act, text="in yellow")
    shown = sorted(answer["hits"], key=lambda hit: (-hit["why"]["text"], hit["rank"])) if way == "order" else None
    one.shows([hit["id"] for hit in shown or answer["hits"]])
    if way == "second":
        one.until("document.querySelectorAll('.column')[1].querySelector('.card:not(.skeleton)') !== null")
    asked = [body for body in one.bodies()[before:] if not body.get("cursor")]
    assert {body["text"] for body in asked} == {"in yellow"}
    methods = [body.get("method", "") for body in asked]
    assert sorted(methods) == (["", "image-only"] if way == "second" else [""])
