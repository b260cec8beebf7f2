"""What is asked for: a reference that comes in any way, words, sliders, "without", keep and avoid, reverse."""

from __future__ import annotations

import pytest

DROP = """([target, files, items]) => {
  const data = new DataTransfer();
  for (const [bytes, name, type] of files) data.items.add(new File([Uint8Array.from(bytes)], name, {type}));
  for (const [type, text] of items) data.setData(type, text);
  const options = {bubbles: true, cancelable: true, dataTransfer: data, clipboardData: data};
  if (target === "paste") return document.body.dispatchEvent(new ClipboardEvent("paste", options));
  document.body.dispatchEvent(new DragEvent("dragover", options));
  const shown = !document.getElementById("drop").hidden;
  document.body.dispatchEvent(new DragEvent("drop", options));
  return shown;
}"""


def bring(one, way, files=(), items=()):
    files = [[list(data), name, type] for data, name, type in files]
    return one.page.evaluate(DROP, [way, files, [list(item) for item in items]])


def ids(answer):
    return [hit["id"] for hit in answer["hits"]]


def uploads(one):
    return [
        request
        for request in one.asked
        if request.url.endswith("/v1/search") and "multipart" in (request.headers.get("content-type") or "")
    ]


@pytest.mark.parametrize("way", ["drop", "paste", "pick"])
def test_a_file_is_sent_once_and_known_by_its_id_afterwards(visit, png, way):
    one = visit()
    picture = (png(), "a.png", "image/png")
    if way == "pick":
        with one.page.expect_file_chooser() as chooser:
            one.page.click("#pick")
        act = lambda: chooser.value.set_files({"name": "a.png", "mimeType": "image/png", "buffer": png()})  # noqa: E731
    else:
        act = lambda: bring(one, way, [picture])  # noqa: E731
    first = one.search(act)
    own = first["reference"]
    assert one.page.locator("#reference img").get_attribute("src") == f"/v1/images/{own}/thumbnail?size=512"
    assert one.say("in red")["reference"] == own
    assert one.say("in blue")["reference"] == own
    assert len(uploads(one)) == 1
    assert [body["reference"] for body in one.bodies()] == [{"id": own}] * len(one.bodies())


def forgetful(one, times):
    """Let the server not know the uploads that it is asked about before it has got so many."""

    def answer(route):
        asked = route.request.post_data_json if "json" in route.request.headers["content-type"] else {}
        if "reference" not in asked or len(uploads(one)) >= times:
            return route.continue_()
        told = {"code": "not_found", "message": "picture x is not there; upload it again", "request_id": "r-1"}
        return route.fulfill(status=404, json={"error": told})

    one.troubled = True
    one.page.route("**/v1/search", answer)


def test_a_file_that_the_server_has_forgotten_is_sent_again(visit, png):
    one = visit()
    own = one.search(lambda: bring(one, "drop", [(png("teal"), "a.png", "image/png")]))["reference"]
    forgetful(one, 2)
    assert one.say("in red")["reference"] == own
    assert len(uploads(one)) == 2
    assert one.page.locator(".message-error").count() == 0


def test_what_is_to_be_done_is_said_where_the_page_has_no_file(visit, png):
    """A link to an upload was opened: there is nothing to send, so nothing is tried for ever."""
    one = visit()
    own = one.search(lambda: bring(one, "drop", [(png("olive"), "a.png", "image/png")]))["reference"]
    address = one.page.url.removeprefix(one.served.url)
    other = visit()
    forgetful(other, 1)
    other.page.goto(f"{one.served.url}{address}")
    other.page.reload()
    other.page.wait_for_selector(".message-error")
    assert "upload it again" in other.page.inner_text(".message-error")
    assert [body["reference"] for body in other.bodies()] == [{"id": own}] * len(other.bodies())
    assert uploads(other) == []


def test_the_words_go_with_the_file(visit, png, served, monkeypatch):
    sent, search = [], served.service.search
    monkeypatch.setattr(served.service, "search", lambda asked, clock: sent.extend(asked) or search(asked, clock))
    one = visit()
    one.say("red")
    one.search(lambda: bring(one, "drop", [(png("green"), "a.png", "image/png")]), text="red")
    assert [(one.k, one.text) for one in sent if one.reference] == [(1, "red"), (24, "red")]


def test_the_page_shows_that_it_takes_what_is_dragged(visit, png):
    one = visit()
    assert bring(one, "drop", [(png(), "a.png", "image/png")]) is True
    one.until("document.getElementById('drop').hidden")


