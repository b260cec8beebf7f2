"""What is shown while nothing is there yet, is on its way, is missing, or has gone wrong."""

from __future__ import annotations

import threading

import pytest

pytestmark = pytest.mark.long


def refuse(status, code, message, **headers):
    error = {"error": {"code": code, "message": message, "request_id": "r-4711"}}
    return {
        "status": status,
        "json": error,
        "headers": {name.replace("_", "-"): value for name, value in headers.items()},
    }


def test_the_first_visit_says_what_to_do(visit):
    one = visit()
    one.page.wait_for_selector(".example:not(.skeleton)")
    told = one.page.inner_text("main")
    for words in ("This picture, but", "Drop a file, paste one", "words alone"):
        assert words in told
    assert one.page.inner_text("#served") == "wardrobe · 192 pictures"
    assert one.page.title() == "wardrobe · composir"
    assert one.page.locator("#trail").is_hidden()


def test_examples_come_from_the_gallery_where_there_is_no_benchmark(visit):
    one = visit(gallery={"benchmark": None})
    one.page.wait_for_selector(".example:not(.skeleton)")
    assert one.page.locator(".example").all_inner_texts() == ["… in red", "… with stripes", "… in black"]
    images = one.page.locator(".example img")
    assert len({image.get_attribute("data-picture") for image in images.all()}) == 3


def test_places_are_held_while_pictures_are_on_their_way(visit):
    one = visit()
    held = []
    one.page.route("**/v1/search", lambda route: held.append(route))
    one.page.fill("#words", "red")
    one.page.wait_for_selector(".skeleton .frame")
    one.until("document.querySelector('.column').classList.contains('busy')")
    before = one.page.locator(".card .frame").nth(1).bounding_box()
    held[-1].continue_()
    one.page.wait_for_selector(".card:not(.skeleton)")
    assert one.page.locator(".card .frame").nth(1).bounding_box() == before  # nothing jumps
    one.until("!document.querySelector('.column').classList.contains('busy')")


def test_an_error_has_its_id_and_another_try(visit):
    one = visit()
    one.troubled = True
    one.page.route("**/v1/search", lambda route: route.fulfill(**refuse(500, "internal", "the server failed at this")))
    one.page.fill("#words", "red")
    one.page.wait_for_selector(".message-error")
    told = one.page.inner_text(".message-error")
    assert "The server failed at this." in told
    assert "r-4711" in told
    assert one.page.get_attribute(".message-error", "role") == "alert"
    one.page.unroute("**/v1/search")
    one.search(lambda: one.page.get_by_role("button", name="Try again").click(), text="red")
    assert one.page.locator(".message").count() == 0


def test_no_other_try_is_offered_for_what_cannot_be_searched_for(visit):
    one = visit()
    one.troubled = True
    one.page.route("**/v1/search", lambda route: route.fulfill(**refuse(422, "invalid_request", "alpha: too large")))
    one.page.fill("#words", "red")
    one.page.wait_for_selector(".message-error")
    assert "Alpha: too large." in one.page.inner_text(".message-error")
    assert one.page.get_by_role("button", name="Try again").count() == 0


def test_results_begin_anew_once_the_gallery_is_another(visit):
    """Of themselves once; then a person is asked, lest two galleries in turn keep the page going for ever."""
    one = visit()
    one.troubled = True

    def stale(route):
        cursor = route.request.post_data_json.get("cursor")
        route.fulfill(**refuse(422, "stale_cursor", "the cursor is strange")) if cursor else route.continue_()

    one.page.route("**/v1/search", stale)
    answer = one.say("red")
    one.page.keyboard.press("Escape")
    one.page.mouse.move(900, 600)
    one.page.mouse.wheel(0, 20_000)
    one.until("document.querySelector('.summary').innerText.includes('begin anew')")
    one.page.wait_for_timeout(300)
    assert one.ids() == [hit["id"] for hit in answer["hits"]]
    one.page.mouse.wheel(0, 20_000)
    one.page.wait_for_selector(".end .message")
    assert [("cursor" in body) for body in one.bodies()] == [False, True, False, True]
    one.page.unroute("**/v1/search")
    again = one.search(one.page.get_by_role("button", name="Begin anew").click)
    assert again["cursor"]
    one.page.wait_for_timeout(300)  # it is drawn, and what is shown begins at its top again
    one.page.mouse.wheel(0, 20_000)
    one.until("document.querySelectorAll('.card:not(.skeleton)').length > 24")


