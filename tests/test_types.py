"""How captions become a text: each wording letter by letter, as its authors have it."""

from __future__ import annotations

import pytest

from composir.types import Query, Wording

TWO = Query("0", "a", (" is red.", "Has long sleeves? "), ("b",), shared_concept="a dress")
ONE = Query("1", "a", ("Is red, ",), ("b",))
THREE = Query("2", "a", ("is red", "is long", "has dots"), ("b",))


@pytest.mark.parametrize(
    ("join", "texts"),
    [
        ("and", ("Is red and Has long sleeves",)),
        ("both orders", ("is red and Has long sleeves", "Has long sleeves and is red")),
        ("reversed", ("Has long sleeves and is red",)),
        ("comma and", ("is red, and Has long sleeves",)),
    ],
)
def test_two_captions(join, texts):
    assert Wording(join).texts(TWO) == texts


@pytest.mark.parametrize(
    ("join", "texts"),
    [
        ("and", ("Is red and is long and has dots",)),
        ("both orders", ("is red and is long and has dots", "has dots and is long and is red")),
        ("reversed", ("has dots and is long and is red",)),
        ("comma and", ("is red, and is long, and has dots",)),
    ],
)
def test_three_captions(join, texts):
    assert Wording(join).texts(THREE) == texts


@pytest.mark.parametrize("join", ["and", "both orders", "reversed", "comma and"])
def test_one_caption_stays_as_it_is(join):
    assert Wording(join).texts(ONE) == ("Is red, ",)


def test_a_template_stands_around_each_text():
    wording = Wording("both orders", "a photo of {shared_concept} that {text}")
    assert wording.texts(TWO) == (
        "a photo of a dress that is red and Has long sleeves",
        "a photo of a dress that Has long sleeves and is red",
    )