def test_a_result_is_dragged_onto_the_page_without_an_upload(visit):
    one = visit()
    own = one.say("red")["hits"][2]["id"]
    one.search(lambda: bring(one, "drop", items=[("application/x-composir-id", own)]), reference={"id": own})
    link = f"{one.served.url}/v1/images/{own}/thumbnail?size=256"
    other = one.say("blue")["hits"][0]["id"]
    link = link.replace(own, other)
    one.search(lambda: bring(one, "drop", items=[("text/uri-list", link)]), reference={"id": other})
    assert uploads(one) == []


def test_a_picture_in_a_data_address_is_taken(visit, png):
    import base64

    one = visit()
    link = "data:image/png;base64," + base64.b64encode(png("navy")).decode()
    one.search(lambda: bring(one, "drop", items=[("text/uri-list", link)]))
    assert len(uploads(one)) == 1


def test_a_web_address_is_asked_for_only_where_that_is_on(visit):
    one = visit()
    bring(one, "drop", items=[("text/uri-list", "https://shop.example/dress.jpg")])
    assert "does not fetch web addresses" in one.page.inner_text("#reference-problem")
    assert [r for r in one.asked if r.method == "POST" and "shop.example" in (r.post_data or "")] == []

    other = visit(gallery={"fetch_urls": True})
    other.troubled = True  # the server itself still refuses
    other.page.wait_for_selector("#pick")
    with other.page.expect_request("**/v1/search", timeout=20_000) as asked:
        bring(other, "drop", items=[("text/uri-list", "https://shop.example/dress.jpg")])
    assert asked.value.post_data_json["reference"] == {"url": "https://shop.example/dress.jpg"}
    other.until("document.getElementById('reference-problem').textContent.includes('switched off')")


def test_a_file_that_is_no_picture_is_explained_and_changes_nothing(visit):
    one = visit()
    before = one.say("red")
    one.troubled = True
    bring(one, "drop", [(b"no picture at all", "a.png", "image/png")])
    one.until("document.getElementById('reference-problem').textContent.length > 10")
    assert "picture" in one.page.inner_text("#reference-problem")
    one.page.wait_for_selector("#reference .hollow")
    one.shows([hit["id"] for hit in before["hits"]])
    assert len(one.steps()) == 1


def test_a_result_becomes_the_reference_by_click_and_by_key(visit):
    one = visit()
    hits = one.say("red")["hits"]
    card = one.page.locator(f'[data-id="{hits[1]["id"]}"]')
    card.hover()
    answer = one.search(lambda: card.locator('[data-act="reference"]').click(), reference={"id": hits[1]["id"]})
    assert answer["hits"] == one.served.search(reference={"id": hits[1]["id"]}, text="red")["hits"]
    assert one.page.evaluate("document.activeElement.id") == "words"
    assert one.page.evaluate("getSelection().toString() || document.activeElement.value") == "red"
    one.take(answer["hits"][3]["id"], "with stripes")
    assert ids(answer) != one.ids()[: len(answer["hits"])]


def test_more_like_this_asks_with_the_picture_alone(visit):
    one = visit()
    own = one.say("red")["hits"][4]["id"]
    one.focus(own)
    answer = one.search(lambda: one.page.keyboard.press("l"), reference={"id": own}, text="")
    assert answer["hits"] == one.served.search(reference={"id": own})["hits"]
    assert one.page.input_value("#words") == ""


def test_the_reference_can_be_taken_away(visit):
    one = visit()
    answer = one.begin("in red")
    assert answer["reference"]
    again = one.search(lambda: one.page.click("#drop-reference"), text="in red")
    assert again["reference"] is None
    assert again["hits"] == one.served.search(text="in red")["hits"]
    one.page.wait_for_selector("#reference .hollow")


def test_words_are_searched_for_while_they_are_typed(visit):
    one = visit()
    one.page.wait_for_selector("#words")
    one.search(lambda: one.page.locator("#words").press_sequentially("red dress", delay=25), text="red dress")
    asked = [body["text"] for body in one.bodies() if body["text"].startswith("r")]
    assert asked[-1] == "red dress"
    assert len(asked) <= 4  # not one for each letter
    assert len(one.steps()) == 1
    before = len(one.bodies())
    one.page.press("#words", "Enter")
    one.page.wait_for_timeout(400)
    assert len(one.bodies()) == before  # Enter takes the step, the answer is there already
    assert one.page.locator(".step.open").count() == 0