def test_a_busy_server_is_asked_again_when_it_says(visit):
    one = visit()
    one.troubled = True
    calls = []

    def busy(route):
        calls.append(one.page.evaluate("performance.now()"))
        if len(calls) == 1:
            route.fulfill(**refuse(429, "busy", "too many requests wait; try again in 2 s", Retry_After="2"))
        else:
            route.continue_()

    one.page.route("**/v1/search", busy)
    one.page.fill("#words", "red")
    one.page.wait_for_selector(".message-wait")
    assert "Trying again in 2 s" in one.page.inner_text(".message-wait")
    one.page.wait_for_selector(".card:not(.skeleton)")
    assert calls[1] - calls[0] >= 1900
    assert one.page.locator(".message").count() == 0


def test_a_wait_can_be_cut_short_and_another_question_ends_it(visit):
    one = visit()
    one.troubled = True
    answers = iter([refuse(503, "unavailable", "the model is being loaded", Retry_After="100")] * 2)

    def unready(route):
        told = next(answers, None)
        route.fulfill(**told) if told else route.continue_()

    one.page.route("**/v1/search", unready)
    one.page.fill("#words", "red")
    one.page.wait_for_selector(".message-wait")
    one.page.get_by_role("button", name="Try now").click()
    one.page.wait_for_timeout(200)
    one.page.wait_for_selector(".message-wait")
    one.page.fill("#words", "blue")
    one.page.wait_for_selector(".card:not(.skeleton)")


def test_a_server_that_is_gone_is_looked_for(visit, serving, fakes, folder):
    with serving(fakes.FakeService(folder)) as short:
        one = visit(at=short)
        one.troubled = True
        one.say("red")
    one.page.fill("#words", "blue")
    one.page.wait_for_selector(".message-wait")
    assert "cannot be reached" in one.page.inner_text(".message-wait")
    port = int(short.url.rpartition(":")[2])
    with serving(fakes.FakeService(folder), door=port):
        one.until("document.querySelector('.message') === null")
        assert one.bodies()[-1]["text"] == "blue"
        assert one.page.locator(".card:not(.skeleton)").count() > 0


def test_the_page_waits_for_a_server_that_starts(visit):
    calls = []

    def starting(page):
        def unready(route):
            calls.append(1)
            if len(calls) == 1:
                route.fulfill(**refuse(503, "unavailable", "the model is being loaded", Retry_After="1"))
            else:
                route.continue_()

        page.route("**/v1/gallery", unready)

    one = visit(prepare=starting, ready=False)
    one.troubled = True
    one.page.wait_for_selector(".message-wait")
    one.page.wait_for_selector(".welcome")


def test_the_page_waits_for_a_gallery_that_is_being_opened(visit, serving, fakes, folder):
    gate = threading.Event()
    with serving(lambda: gate.wait(60) and fakes.FakeService(folder), ready=False) as short:
        one = visit(at=short, ready=False)
        one.troubled = True
        one.page.wait_for_selector(".message-wait")
        told = one.page.inner_text(".message-wait")
        assert "The server is not ready" in told
        assert "The gallery and the model are being loaded. Trying again in 1 s." in told
        gate.set()
        one.page.wait_for_selector(".welcome")
        assert one.page.inner_text("#served") == "fakes · 12 pictures"


KEY = "a-key-that-opens-the-gallery"


