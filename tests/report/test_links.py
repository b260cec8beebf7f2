"""Links from the queries of a report to a search page: only where one is named, and whatever the words are."""

from __future__ import annotations

import json
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from composir.errors import ComposirError
from composir.reporting.links import page_link
from composir.types import Query, Task

PAGE = "http://127.0.0.1:8000"


def test_a_link_by_hand():
    link = page_link(PAGE, "dresses/été 1.jpg", "is red & has 100% cotton")
    assert link == f"{PAGE}/?reference_path=dresses%2F%C3%A9t%C3%A9%201.jpg&text=is%20red%20%26%20has%20100%25%20cotton"
    assert page_link(f"{PAGE}/", "a", "b") == f"{PAGE}/?reference_path=a&text=b"


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_path_and_words_come_back_as_they_were(path, words):
    parts = urlsplit(page_link(f"{PAGE}/search", path, words))
    assert (parts.scheme, parts.netloc, parts.path, parts.fragment) == ("http", "127.0.0.1:8000", "/search/", "")
    assert parse_qs(parts.query, keep_blank_values=True, strict_parsing=True) == {
        "reference_path": [path],
        "text": [words],
    }


@pytest.fixture
def shop(tmp_path):
    """Three pictures of a plain set, one of them below a folder."""
    for place in ("a.png", "sub/b.png", "c.png"):
        path = tmp_path / "shop/images" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    (tmp_path / "shop/triplets.test.jsonl").write_text(
        json.dumps({"reference": "sub/b", "caption": "x", "target": "a"}) + "\n", encoding="utf-8"
    )
    return tmp_path / "shop"


@pytest.mark.parametrize("images", [True, False])
def test_each_query_links_to_the_page_by_the_path_of_its_reference(make_run, page, shop, images):
    words = '"><script>alert(1)</script> & more'
    queries = (Query("q", "sub/b", (words,), ("a",)),)
    task = Task("shop", ("a", "sub/b", "c"), queries, ("R@1",), drop_reference=False)
    run = make_run("a", [task], skill={"slerp": 9}, data={"name": "jsonl", "root": str(shop), "split": "test"})
    made = page(run, images=images, search=f"{PAGE}/")
    [link] = [a for card in made.all("article") for a in card.all("a")]
    assert link.attributes["href"] == page_link(PAGE, "sub/b.png", words)
    assert link.text == "search"


def test_a_picture_without_a_file_goes_by_its_id(make_run, page):
    made = page(make_run("a"), images=False, search=PAGE)
    cards = made.all("article")
    links = [a.attributes["href"] for card in cards for a in card.all("a")]
    assert len(links) == len(cards) > 0
    assert all(link.startswith(f"{PAGE}/?reference_path=dress-") for link in links)


def test_without_the_option_no_link_is_written(make_run, page):
    made = page(make_run("a"), images=False)
    assert not [a for card in made.all("article") for a in card.all("a")]


@pytest.mark.parametrize(
    "wrong",
    ["javascript:alert(1)", "127.0.0.1:8000", "file:///etc", "http://", f"{PAGE}/?x=1", f"{PAGE}/#q=1", "http://["],
)
def test_what_is_no_address_of_a_page_is_refused(make_run, page, wrong):
    with pytest.raises(ComposirError, match="is no address of a search page; write it like http://"):
        page(make_run("a"), images=False, search=wrong)
