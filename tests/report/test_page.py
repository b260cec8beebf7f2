"""The file as such: whole, offline, and nothing in it that a data set could make act."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace

import pytest
from PIL import Image

from composir.datasets import load_dataset
from composir.errors import DataError
from composir.reporting import write_report
from composir.reporting.markup import Html, moment, number, tag, text
from composir.reporting.reading import read_sections
from composir.types import Query, Task, Wording

SIZES = {"train": 6, "val": 6, "test": 60}
HOSTILE = [
    '<script>alert("caption")</script>',
    "</style><style>*{display:none}</style>",
    '" onmouseover="alert(1)" x="',
    "' onload='alert(1)",
    "<img src=x onerror=alert(1)>",
    "&lt;b&gt; & &amp;",
    "قميص أحمر بأكمام قصيرة",
    "\u202eright to left\u202c, 日本語, é̀̂",
    "</script></svg></details><!--",
    "a\x00b\x0bc\x1b[31m",
]


def small_task():
    queries = tuple(Query(f"q{i}", f"i{i}", ("is red",), (f"i{i + 1}",)) for i in range(9))
    return Task("dress", tuple(f"i{i}" for i in range(30)), queries, ("R@1",), drop_reference=True)


@pytest.fixture(scope="module")
def wardrobe():
    return load_dataset("wardrobe", **SIZES)


@pytest.fixture
def wardrobe_run(make_run, wardrobe):
    asked = [replace(task, metrics=("R@1", "R@10")) for task in wardrobe.tasks("test")]
    return make_run("w", asked, data={"name": "wardrobe", "split": "test", "arguments": SIZES})


def hostile_task():
    ids = tuple(f"{i}{words}" for i, words in enumerate(HOSTILE * 3))
    asked = tuple(
        Query(f"q{i}{words}", ids[i], (words,), (ids[-1 - i],), aspects=(words,)) for i, words in enumerate(HOSTILE)
    )
    return Task(f"task{HOSTILE[0]}", ids, asked, ("R@1", "R@10", "mAP@10", "mAP@10/*"), drop_reference=False)


def test_nothing_of_a_data_set_becomes_markup(make_run, page):
    plain = page(make_run("plain", [replace(hostile_task(), name="task")], skill={"m": 1, "n": 2}), worst=9, best=9)
    skill = {f"m{HOSTILE[2]}": 1, f"n{HOSTILE[3]}": 2}
    hostile = make_run(
        "hostile",
        [hostile_task()],
        skill=skill,
        data={"split": HOSTILE[4]},
        warnings=HOSTILE,
        note={HOSTILE[0]: HOSTILE},
    )
    made = page(hostile, worst=9, best=9)
    assert len(made.all("script")) == len(plain.all("script")) == 1
    assert len(made.all("style")) == 1
    assert {e.name for e in made.all()} == {e.name for e in plain.all()} | {"ul", "li"}
    handlers = [key for e in made.all() for key in e.attributes if key.startswith("on")]
    assert handlers == []
    assert made.all("script")[0].text == plain.all("script")[0].text


def test_words_are_shown_as_they_are(make_run, page):
    made = page(make_run("a", [hostile_task()]), worst=10, best=10)
    shown = {element.text for element in made.all("p", "words")}
    kept = {words for words in HOSTILE if not re.search("[\x00-\x1f]", words)}
    # Query.text strips closing punctuation; the maker writes what it gives.
    assert len(shown & {Query("", "", (words,)).text for words in kept}) >= 7
    assert all(element.attributes["dir"] == "auto" for element in made.all("p", "words"))


def test_characters_that_no_page_may_hold_are_replaced():
    assert text("a\x00b\ud800c\td") == "a\ufffdb\ufffdc\td"
    assert tag("b", "\x1b", title="\x08") == '<b title="\ufffd">\ufffd</b>'


def test_markup_is_kept_and_text_is_escaped():
    assert tag("p", Html("<b>"), "<b>", ["<", 1], None) == "<p><b>&lt;b&gt;&lt;1</p>"
    assert tag("p", class_="a", aria_label='"', hidden=True, id=None, data_x=0) == (
        '<p class="a" aria-label="&quot;" hidden data-x="0"></p>'
    )


def test_the_file_asks_for_nothing(wardrobe_run, page, tmp_path):
    made = page(wardrobe_run)
    [policy] = [e.attributes["content"] for e in made.all("meta") if e.attributes.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:;")
    for element in made.all():
        for key in ("src", "href", "srcset", "action", "data", "poster", "background"):
            assert element.attributes.get(key, "#").startswith(("#", "data:image/jpeg;base64,"))
    source = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|//[a-z]|url\(|@import", source)
    assert not {"link", "iframe", "object", "embed", "base", "form", "audio", "video", "img"} & {
        e.name for e in made.all()
    }


def test_each_picture_is_in_the_file_once_and_clean(wardrobe_run, page, wardrobe):
    made = page(wardrobe_run, worst=20, best=20)
    held = {e.attributes["id"]: e.attributes["href"] for e in made.all("image")}
    used = [e.attributes["href"][1:] for e in made.all("use")]
    assert set(used) == set(held)
    assert len(held) == len(set(held.values())) <= 60 < len(used)
    for uri in held.values():
        picture = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
        assert picture.format == "JPEG"
        assert max(picture.size) <= 96
        assert len(picture.getexif()) == 0
        assert set(picture.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


def test_pictures_shown_are_those_of_their_ids(wardrobe_run, page, wardrobe):
    made = page(wardrobe_run)
    held = {e.attributes["id"]: e.attributes["href"] for e in made.all("image")}
    card = made.all("article")[0]
    reference = card.all("figure", "reference")[0].all("svg")[0]
    image_id = reference.attributes["aria-label"].removeprefix("reference: ")
    uri = held[reference.all("use")[0].attributes["href"][1:]]
    shown = Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2])))
    # A JPEG of quality 85 is off by a few grey levels, another drawing by dozens.
    differences = Image.frombytes(
        "L",
        (64, 64),
        bytes(
            abs(a - b)
            for a, b in zip(shown.convert("L").tobytes(), wardrobe.image(image_id).convert("L").tobytes(), strict=True)
        ),
    )
    assert sum(differences.tobytes()) / 64**2 < 6


def test_right_answers_are_marked_and_only_they(wardrobe_run, page):
    rows = {}
    for row in read_sections([wardrobe_run])[0].runs[0].result.queries.to_pylist():
        if row["method"] == "slerp":
            rows[row["task"], row["query"]] = row
    made = page(wardrobe_run)
    assert len(made.all("article")) > 20  # the worst, and those best that there are
    for card in made.all("article"):
        task, _, query = card.all("p", "rank")[0].all("span")[-1].text.partition(" · query ")
        row = rows[task, query.partition(" · ")[0]]
        marked = [i for i, li in enumerate(card.all("li")) if li.all("figure", "right")]
        assert marked == [i for i, answer in enumerate(row["top"][:8]) if answer in row["targets"]]
        assert card.all("p", "rank")[0].text.startswith(f"rank {row['rank']:,} of 60")


def test_without_pictures_the_file_is_small_and_says_so(wardrobe_run, page, tmp_path):
    with_pictures = page(wardrobe_run)
    size = (tmp_path / "report.html").stat().st_size
    made = page(wardrobe_run, images=False)
    assert (tmp_path / "report.html").stat().st_size < size / 2
    assert len(made.all("span", "absent")) == len(with_pictures.all("use"))
    assert "left out on request" in made.all("p", "notice")[0].text


def test_a_data_set_that_cannot_be_opened_costs_only_the_pictures(make_run, page, tmp_path):
    made = page(make_run("a", data={"name": "fashioniq", "root": str(tmp_path / "gone")}))
    assert made.all("use") == []
    assert made.all("span", "absent")
    assert "cannot be" in made.all("p", "notice")[0].text


def test_single_pictures_that_cannot_be_read_are_counted(wardrobe_run, page, monkeypatch):
    from composir.datasets.wardrobe import Wardrobe

    sound = Wardrobe.image

    def image(self, image_id):
        if image_id.endswith("-3"):
            raise DataError(f"{image_id} is <broken>")
        return sound(self, image_id)

    monkeypatch.setattr(Wardrobe, "image", image)
    made = page(wardrobe_run)
    absent = {element.text for element in made.all("span", "absent")}
    assert absent
    assert all(name.endswith("-3") for name in absent)
    assert f"{len(absent)} picture" in made.all("p", "notice")[0].text
    assert "is <broken>" in made.all("p", "notice")[0].text


def test_partial_is_said_at_every_number(make_run, page):
    made = page(make_run("a", partial=True), images=False)
    for cell in made.all("table", "board")[0].all("tbody")[0].all("td"):
        assert cell.all("span", "partial"), cell.text
    for card in made.all("article"):
        assert card.all("span", "partial")
        assert "(partial)" in card.all("p", "rank")[0].text
    names = [element.text for svg in made.all("svg", "chart") for element in svg.all("text", "name")]
    assert names
    assert all(name.endswith("(partial)") for name in names)
    assert "3 pictures" in made.all("ul", "notices")[0].text


def test_partial_beside_complete_is_flagged(make_run, page):
    made = page([make_run("a", partial=True), make_run("b", seed=2)], images=False)
    assert "Partial beside complete" in made.all("ul", "notices")[0].text
    assert "†" in made.all("p", "legend")[0].text


def test_different_protocols_are_flagged(make_run, page):
    joined = replace(small_task(), wording=Wording(join="reversed"))
    made = page([make_run("a", [small_task()]), make_run("b", [joined], seed=2)], images=False)
    [told] = made.all("ul", "notices")
    assert told.text == "Different protocols: dress, caption_join: and in a; reversed in b"


def test_warnings_of_the_results_are_shown_once(make_run, page):
    made = page(
        [make_run("a", warnings=["5 queries tie"]), make_run("b", seed=2, warnings=["5 queries tie"])], images=False
    )
    assert made.all("ul", "notices")[0].text.count("5 queries tie") == 1
    assert page(make_run("c"), images=False).all("ul", "notices") == []


def test_the_protocol_is_there_in_full(make_run, page):
    deep = {"weights": "sha256:abc", "preprocessing": {"gallery": {"size": 224}}, "missing": {"ids": list(range(90))}}
    shown = page(make_run("a", **deep), images=False).all("dl")[0]
    found = dict(zip([dt.text for dt in shown.all("dt")], [dd.text for dd in shown.all("dd")], strict=True))
    assert found["weights"] == "sha256:abc"
    assert found["preprocessing.gallery.size"] == "224"
    assert found["tasks.dress.drop_reference"] == "false"
    assert found["missing.ids"].endswith("19, and 70 more]")


def test_the_same_runs_give_the_same_file(wardrobe_run, tmp_path):
    for name in ("a.html", "b.html"):
        write_report([wardrobe_run], tmp_path / name, worst=3, best=3)
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_ids_within_the_page_are_unique(wardrobe_run, make_run, page):
    made = page([wardrobe_run, make_run("b")])
    ids = [e.attributes["id"] for e in made.all() if "id" in e.attributes]
    assert len(ids) == len(set(ids))
    links = [a.attributes["href"][1:] for a in made.all("a")]
    assert links
    assert set(links) <= set(ids)


@pytest.mark.parametrize("file", ["result.json", "queries.parquet"])
def test_a_damaged_run_is_named_and_an_older_report_stays(make_run, tmp_path, file):
    folder, out = make_run("a"), tmp_path / "report.html"
    out.write_text("older")
    (folder / file).write_bytes(b"{")
    with pytest.raises(DataError, match=re.escape(str(folder))):
        write_report([folder], out)
    assert out.read_text() == "older"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("report")] == ["report.html"]


def test_a_result_without_what_a_report_needs_is_named(make_run, tmp_path):
    folder = make_run("a")
    content = json.loads((folder / "result.json").read_text())
    del content["tasks"][0]["metrics"]
    (folder / "result.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"metrics"):
        write_report([folder], tmp_path / "report.html")


def test_counts_that_contradict_each_other_are_refused(make_run, tmp_path):
    folder = make_run("a")
    content = json.loads((folder / "result.json").read_text())
    content["tasks"][0]["queries"] = 7
    (folder / "result.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"24 rows of 'slerp' in 'dress', result\.json counts 7"):
        write_report([folder], tmp_path / "report.html")


def test_no_runs_no_report(tmp_path):
    with pytest.raises(DataError, match="at least one folder"):
        write_report([], tmp_path / "report.html")


def test_numbers_and_times_as_people_write_them():
    assert (number(12.345), number(None), number(float("nan")), number(0)) == ("12.3", "–", "–", "0.0")
    assert moment("2026-03-02T09:05:00+00:00") == "2 March 2026, 09:05 UTC"
    assert moment("yesterday") == "yesterday"