@pytest.fixture(scope="module")
def locked(serving, fakes, folder):
    with serving(fakes.FakeService(folder), api_keys=[KEY]) as at_work:
        yield at_work


def test_a_key_is_asked_for_and_kept_for_the_tab(visit, locked):
    one = visit(at=locked, ready=False)
    one.troubled = True
    one.page.wait_for_selector("#key[open]")
    assert one.page.evaluate("document.activeElement.id") == "key-field"
    one.page.fill("#key-field", "not-the-key-of-this-one")
    one.page.keyboard.press("Enter")
    one.until("document.querySelector('#key [role=alert]') !== null")
    one.page.fill("#key-field", KEY)
    one.page.keyboard.press("Enter")
    one.page.wait_for_selector("#reference > *")
    one.page.fill("#words", "red")
    one.page.wait_for_selector(".card:not(.skeleton)")
    one.until("[...document.querySelectorAll('.card img')].every((i) => i.src.startsWith('blob:') && i.naturalWidth)")
    assert KEY not in one.page.url
    assert one.page.evaluate("[Object.values(localStorage).join(), Object.values(sessionStorage).join()]") == ["", KEY]
    keyed = [request for request in one.asked if "/v1/" in request.url and request.url.startswith(locked.url)]
    assert keyed[-1].headers["authorization"] == f"Bearer {KEY}"
    one.page.reload()
    one.page.wait_for_selector(".card:not(.skeleton)")
    assert one.page.locator("#key[open]").count() == 0


def test_without_a_key_the_page_says_so(visit, locked):
    one = visit(at=locked, ready=False)
    one.troubled = True
    one.page.wait_for_selector("#key[open]")
    one.page.keyboard.press("Escape")
    one.page.wait_for_selector(".message-error")
    assert "API key is needed" in one.page.inner_text(".message-error")
    one.page.get_by_role("button", name="Try again").click()
    one.page.wait_for_selector("#key[open]")


def test_more_that_fails_is_tried_again_in_its_place(visit):
    one = visit()
    one.troubled = True
    answer = one.say("red")
    one.page.route("**/v1/search", lambda route: route.fulfill(**refuse(500, "internal", "the server failed")))
    one.page.mouse.wheel(0, 20_000)
    one.page.wait_for_selector(".end .message-error")
    one.shows([hit["id"] for hit in answer["hits"]])
    one.page.unroute("**/v1/search")
    one.page.get_by_role("button", name="Try again").click()
    one.until("document.querySelectorAll('.card').length > 40")
    assert len(set(one.ids())) == len(one.ids())


def test_words_that_want_to_act_are_words(visit):
    """Words, captions and file names are text, whatever stands in them."""
    one = visit()
    evil = "<img src=x onerror=alert(1)><b>red</b>"

    def strange(route):
        answer = route.fetch()
        told = answer.json()
        for hit in told["hits"]:
            hit["path"] = f"a/{evil.replace('/', '')}.jpg"
            hit["metadata"] = {evil: evil}
        route.fulfill(response=answer, json=told)

    one.page.route("**/v1/search", strange)
    one.page.fill("#words", evil)
    one.page.press("#words", "Enter")
    one.page.wait_for_selector(".card:not(.skeleton)")
    one.page.fill("#without", evil)
    one.page.press("#without", "Enter")
    one.page.wait_for_selector("#without-chips li")
    one.page.locator(".card .shot").first.click()
    assert evil in one.page.inner_text("#large .facts")
    assert evil in one.steps()[0]
    assert one.page.locator("img[src=x], #columns b:text-is('red'), #trail b").count() == 0


def test_words_typed_before_the_page_is_ready_are_not_lost(visit):
    held = []
    one = visit(prepare=lambda page: page.route("**/v1/gallery", lambda route: held.append(route)), ready=False)
    one.page.fill("#words", "red")
    one.page.wait_for_timeout(100)
    answer = one.search(lambda: held[0].continue_(), text="red")
    assert answer["hits"]
    assert one.page.input_value("#words") == "red"