def test_enter_does_not_wait_for_the_end_of_typing(visit):
    one = visit(prepare=lambda page: page.clock.install())
    one.page.clock.pause_at(one.page.evaluate("Date.now() + 1000"))  # from here on no timer of the page ends
    one.say("a red dress")
    assert one.page.locator(".step.open").count() == 0


def test_examples_begin_a_search(visit):
    one = visit()
    one.page.wait_for_selector(".example:not(.skeleton)")
    assert one.page.locator(".example").count() == 3
    card = one.page.locator(".example").nth(1)
    words = card.inner_text().removeprefix("… ")
    own = card.locator("img").get_attribute("data-picture")
    answer = one.search(card.click, reference={"id": own}, text=words)
    assert answer["hits"] == one.served.search(reference={"id": own}, text=words)["hits"]
    assert len(one.steps()) == 1
    other = visit()
    chip = other.page.locator(".or .chip").first
    other.search(chip.click, text=chip.inner_text())


def slide(one, value, name="alpha"):
    script = "([id, v]) => { const s = document.getElementById(id); s.value = v; s.dispatchEvent(new Event('input')); }"
    one.page.evaluate(script, [name, value])


def test_the_slider_ranks_anew_from_picture_to_words(visit):
    one = visit()
    own = one.begin("in green")["reference"]
    assert "alpha" not in one.bodies()[-1]
    assert one.page.inner_text("output[for=alpha]") == "default"
    image = one.search(lambda: slide(one, 0), alpha=0)
    words = one.search(lambda: slide(one, 1), alpha=1)
    assert ids(image) == ids(one.served.search(reference={"id": own}))
    assert ids(words) == [i for i in ids(one.served.search(text="in green", k=29)) if i != own][:24]
    assert one.page.inner_text("output[for=alpha]") == "1.00"
    assert len([text for text in one.steps() if text == "in green"]) == 1  # it changes the step, and takes none
    one.search(lambda: one.page.click("#reset-controls"))
    assert "alpha" not in one.bodies()[-1]
    assert one.page.locator("#reset-controls").is_hidden()


def test_a_moving_slider_does_not_flood_and_the_last_place_wins(visit):
    one = visit()
    one.begin("in green")
    before = len(one.bodies())
    drag = """() => new Promise((done) => { const s = document.getElementById("alpha"); let i = 0;
      const start = performance.now();
      const step = () => { s.value = i / 100; s.dispatchEvent(new Event("input"));
        i++ < 60 ? setTimeout(step, 8) : done(performance.now() - start) };
      step() })"""
    took = []
    one.search(lambda: took.append(one.page.evaluate(drag)), alpha=0.6)
    asked = [body["alpha"] for body in one.bodies()[before:]]
    assert 1 < len(asked) <= took[0] / 50 + 2  # one in 50 ms, however slow the machine moves it
    assert asked == sorted(asked)


def test_answers_out_of_turn_are_dropped(visit):
    """The first answer is held back until the second is shown; it must not take its place."""
    one = visit()
    one.begin("in green")
    held = []

    def hold(route):
        if route.request.post_data_json.get("alpha") == 0.1:
            held.append((route, route.fetch()))
            return
        route.continue_()

    # The request is not stopped by the page either, as if its stop came too late.
    one.page.evaluate("AbortController.prototype.abort = () => {}")
    one.page.route("**/v1/search", hold)
    slide(one, 0.1)
    for _ in range(100):
        if held:
            break
        one.page.wait_for_timeout(50)
    late = one.search(lambda: slide(one, 0.9), alpha=0.9)
    [(route, answer)] = held
    assert answer.json()["hits"] != late["hits"]
    route.fulfill(response=answer)
    one.page.wait_for_timeout(300)
    assert one.ids()[:24] == [hit["id"] for hit in late["hits"]]


def test_older_requests_are_stopped(visit):
    one = visit()
    one.begin("in green")
    stopped = []
    one.page.on("requestfailed", lambda request: stopped.append(request.post_data_json["alpha"]))
    one.page.route("**/v1/search", lambda route: route.request.post_data_json.get("alpha") == 0.1 or route.continue_())
    with one.page.expect_request(lambda request: request.url.endswith("/v1/search")):
        slide(one, 0.1)
    one.search(lambda: slide(one, 0.9), alpha=0.9)
    assert stopped == [0.1]


