"""Filters over the gallery's columns: what is chosen becomes a condition that the server understands."""

from __future__ import annotations

import pytest


def add(one, column):
    one.page.select_option("#filter-column", column)
    one.page.click("#add-filter")
    return one.page.locator(f'[aria-label="Filter by {column}"]').last


@pytest.fixture
def one(visit):
    opened = visit()
    opened.say("red")
    opened.page.keyboard.press("Escape")
    opened.page.keyboard.press("f")
    return opened


def test_columns_are_those_of_the_gallery(one):
    assert one.page.locator("#filter-column option").all_inner_texts() == ["kind", "price", "in stock", "Neck"]
    assert one.page.evaluate("document.activeElement.id") == "filter-column"
    assert "price (number)" in one.page.inner_text("#filter-told")


def test_text_contains_and_equals(one):
    row = add(one, "Neck")
    answer = one.search(lambda: row.locator("input").fill("V'S 100%"), where="lower(`Neck`) LIKE '%v''s 100\\%%'")
    assert answer["hits"]
    assert {hit["metadata"]["Neck"] for hit in answer["hits"]} == {"v's 100%"}
    row.locator("select").select_option("is")
    exact = one.search(lambda: row.locator("input").fill("v's 100%"), where="`Neck` = 'v''s 100%'")
    assert exact["total"] == answer["total"]
    row.locator("select").select_option("not")
    other = one.search(lambda: row.locator("input").fill("v's 100%"), where="`Neck` <> 'v''s 100%'")
    assert other["total"] + exact["total"] == one.served.search(text="red")["total"]


def test_numbers_between(one):
    row = add(one, "price")
    low, high = row.locator("input").all()
    one.search(lambda: low.fill("20"), where="`price` >= 20")
    answer = one.search(lambda: high.fill("30"), where="`price` >= 20 AND `price` <= 30")
    assert answer["hits"]
    assert all(20 <= hit["metadata"]["price"] <= 30 for hit in answer["hits"])
    assert one.page.evaluate("document.activeElement.value") == "30"  # typing is not disturbed


def test_a_number_that_cannot_be_read_is_told_of_at_its_field(one):
    """Nothing is guessed; that it asks for nothing is said beside the results too, for the filters may be folded."""
    row = add(one, "price")
    low, high = row.locator("input").all()
    answer = one.search(lambda: low.fill("20"), where="`price` >= 20")
    for typed, told in (("cheap", "is no number. Write digits"), ("1,234", "can mean 1234 or 1.234")):
        high.fill(typed)
        one.until("(told) => document.querySelector('.filter .problem').innerText.includes(told)", told)
        assert [field.get_attribute("aria-invalid") for field in (low, high)] == ["false", "true"]
        assert high.get_attribute("aria-describedby") == row.locator(".problem").get_attribute("id")
        assert "cannot be read and asks for nothing" in one.page.inner_text(".summary")
        one.shows([hit["id"] for hit in answer["hits"]])
    one.search(lambda: high.fill("30,5"), where="`price` >= 20 AND `price` <= 30.5")
    assert row.locator(".problem").is_hidden()
    assert high.get_attribute("aria-invalid") == "false"
    assert "cannot be read" not in one.page.inner_text(".summary")
    assert {body.get("where") for body in one.bodies()} == {None, "`price` >= 20", "`price` >= 20 AND `price` <= 30.5"}


def test_a_link_with_a_number_that_cannot_be_read_says_so(one, visit):
    field = add(one, "price").locator("input").first
    before = one.page.evaluate("location.href")
    field.fill("cheap")
    one.until("(before) => location.href !== before", before)
    other = visit(one.page.evaluate("location.href").removeprefix(one.served.url))
    other.shows([hit["id"] for hit in one.served.search(text="red")["hits"]])
    assert "A number under Filters cannot be read" in other.page.inner_text(".summary")
    other.page.click("#filters > summary")
    assert "“cheap” is no number" in other.page.inner_text(".filter .problem")


def test_yes_and_no_and_all_together(one):
    row = add(one, "in stock")
    yes = one.served.search(text="red", where="`in stock` = true")
    one.shows([hit["id"] for hit in yes["hits"]])
    no = one.search(lambda: row.locator("select").select_option("no"), where="`in stock` = false")
    assert yes["total"] + no["total"] == one.served.search(text="red")["total"]
    kind = add(one, "kind")
    both = one.search(
        lambda: kind.locator("input").fill("dress"), where="`in stock` = false AND lower(`kind`) LIKE '%dress%'"
    )
    assert both["hits"]
    assert {(hit["metadata"]["in stock"], hit["metadata"]["kind"]) for hit in both["hits"]} == {(False, "dress")}
    assert one.page.inner_text("#filter-count") == "2"
    one.search(lambda: row.locator("button").click(), where="lower(`kind`) LIKE '%dress%'")
    assert len(one.steps()) == 1  # filters belong to the step


def test_a_condition_by_hand(one):
    answer = one.search(lambda: one.page.fill("#where", "price < 20 OR price > 90"), where="price < 20 OR price > 90")
    assert answer["hits"]
    assert all(not 20 <= hit["metadata"]["price"] <= 90 for hit in answer["hits"])


def test_a_condition_that_is_half_typed_keeps_the_results(one):
    """What is wrong with it stands under its field, without the grammar, and nobody is asked to try the same again."""
    answer = one.search(lambda: one.page.fill("#where", "price < 20"), where="price < 20")
    one.troubled = True
    for typed, told in (("price < 20 OR", "the end found"), ("prise < 20", "prise")):
        one.page.fill("#where", typed)
        one.until("(told) => document.querySelector('#filter-problem').innerText.includes(told)", told)
        assert "a filter may hold" not in one.page.inner_text("#filter-problem")
        assert one.page.get_attribute("#where", "aria-invalid") == "true"
        assert one.page.locator(".message").count() == 0
        assert one.ids() == [hit["id"] for hit in answer["hits"]]
        assert "these are the results before it" in one.page.inner_text(".summary")
    one.search(lambda: one.page.fill("#where", ""))
    assert "where" not in one.bodies()[-1]
    assert one.page.locator("#filter-problem").is_hidden()
    assert "before it" not in one.page.inner_text(".summary")


def test_a_link_with_a_condition_that_cannot_be_read_hints_at_it(one, visit):
    one.troubled = True
    one.page.fill("#where", "prise < 20")
    one.page.wait_for_selector("#filter-problem:not([hidden])")
    other = visit(one.page.url.removeprefix(one.served.url))
    other.troubled = True
    other.page.wait_for_selector(".message-hint")
    assert "said under Filters" in other.page.inner_text(".message-hint")
    assert other.page.get_by_role("button", name="Try again").count() == 0
    assert other.page.locator(".card").count() == 0


def test_nothing_found_says_why(one):
    one.page.fill("#where", "price < 0")
    one.page.wait_for_selector(".message-empty")
    assert "filters" in one.page.inner_text(".message-empty")
    assert "0 pictures" in one.page.inner_text(".summary")


def test_filters_survive_a_link(one, visit):
    row = add(one, "price")
    answer = one.search(lambda: row.locator("input").first.fill("50"), where="`price` >= 50")
    other = visit(one.page.url.removeprefix(one.served.url))
    other.shows([hit["id"] for hit in answer["hits"]])
    assert other.page.locator("#filter-rows input").first.input_value() == "50"
