"""For those who study a gallery: a benchmark's queries with their targets, and verdicts in place."""

from __future__ import annotations

import json


def ids(answer):
    return [hit["id"] for hit in answer["hits"]]


def open_benchmark(one):
    one.page.click("#open-benchmark")
    one.page.wait_for_selector(".query")
    return one.page.locator(".query")


def test_queries_are_listed_page_by_page(visit):
    one = visit()
    told = one.served.get("/v1/queries?count=200")
    rows = open_benchmark(one)
    assert rows.count() == 20
    assert f"{told['total']} queries" in one.page.inner_text("#benchmark")
    assert rows.first.locator(".query-words").inner_text() == told["queries"][0]["text"]
    one.page.get_by_role("button", name="Later").click()
    one.until(f"document.querySelector('.query').dataset.query === {json.dumps(told['queries'][20]['id'])}")
    one.page.fill("#query-number", "37")
    one.page.get_by_role("button", name="Go", exact=True).click()
    one.until(f"document.querySelector('.query').dataset.query === {json.dumps(told['queries'][36]['id'])}")
    one.page.keyboard.press("Escape")
    assert one.page.locator("#benchmark").is_hidden()


def test_a_query_of_the_benchmark_with_its_targets(visit):
    one = visit()
    query = one.served.get("/v1/queries?start=3&count=1")["queries"][0]
    rows = open_benchmark(one)
    reference = {"id": query["reference"]}
    answer = one.search(lambda: rows.nth(3).click(), reference=reference, text=query["text"])
    assert one.bodies()[-1]["targets"][: len(query["targets"])] == query["targets"]
    ranks = answer["target_ranks"]
    [target] = query["targets"]
    assert one.page.inner_text(".target-rank") == f"Target at {ranks[target]}"
    marked = one.page.locator(f'.card[data-id="{target}"]')
    if marked.count():
        assert "Target" in marked.locator(".mark-target").inner_text()
    subset = [own for own in query["subset"] if own != query["reference"]]
    strip = one.page.locator("#subset > li")
    assert [li.get_attribute("data-id") for li in strip.all()] == sorted(subset, key=ranks.get)
    assert one.page.locator("#subset .is-target").count() == 1
    one.search(lambda: one.page.click("#query-next"), targets=targets_of(one, 4))
    one.page.click("#forget-truth")
    one.until("document.getElementById('truth').hidden")
    assert "targets" not in one.bodies()[-1]


def targets_of(one, place):
    [query] = one.served.get(f"/v1/queries?start={place}&count=1")["queries"]
    wanted = [*query["targets"], *(own for own in query["subset"] if own != query["reference"])]
    return list(dict.fromkeys(wanted))


def test_the_rank_of_a_target_is_told_beyond_what_is_loaded(visit):
    one = visit()
    for query in one.served.get("/v1/queries?count=120")["queries"]:
        far = {"text": "plain white", "method": "text-only"}
        [target] = query["targets"][:1]
        ranks = one.served.search(reference={"id": query["reference"]}, targets=[target], **far)["target_ranks"]
        if ranks[target] > 80:
            break
    index = int(query["id"].rpartition("/")[2])
    rows = open_benchmark(one)
    one.page.fill("#query-number", str(index + 1))
    one.page.get_by_role("button", name="Go", exact=True).click()
    one.until(f"document.querySelector('.query').dataset.query === {json.dumps(query['id'])}")
    one.search(rows.first.click, text=query["text"])
    one.search(lambda: one.page.select_option("[data-side=method]", "text-only"), method="text-only")
    answer = one.say("plain white", method="text-only")  # other words, and the target is still looked for
    assert target not in ids(answer)
    assert one.page.inner_text(".target-rank") == f"Target at {answer['target_ranks'][target]}"
    link = visit(one.page.url.removeprefix(one.served.url))
    link.page.wait_for_selector(".target-rank")
    assert link.page.inner_text(".target-rank") == f"Target at {answer['target_ranks'][target]}"
    assert link.page.locator("#truth").is_visible()


def test_both_methods_tell_the_targets_rank(visit):
    one = visit()
    rows = open_benchmark(one)
    one.search(rows.nth(5).click)
    one.page.keyboard.press("s")
    one.until("document.querySelectorAll('.target-rank').length === 2")


def test_without_a_benchmark_there_is_no_panel(visit, serving, fakes, folder):
    class Plain(fakes.FakeService):
        def info(self):
            from dataclasses import replace

            return replace(super().info(), benchmark=None, judging=False)

    with serving(Plain(folder)) as plain:
        one = visit(at=plain)
        one.page.wait_for_selector(".welcome")
        assert one.page.locator("#open-benchmark").is_hidden()
        one.page.keyboard.press("b")
        one.until("document.getElementById('toast').textContent.includes('no benchmark')")
        answer = one.begin("in green")
        assert answer["hits"]
        one.page.locator(".card").nth(2).hover()
        assert one.page.locator('.card [data-act="right"]:visible').count() == 0
        one.focus(ids(answer)[0])
        one.page.keyboard.press("y")
        one.until("document.getElementById('toast').textContent.includes('switched off')")
        assert [request for request in one.asked if "judgements" in request.url] == []