def test_sliders_are_those_of_the_method(visit):
    one = visit()
    one.begin("in green")
    assert one.page.locator("#alpha").count() == 1
    one.search(lambda: one.page.select_option("[data-side=method]", "image-only"), method="image-only")
    assert one.page.locator("#controls input").count() == 0
    one.search(lambda: one.page.select_option("[data-side=method]", "sum"), method="sum")
    assert one.page.locator("#controls input").count() == 2
    one.search(lambda: slide(one, 2, "weight-text"), weights={"image": 1, "text": 2})
    one.search(lambda: one.page.click("#reset-controls"), method="sum")
    assert "weights" not in one.bodies()[-1]


def test_the_slider_waits_for_picture_and_words(visit):
    one = visit()
    one.say("red")
    assert one.page.locator("#alpha").is_disabled()
    assert "give both" in one.page.inner_text("#slider-told")


def test_what_must_not_show(visit):
    one = visit()
    own = one.begin("in green")["reference"]
    one.page.fill("#without", "stripes")
    answer = one.search(lambda: one.page.press("#without", "Enter"), without=["stripes"])
    assert answer["hits"] == one.served.search(reference={"id": own}, text="in green", without=["stripes"])["hits"]
    one.page.fill("#without", "a logo")
    one.search(lambda: one.page.click("#add-without"), without=["stripes", "a logo"])
    assert one.page.locator("#without-chips li").count() == 2
    one.search(lambda: one.page.locator("#without-chips .chip").first.click(), without=["a logo"])
    assert len(one.steps()) == 6  # blue, the reference, its words, and each change is a step


def test_looks_are_kept_and_avoided(visit):
    one = visit()
    own = one.begin("in green")["reference"]
    liked, bad = one.ids()[5], one.ids()[6]
    one.focus(liked)
    kept = one.search(lambda: one.page.keyboard.press("k"), keep=[liked])
    assert kept["hits"] == one.served.search(reference={"id": own}, text="in green", keep=[liked])["hits"]
    assert one.page.locator(f'.card[data-id="{liked}"] .mark-keep').count() == 1
    assert one.page.locator("#keep-chips img").get_attribute("src").startswith(f"/v1/images/{liked}/")
    one.focus(bad)
    answer = one.search(lambda: one.page.keyboard.press("a"), avoid=[bad])
    assert bad not in [hit["id"] for hit in answer["hits"]]
    one.focus(liked)
    one.search(lambda: one.page.keyboard.press("a"), avoid=[bad, liked])  # either kept or avoided, not both
    assert "keep" not in one.bodies()[-1]
    one.search(lambda: one.page.locator("#avoid-chips .chip").first.click(), avoid=[liked])


def test_the_picture_as_the_result(visit):
    one = visit()
    own = one.begin("is green")["reference"]
    answer = one.search(lambda: one.page.keyboard.press("Escape") or one.page.keyboard.press("v"), reverse=True)
    assert answer["hits"] == one.served.search(reference={"id": own}, text="is green", reverse=True)["hits"]
    assert one.page.is_checked("#reverse")
    one.page.click("#drop-reference")
    one.until("document.querySelector('#reverse').checked === false")


def test_reverse_says_what_is_missing(visit):
    one = visit()
    one.say("red")
    one.page.click("label:has(#reverse)")
    one.page.wait_for_selector(".message-hint")
    assert "Give that picture" in one.page.inner_text(".message-hint")
    assert one.ids() == []


@pytest.mark.parametrize(
    ("words", "script"), [("красное платье", "Cyrillic"), ("赤い", "Japanese"), ("rouge foncé", None)]
)
def test_words_in_a_foreign_script_get_a_notice(visit, words, script):
    one = visit()
    one.say(words)
    notice = one.page.locator("#script-notice")
    assert notice.is_visible() == (script is not None)
    if script:
        assert script in notice.inner_text()
        assert "wardrobe-clip" in notice.inner_text()
        assert notice.get_attribute("role") == "status"
        one.say("red")
        assert notice.is_hidden()


def test_the_end_of_words_that_is_not_read_is_told(visit):
    one = visit()
    one.say(" ".join(["red"] * 62))
    assert one.page.locator(".summary .note").count() == 0
    assert one.say(" ".join(["red"] * 62 + ["dress"]))["unread"] == ["dress"]
    one.until("document.querySelector('.summary .note') !== null")
    assert one.page.inner_text(".summary .note") == "Too many words: “dress” is not read."
    one.say("red")
    one.until("document.querySelector('.summary .note') === null")
