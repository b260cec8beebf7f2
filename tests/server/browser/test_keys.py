"""Everything by keyboard, and the list that ? opens, which is made of the table that binds the keys."""

from __future__ import annotations

import pytest

SYMBOLS = {"→": "ArrowRight", "←": "ArrowLeft", "↓": "ArrowDown", "↑": "ArrowUp", "Esc": "Escape", "⌫": "Backspace"}
HAD = {"words", "pick", "without", "to-image", "to-words", "default", "reverse", "next", "before", "below", "above"}
HAD |= {"open", "leave", "reference", "like", "keep", "avoid", "right", "wrong", "undo", "compare", "anew", "benchmark"}
HAD |= {"order", "second", "fold", "filters", "theme", "link", "export", "help"}


def listed(one):
    """Action -> its keys, as the list shows them."""
    one.page.keyboard.press("?")
    one.page.wait_for_selector("#help[open]")
    rows = one.page.locator("#help dt").all()
    keys = {row.get_attribute("data-action"): row.locator("kbd").all_inner_texts() for row in rows}
    assert all(one.page.locator("#help dd").all_inner_texts())
    one.page.keyboard.press("Escape")
    return {name: [SYMBOLS.get(key, key) for key in shown] for name, shown in keys.items()}


def focused(one):
    return one.page.evaluate("document.activeElement.closest('.card')?.dataset.id ?? document.activeElement.id")


@pytest.fixture
def one(visit):
    opened = visit(permissions=["clipboard-read", "clipboard-write"])
    opened.answer = opened.begin("in green")
    opened.page.keyboard.press("Escape")
    return opened


def test_no_key_stands_twice_and_all_are_listed(one):
    keys = listed(one)
    assert set(keys) == HAD
    pressed = [key for shown in keys.values() for key in shown]
    assert len(pressed) == len(set(pressed))
    assert {key for key in pressed if len(key) == 1 and key.isalpha()} >= set("RLKAYNUDFSVHCE")


