"""The trail: steps, undo, branches, comparison, and all of it in the address."""

from __future__ import annotations

import base64
import json

import pytest

pytestmark = pytest.mark.long


def turns(one, count=5):
    """That many turns, each with the third result as the next reference."""
    answer = one.say("blue")
    for word in ["in red", "with stripes", "in green", "with long sleeves"][: count - 1]:
        answer = one.take(answer["hits"][2]["id"], word)
    return answer


def ids(answer):
    return [hit["id"] for hit in answer["hits"]]


def test_five_turns_survive_a_link_in_a_fresh_profile(visit):
    one = visit()
    last = turns(one)
    words = one.steps()
    assert words[0] == "blue"
    assert words[-1] == "with long sleeves"
    one.page.select_option("[data-side=method]", "sum")
    one.search(lambda: one.page.click("label:has(#fold)"), method="sum", fold=True)
    slider = (
        "() => { const s = document.getElementById('weight-text'); s.value = 1.5; s.dispatchEvent(new Event('input')) }"
    )
    shown = one.search(lambda: one.page.evaluate(slider), weights={"image": 1, "text": 1.5})
    one.page.click("#order [data-order=text]")
    one.page.wait_for_timeout(300)
    link = one.page.url.removeprefix(one.served.url)
    assert ids(shown) != ids(last)
    other = visit(link)
    other.until("document.querySelectorAll('.card:not(.skeleton)').length >= 24")
    assert other.steps() == words
    assert other.ids() == one.ids()
    assert sorted(other.ids()[:24]) == sorted(ids(shown))
    assert other.page.input_value("#weight-text") == "1.5"
    assert other.page.input_value("[data-side=method]") == "sum"
    assert other.page.is_checked("#fold")
    assert other.page.get_attribute("#order [data-order=text]", "aria-pressed") == "true"
    assert other.page.locator(".step-button[aria-current=step]").inner_text() == "with long sleeves"
    images = "[...document.querySelectorAll('.step img')].map((image) => image.dataset.picture)"
    assert other.page.evaluate(images) == one.page.evaluate(images)


def test_the_link_is_copied(visit):
    one = visit(permissions=["clipboard-read", "clipboard-write"])
    turns(one, 2)
    one.page.keyboard.press("Escape")
    one.page.keyboard.press("c")
    one.until("document.getElementById('toast').textContent.startsWith('Link copied')")
    assert one.page.evaluate("navigator.clipboard.readText()") == one.page.url


def test_back_and_u_undo_one_turn(visit):
    one = visit()
    first = one.say("blue")
    second = one.take(ids(first)[2], "in red")
    third = one.take(ids(second)[2], "in green")
    one.search(lambda: one.page.go_back(), text="in red")  # taken as a reference, but no new words yet
    assert one.page.input_value("#words") == "in red"
    one.search(lambda: one.page.go_back(), reference=one.bodies()[-1].get("reference") and {"id": second["reference"]})
    one.shows(ids(second))
    one.page.keyboard.press("Escape")
    one.page.keyboard.press("u")
    one.page.keyboard.press("u")
    one.shows(ids(first))
    assert one.page.locator("#reference .hollow").count() == 1
    assert len(one.steps()) == 5  # what was undone can still be reached
    one.page.go_forward()
    one.page.go_forward()
    one.shows(ids(second))
    one.page.locator(".step-button").last.click()
    one.shows(ids(third))


def test_undo_before_the_first_step(visit):
    one = visit()
    answer = one.say("blue")
    one.page.keyboard.press("Escape")
    one.page.keyboard.press("u")
    one.page.wait_for_selector(".welcome")
    assert one.steps() == ["blue"]
    one.page.keyboard.press("u")
    one.until("document.getElementById('toast').textContent.includes('no step before')")
    one.page.click(".step-button")
    one.shows(ids(answer))


def test_going_back_and_searching_something_else_makes_a_branch(visit):
    one = visit()
    first = one.say("blue")
    left = one.say("red dress")
    one.page.click("#undo")
    one.shows(ids(first))
    right = one.say("green coat")
    assert one.steps() == ["blue", "red dress", "green coat"]
    places = "[...document.querySelectorAll('.step')].map((s) => [s.style.gridColumn, s.style.gridRow])"
    assert [[int(n.split(" ")[0]) for n in place] for place in one.page.evaluate(places)] == [[1, 1], [2, 1], [2, 2]]
    one.page.locator(".step-button").nth(1).click()
    one.shows(ids(left))
    one.page.locator(".step-button").nth(2).click()
    one.shows(ids(right))
    other = visit(one.page.url.removeprefix(one.served.url))
    other.shows(ids(right))
    assert other.steps() == ["blue", "red dress", "green coat"]
    other.page.locator(".step-button").nth(1).click()
    other.shows(ids(left))