def judged(one, act):
    with one.page.expect_response("**/v1/judgements") as caught:
        act()
    assert caught.value.ok
    return caught.value.request.post_data_json, caught.value.json()


def test_answers_are_judged_by_key_and_by_button(visit):
    one = visit()
    answer = one.begin("in green, judged")
    right, wrong, other = ids(answer)[:3]
    one.focus(right)
    sent, told = judged(one, lambda: one.page.keyboard.press("y"))
    assert sent == {"reference": answer["reference"], "text": "in green, judged", "right": [right], "wrong": []}
    assert told["folder"] in one.page.inner_text("#judged")
    assert one.page.inner_text("#judged").startswith(f"{told['queries']} ")
    one.page.keyboard.press("ArrowRight")
    sent, _ = judged(one, lambda: one.page.keyboard.press("n"))
    assert (sent["right"], sent["wrong"]) == ([right], [wrong])
    card = one.page.locator(f'.card[data-id="{other}"]')
    card.hover()
    judged(one, lambda: card.locator('[data-act="right"]').click())
    sent, _ = judged(one, lambda: card.locator('[data-act="wrong"]').click())
    assert (sent["right"], sent["wrong"]) == ([right], [wrong, other])  # either right or wrong
    assert card.locator('[data-act="wrong"]').get_attribute("aria-pressed") == "true"
    assert one.page.locator(".card.is-wrong").count() == 2
    assert one.page.locator(f'.card[data-id="{right}"] .mark-right').inner_text() == "Right"
    sent, _ = judged(one, lambda: card.locator('[data-act="wrong"]').click())
    assert sent["wrong"] == [wrong]


def test_beside_another_step_a_verdict_is_on_the_query_of_its_column(visit):
    one = visit()
    answer = one.begin("in green, before")
    one.say("in green, after")
    one.page.evaluate("document.activeElement.blur()")
    one.page.keyboard.press("p")
    one.shows(ids(answer), 0)
    one.page.locator(".column").first.locator(".shot").first.focus()
    sent, _ = judged(one, lambda: one.page.keyboard.press("y"))
    assert sent["text"] == "in green, before"
    card = one.page.locator(".column").last.locator(".card").first
    card.hover()
    sent, _ = judged(one, lambda: card.locator('[data-act="wrong"]').click())
    assert sent["text"] == "in green, after"
    one.page.locator(".column").first.locator(".shot").nth(1).click()
    sent, _ = judged(one, lambda: one.page.locator('#large [data-act="wrong"]').click())
    assert (sent["text"], sent["wrong"]) == ("in green, before", [ids(answer)[1]])


def test_verdicts_are_an_evaluation_set(visit, served):
    one = visit()
    answer = one.begin("a verdict to read")
    own = ids(answer)[0]
    one.focus(own)
    judged(one, lambda: one.page.keyboard.press("y"))
    folder = served.service._verdicts.folder
    rows = [json.loads(line) for line in (folder / "triplets.jsonl").read_text(encoding="utf-8").splitlines()]
    [row] = [row for row in rows if row["caption"] == "a verdict to read"]
    assert row["targets"] == [f"gallery/{answer['hits'][0]['path']}"]


def test_verdicts_are_shown_again_and_added_to_after_a_reload(visit):
    one = visit()
    answer = one.begin("in green, later")
    first, second = ids(answer)[:2]
    one.focus(first)
    judged(one, lambda: one.page.keyboard.press("y"))
    one.page.reload()
    one.shows(ids(answer))
    one.page.wait_for_selector(f'.card[data-id="{first}"].is-right')
    one.focus(second)
    sent, _ = judged(one, lambda: one.page.keyboard.press("n"))
    assert (sent["right"], sent["wrong"]) == ([first], [second])  # the set on the server is replaced by both


def test_a_verdict_that_is_not_kept_is_taken_back(visit):
    one = visit()
    answer = one.begin("in green, refused")
    one.troubled = True
    error = {"error": {"code": "internal", "message": "the disk is full", "request_id": "r1"}}
    one.page.route("**/v1/judgements", lambda route: route.fulfill(status=500, json=error))
    one.focus(ids(answer)[0])
    one.page.keyboard.press("y")
    one.until("document.getElementById('toast').textContent.includes('disk is full')")
    assert one.page.locator(".card.is-right").count() == 0


def test_judging_needs_picture_and_words(visit):
    one = visit()
    answer = one.say("red")
    one.focus(ids(answer)[0])
    one.page.keyboard.press("y")
    one.until("document.getElementById('toast').textContent.includes('needs a picture and words')")
    assert one.page.locator('.card [data-act="right"]:visible').count() == 0