def test_arrows_move_in_the_grid(one):
    ids = one.ids()
    columns = one.page.evaluate(
        "getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length"
    )
    assert focused(one) == ids[0]  # Escape led from the words to the results
    for key, place in [("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns), ("ArrowUp", 0)]:
        one.page.keyboard.press(key)
        assert focused(one) == ids[place]
    one.page.keyboard.press("ArrowLeft")
    assert focused(one) == ids[0]


def test_one_card_is_a_stop_of_the_tab_key(one):
    stops = "[...document.querySelectorAll('.card .shot')].filter((b) => b.tabIndex === 0).length"
    assert one.page.evaluate(stops) == 1
    one.page.keyboard.press("Tab")
    assert one.page.evaluate("document.activeElement.dataset.act") == "reference"
    assert one.page.locator(".card:focus-within .acts").evaluate("(e) => getComputedStyle(e).visibility") == "visible"


STOPS = """[...document.querySelectorAll('.grid button, .grid a')]
  .filter((e) => e.tabIndex === 0 && e.checkVisibility())
  .map((e) => [e.closest('.card').dataset.id, e.dataset.act ?? e.className])"""


def test_what_looks_alike_is_reached_from_its_card_alone(one):
    """The button that unfolds is a stop of the Tab key on the card that has the focus, and keeps it while more come."""
    answer = one.search(lambda: one.page.keyboard.press("h"), fold=True)
    own, other = [hit["id"] for hit in answer["hits"] if hit["folded"]][:2]
    assert one.page.locator(".unfold").count() > 2
    one.focus(own)
    reached = one.page.evaluate(STOPS)
    assert {card for card, _ in reached} == {own}
    assert [act for _, act in reached].count("link unfold") == 1
    for _, act in reached[1:]:
        one.page.keyboard.press("Tab")
        assert one.page.evaluate("document.activeElement.dataset.act ?? document.activeElement.className") == act
    one.page.keyboard.press("y")
    one.page.wait_for_selector(f'[data-id="{own}"].is-right')  # marks were drawn anew, and the focus stayed
    assert one.page.evaluate("document.activeElement.className") == "link unfold"
    one.page.keyboard.press("Tab")
    assert one.page.evaluate("document.activeElement.closest('.grid')") is None
    one.focus(other)
    assert {card for card, _ in one.page.evaluate(STOPS)} == {other}


def test_each_listed_key_does_what_it_says(one):
    """Every action of the list, by its first key, with a sign that it was done."""
    page, ids = one.page, one.ids()
    done = {}

    def press(name, seen, before=None, **asked):
        if before:
            before()
        act = lambda: page.keyboard.press(keys[name][0])  # noqa: E731
        one.search(act, **asked) if asked else act()  # what is asked anew draws other cards
        one.until(f"() => {seen}")
        done[name] = True

    keys = {name: [key.lower() if len(key) == 1 else key for key in shown] for name, shown in listed(one).items()}
    done["help"] = True
    card = lambda i=2: one.focus(one.ids()[i])  # noqa: E731
    blur = lambda: page.evaluate("document.activeElement.blur()")  # noqa: E731
    press("words", "document.activeElement.id === 'words'")
    press("leave", "document.activeElement.closest('.card')")
    press("without", "document.activeElement.id === 'without'")
    press("next", "document.activeElement.closest('.card')", card)
    press("before", "document.activeElement.closest('.card')")
    press("below", "document.activeElement.closest('.card')")
    press("above", "document.activeElement.closest('.card')")
    press("open", "document.getElementById('large').open", card)
    page.keyboard.press("Escape")
    press("to-words", "document.querySelector('output').textContent === '0.55'")
    press("to-image", "document.querySelector('output').textContent === '0.50'")
    press("default", "document.querySelector('output').textContent === 'default'")
    press("order", "document.querySelector('[data-order=image]').getAttribute('aria-pressed') === 'true'")
    page.click("#order [data-order=composed]")
    press("second", "document.querySelectorAll('.column').length === 2", blur)
    page.keyboard.press(keys["second"][0])
    press("compare", "document.querySelector('.compared') !== null")
    page.keyboard.press(keys["compare"][0])
    press("fold", "document.getElementById('fold').checked", fold=True)
    press("theme", "document.documentElement.dataset.theme === 'dark'")
    press("link", "document.getElementById('toast').textContent.startsWith('Link copied')")
    press("filters", "document.getElementById('filters').open", blur)
    blur()
    press("benchmark", "document.getElementById('benchmark').open")
    page.keyboard.press("Escape")
    press("export", "document.getElementById('export').open")
    page.keyboard.press("Escape")
    press("right", "document.querySelector('.card.is-right')", card)
    press("wrong", "document.querySelector('.card.is-wrong')")
    own = one.ids()
    press("keep", "document.querySelector('#keep-chips li')", card, keep=[own[2]])
    own = one.ids()
    press("avoid", "document.querySelector('#avoid-chips li')", card, avoid=[own[2]])
    press("reverse", "document.getElementById('reverse').checked", blur, reverse=True)
    press("undo", "!document.getElementById('reverse').checked", reverse=None)
    own = one.ids()
    press("like", "document.getElementById('words').value === ''", card, reference={"id": own[2]})
    own = one.ids()
    press("reference", "document.activeElement.id === 'words'", lambda: card(4), reference={"id": own[4]})
    blur()
    press("anew", "document.querySelector('.welcome') !== null")
    with page.expect_file_chooser():
        page.keyboard.press(keys["pick"][0])
    done["pick"] = True
    assert set(done) == set(keys)
    assert ids


def test_letters_typed_into_fields_are_letters(one):
    one.page.fill("#words", "")
    one.page.locator("#words").press_sequentially("lkaydruns?/")
    assert one.page.input_value("#words") == "lkaydruns?/"
    assert one.page.locator("dialog[open]").count() == 0
    one.page.locator("#without").press_sequentially("ku")
    assert one.page.input_value("#without") == "ku"


def test_keys_with_ctrl_belong_to_the_browser(one):
    before = one.steps()
    one.page.keyboard.press("Control+u")
    one.page.keyboard.press("Control+d")
    assert one.steps() == before
    assert one.page.evaluate("document.documentElement.dataset.theme") is None


def test_behind_a_dialog_no_key_does_anything(one):
    one.page.keyboard.press("?")
    before = len(one.bodies())
    for key in "ulkars":
        one.page.keyboard.press(key)
    assert one.page.locator("#help[open]").count() == 1
    assert len(one.bodies()) == before


def test_a_key_for_a_picture_takes_the_one_that_is_pointed_at(one):
    one.page.evaluate("document.activeElement.blur()")
    one.page.mouse.move(2, 2)
    one.page.keyboard.press("k")
    one.until("document.getElementById('toast').textContent.startsWith('Which picture')")
    own = one.ids()[1]
    one.page.locator(f'.card[data-id="{own}"]').hover()
    one.search(lambda: one.page.keyboard.press("k"), keep=[own])


def test_dark_and_light_are_remembered(visit):
    one = visit(color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = one.page.evaluate(paper)
    one.page.keyboard.press("d")
    dark = one.page.evaluate(paper)
    assert light != dark
    one.page.reload()
    assert one.page.evaluate(paper) == dark
    one.page.click("#theme")
    assert one.page.evaluate(paper) == light
    other = visit(color_scheme="dark")
    assert other.page.evaluate(paper) == dark