def test_a_branch_stays_after_the_back_button(visit):
    one = visit()
    first = one.say("blue")
    one.say("red dress")
    one.page.go_back()
    one.shows(ids(first))
    one.say("green coat")
    assert one.steps() == ["blue", "red dress", "green coat"]
    one.page.reload()
    one.page.wait_for_selector(".card:not(.skeleton)")
    assert one.steps() == ["blue", "red dress", "green coat"]


def test_two_steps_are_compared(visit):
    one = visit()
    first = one.say("blue")
    second = one.say("light blue")
    one.page.keyboard.press("Escape")
    one.page.keyboard.press("p")
    one.shows(ids(first), 0)
    one.shows(ids(second), 1)
    both = len(set(ids(first)) & set(ids(second)))
    assert one.page.inner_text("#overlap") == f"{both} of the first 24 are in both"
    other = visit(one.page.url.removeprefix(one.served.url))
    other.shows(ids(first), 0)
    other.shows(ids(second), 1)
    one.page.click("#second")
    one.until("document.querySelectorAll('.column').length === 1")
    one.shows(ids(second))
    one.page.locator(".step .compare").first.click()
    one.shows(ids(first), 0)
    assert one.page.locator(".step .compare").first.get_attribute("aria-pressed") == "true"


def test_another_search_begins_beside_the_old_one(visit):
    one = visit()
    first = one.say("blue")
    one.page.click("#start-anew")
    one.page.wait_for_selector(".welcome")
    one.say("green")
    assert one.steps() == ["green", "blue"]  # the latest on top
    one.page.locator(".step-button").last.click()
    one.shows(ids(first))


BROKEN = {
    "cut": None,
    "foreign": "section-3",
    "later": base64.urlsafe_b64encode(json.dumps({"v": 9, "s": [], "c": 0}).encode()).decode(),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_link_says_so_and_the_page_works(visit, kind):
    if kind == "cut":
        one = visit()
        turns(one, 2)
        broken = one.page.url.partition("#")[2][:-20]
    else:
        broken = BROKEN[kind]
    other = visit(f"/#{broken}")
    assert "This link" in other.page.inner_text("#notices")
    other.page.wait_for_selector(".welcome")
    other.say("red")
    other.page.click("#notices button")
    assert other.page.locator(".notice:visible").count() == 0


def test_an_address_that_is_pasted_is_followed(visit):
    one = visit()
    answer = turns(one, 2)
    other = visit()
    other.say("green")
    other.page.evaluate("(hash) => { location.hash = hash }", one.page.url.partition("#")[2])
    other.shows(ids(answer))
    assert other.steps() == one.steps()


def test_a_link_with_a_method_that_is_not_here(visit):
    packed = json.dumps({"v": 1, "s": [[1, 0, {"t": "red"}]], "c": 1, "m": "invented"}).encode()
    one = visit("/#" + base64.urlsafe_b64encode(packed).decode().rstrip("="))
    one.page.wait_for_selector(".card:not(.skeleton)")
    assert "invented" in one.page.inner_text("#notices")
    assert one.page.input_value("[data-side=method]") == "slerp"


def test_a_link_to_a_picture_that_is_gone_says_so(visit):
    packed = json.dumps({"v": 1, "s": [[1, 0, {"r": 0, "t": "red"}]], "c": 1, "i": ["0" * 32]}).encode()
    one = visit("/#" + base64.urlsafe_b64encode(packed).decode().rstrip("="))
    one.troubled = True
    one.page.wait_for_selector(".message-error")
    assert "upload it again" in one.page.inner_text(".message-error")
    one.until("document.getElementById('reference-problem').textContent.includes('not held')")


def test_a_link_of_a_report_is_followed(visit):
    one = visit("/?reference_path=test-00003-1.jpg&text=in%20red")
    own = one.served.get("/v1/pictures?path=test-00003-1.jpg")["id"]
    one.shows(ids(one.served.search(reference={"id": own}, text="in red")))
    assert "?" not in one.page.url
    assert one.steps() == ["in red"]


def test_a_link_of_a_report_to_nothing_says_so(visit):
    one = visit("/?reference_path=gone.jpg&text=in%20red")
    one.troubled = True
    one.shows(ids(one.served.search(text="in red")))
    assert "was not found" in one.page.inner_text("#notices")
