"""The page's modules that draw nothing, run in the browser that they are written for."""

from __future__ import annotations

import base64
import json

import pytest

A, B, C = "a" * 32, "b" * 32, "c" * 32


@pytest.fixture(scope="module")
def run(chromium, served):
    """run("where.js", "m.quoteText(a)", "x") gives the value of an expression over a module `m`."""
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{served.url}/page/mark.svg")  # an address of the server, with nothing at work in it

    def evaluate(module, expression, argument=None):
        script = f"async (a) => {{ const m = await import('/page/{module}'); return {expression} }}"
        return page.evaluate(script, argument)

    yield evaluate
    context.close()


FILTERS = [
    ({"column": "kind", "op": "is", "values": ["dress"]}, "`kind` = 'dress'"),
    ({"column": "kind", "op": "not", "values": ["o'neil"]}, "`kind` <> 'o''neil'"),
    ({"column": "Neck line", "op": "has", "values": ["V-Neck"]}, "lower(`Neck line`) LIKE '%v-neck%'"),
    ({"column": "kind", "op": "has", "values": ["50%_a\\"]}, "lower(`kind`) LIKE '%50\\%\\_a\\\\%'"),
    ({"column": "kind", "op": "is", "values": ["'; DROP TABLE x --"]}, "`kind` = '''; DROP TABLE x --'"),
    ({"column": "kind", "op": "is", "values": ["  "]}, ""),
    ({"column": "price", "op": "range", "values": ["10", "20.5"]}, "`price` >= 10 AND `price` <= 20.5"),
    ({"column": "price", "op": "range", "values": ["", "20,5"]}, "`price` <= 20.5"),
    ({"column": "price", "op": "range", "values": ["1 OR 1=1", "Infinity"]}, ""),
    ({"column": "price", "op": "eq", "values": ["0"]}, "`price` = 0"),
    ({"column": "in stock", "op": "yes", "values": []}, "`in stock` = true"),
    ({"column": "in stock", "op": "no", "values": []}, "`in stock` = false"),
    ({"column": "kind", "op": "invented", "values": ["x"]}, ""),
    ({"column": "price", "op": "range", "values": ["cheap", "1,234"]}, ""),
    ({"column": "price", "op": "eq", "values": ["9007199254740993"]}, "`price` = 9007199254740993"),
    ({"column": "price", "op": "eq", "values": [" +1e-7 "]}, "`price` = 1e-7"),
]


@pytest.mark.parametrize(("given", "sql"), FILTERS)
def test_a_filter_as_sql(run, given, sql):
    assert run("where.js", "m.condition(a)", given) == sql


@pytest.mark.parametrize("text", ["", " ", "0", "-12.5", ".5", "20.", "20,5", "0,125", "1234,567", "1e5", "1E-05"])
def test_numbers_that_are_read(run, text):
    assert run("where.js", "m.faultOf(a)", text) == ""


@pytest.mark.parametrize(
    "text", ["cheap", "1 OR 1=1", "1,234,567", "1,234.5", "12 000", "-", "1e", "1e999", "0x10", "٣"]
)
def test_what_is_no_number_is_told_with_what_is_one(run, text):
    told = f"“{text}” is no number. Write digits with one decimal point at most, such as 1234.5."
    assert run("where.js", "m.faultOf(a)", text) == told


def test_a_comma_that_may_part_thousands_is_not_guessed_at(run):
    told = "“-1,234” can mean -1234 or -1.234: write the one that is meant."
    assert run("where.js", "m.faultOf(a)", "-1,234") == told
    filters = [{"column": "price", "op": "range", "values": ["", "1,234"]}]
    assert run("where.js", "m.isUnread(a)", filters) is True
    assert run("where.js", "m.isUnread(a)", [{"column": "kind", "op": "is", "values": ["1,234"]}]) is False


def test_filters_are_joined_and_what_is_written_by_hand_stands_in_brackets(run):
    given = [FILTERS[0][0], FILTERS[5][0], FILTERS[10][0]]
    joined = "`kind` = 'dress' AND `in stock` = true AND (price < 5 OR price > 50)"
    assert run("where.js", "m.whereOf(a, 'price < 5 OR price > 50 ')", given) == joined
    assert run("where.js", "m.whereOf([], ' price < 5 ')") == "price < 5"
    assert run("where.js", "m.whereOf([])") == ""


@pytest.mark.parametrize(
    ("type", "kind"),
    [
        ("text", "text"),
        ("string", "text"),
        ("integer", "number"),
        ("number", "number"),
        ("double", "number"),
        ("int64", "number"),
        ("boolean", "boolean"),
        ("bool", "boolean"),
        ("timestamp", None),
        ("list<text>", None),
    ],
)
def test_kinds_of_columns(run, type, kind):
    assert run("where.js", "m.kindOf(a)", type) == kind


def test_columns_that_sql_cannot_name_are_not_offered(run):
    columns = {"kind": "text", "a`b": "text", "when": "timestamp", "price": "number"}
    assert run("where.js", "m.usable(a)", columns) == [["kind", "text"], ["price", "number"]]


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("in red, naïve café Größe", None),
        ("№ 5 – 100 % ❤ 日本", "Chinese"),
        ("красное платье", "Cyrillic"),
        ("赤いドレス", "Japanese"),
        ("빨간 드레스", "Korean"),
        ("red платье", "Cyrillic"),
        ("ชุดสีแดง", "Thai"),
        ("ቀይ ቀሚስ", "non-Latin"),
        ("", None),
    ],
)
def test_scripts_are_told_apart(run, text, script):
    assert run("writing.js", "m.foreignScript(a)", text) == script


def state(*steps, current=None, **view):
    query = run_query
    trail = {
        "steps": [{"id": i, "parent": parent, "query": query(**given)} for i, (parent, given) in enumerate(steps, 1)],
        "current": current,
        "open": False,
        "draft": query(),
    }
    plain = {"method": None, "second": None, "compare": None, "order": "composed", "fold": False}
    return {"trail": trail, "view": plain | view}


def run_query(**given):
    empty = {"reference": None, "text": "", "alpha": None, "weights": {}, "without": [], "keep": [], "avoid": []}
    empty |= {"reverse": False, "filters": [], "where": "", "truth": None}
    return empty | given


FULL = {
    "reference": A,
    "text": "größer, 赤 🙂",
    "alpha": 0.25,
    "weights": {"image": 1.5, "text": 0},
    "without": ["stripes", "a 'belt'"],
    "keep": [B],
    "avoid": [C],
    "reverse": True,
    "filters": [{"column": "Neck", "op": "has", "values": ["v"]}, {"column": "n", "op": "yes", "values": []}],
    "where": "price < 5",
    "truth": {"index": 7, "query": "families/7", "targets": [B], "subset": [A, B, C]},
}
FAR = [(None, {"text": "a"}), (1, FULL), (1, {"text": "b"}), (None, {"reference": B})]


def test_a_state_survives_the_address(run):
    given = state(*FAR, current=2, method="sum", second="slerp", order="text", fold=True)
    encoded = run("codec.js", "m.encode(a)", given)
    assert encoded.replace("-", "").replace("_", "").isalnum()
    assert run("codec.js", "m.decode(a)", encoded) == given
    compared = state(*FAR, current=2, compare=3)
    assert run("codec.js", "m.decode(m.encode(a))", compared) == compared


def test_each_id_stands_once_in_an_address(run):
    steps = [(i or None, {"reference": A, "text": f"turn {i}"}) for i in range(20)]
    encoded = run("codec.js", "m.encode(a)", state(*steps, current=20))
    decoded = base64.urlsafe_b64decode(encoded + "===").decode()
    assert decoded.count(A) == 1
    assert len(encoded) < 1200


def test_the_empty_state_needs_no_address(run):
    assert run("codec.js", "m.encode(m.emptyState())") == ""
    assert run("codec.js", "m.decode('')") == state()


def packed(**value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


BAD = {
    "not base64": "%%%",
    "not JSON": "aGVsbG8",
    "cut": None,
    "foreign": packed(hello=1),
    "later version": packed(v=2, s=[], c=0),
    "no steps": packed(v=1, c=0),
    "a parent that is not there": packed(v=1, s=[[1, 9, {}]], c=1),
    "a step that is its own parent": packed(v=1, s=[[1, 1, {}]], c=1),
    "a current step that is not there": packed(v=1, s=[[1, 0, {"t": "a"}]], c=2),
    "no id": packed(v=1, s=[[1, 0, {"r": 0}]], c=1, i=["../../etc/passwd"]),
    "an id that is not listed": packed(v=1, s=[[1, 0, {"r": 5}]], c=1, i=[A]),
    "alpha beyond its range": packed(v=1, s=[[1, 0, {"t": "a", "a": 2}]], c=1),
    "words that are none": packed(v=1, s=[[1, 0, {"t": 5}]], c=1),
    "a method with blanks": packed(v=1, s=[], c=0, m="a b"),
    "too many steps": packed(v=1, s=[[i, 0, {"t": "a"}] for i in range(1, 99)], c=1),
    "null": base64.urlsafe_b64encode(b"null").decode(),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_broken_link_is_refused_with_words(run, kind):
    broken = BAD[kind] or run("codec.js", "m.encode(a)", state(*FAR, current=2))[:-9]
    caught = "(() => { try { return m.decode(a) } catch (e) { return [e.constructor.name, e.message] } })()"
    told = run("codec.js", caught, broken)
    assert told[0] == "LinkError"
    assert told[1].startswith("This link")


def test_typing_takes_one_step_and_nothing_new_takes_none(run):
    typed = "['r', 're', 'red'].reduce((t, text) => m.type(t, text), m.NO_TRAIL)"
    trail = run("trail.js", f"m.settle({typed})")
    assert [step["query"]["text"] for step in trail["steps"]] == ["red"]
    again = run("trail.js", "m.settle(m.type(m.type(a, 'redd'), 'red'))", trail)
    assert again["steps"] == trail["steps"]
    assert again["current"] == trail["current"]
    assert run("trail.js", "m.settle(m.type(a, '')).current", trail) == trail["current"]


def test_words_about_a_bare_picture_belong_to_it(run):
    trail = run("trail.js", "m.settle(m.type(m.push(m.NO_TRAIL, {reference: a}), 'in red'))", A)
    assert [(s["query"]["reference"], s["query"]["text"]) for s in trail["steps"]] == [(A, "in red")]
    later = run("trail.js", "m.push(a[0], {reference: a[1]})", [trail, B])
    assert [(s["query"]["reference"], s["parent"]) for s in later["steps"]] == [(A, None), (B, 1)]


def test_a_step_that_others_came_from_is_not_changed(run):
    two = run("trail.js", "m.push(m.push(m.NO_TRAIL, {text: 'a'}), {text: 'b'})")
    branch = run("trail.js", "m.tune(m.go(a, 1), {alpha: .3})", two)
    assert [(s["query"]["text"], s["query"]["alpha"], s["parent"]) for s in branch["steps"]] == [
        ("a", None, None),
        ("b", None, 1),
        ("a", 0.3, 1),
    ]
    leaf = run("trail.js", "m.tune(a, {alpha: .3})", two)
    assert len(leaf["steps"]) == 2


def test_where_steps_are_drawn(run):
    places = run(
        "trail.js", "m.layout(a.trail).map((p) => [p.step.id, p.column, p.row, p.from])", state(*FAR, (2, {}), (1, {}))
    )
    assert sorted(places) == [[1, 0, 1, None], [2, 1, 1, 1], [3, 1, 2, 1], [4, 0, 0, None], [5, 2, 1, 1], [6, 1, 3, 1]]


def test_a_long_trail_forgets_other_branches_before_its_own_way(run):
    script = """(() => {
      let trail = m.push(m.NO_TRAIL, {text: 'root'});
      for (let i = 0; i < 40; i++) trail = m.go(m.push(trail, {text: `side ${i}`}), 1);
      for (let i = 0; i < 30; i++) trail = m.push(trail, {text: `way ${i}`});
      const [first, second] = trail.steps.map((step) => step.query.text);
      return [trail.steps.length, m.pathTo(trail, trail.current).length, first, second];
    })()"""
    assert run("trail.js", script) == [60, 31, "root", "side 11"]


def test_a_table_for_spreadsheets(run):
    hits = [
        {"rank": 1, "id": A, "path": 'a,"b".jpg', "score": 0.5, "why": {"text": -0.25}, "metadata": {"name": "=1+1"}},
        {"rank": 2, "id": B, "path": "c.jpg", "score": -1, "why": {}, "metadata": {"name": None, "n": 3}},
    ]
    table = run("export.js", "m.tableOf(a)", hits)
    assert table.split("\r\n") == [
        "rank,id,path,score,why.text,name,n",
        f'1,{A},"a,""b"".jpg",0.5,-0.25,\'=1+1,',
        f"2,{B},c.jpg,-1,,,3",
        "",
    ]


def test_a_slider_that_rests_sends_nothing(run):
    method = {"name": "slerp", "controls": ["alpha"], "default": True}
    both = run_query(reference=A, text=" in red ")
    assert run("request.js", "m.bodyOf(...a)", [both, method, False]) == {
        "k": 24,
        "text": "in red",
        "reference": {"id": A},
    }
    moved = run("request.js", "m.bodyOf(...a)", [both | {"alpha": 0}, method, True])
    assert moved["alpha"] == 0
    assert moved["fold"] is True
    alone = run("request.js", "m.bodyOf(...a)", [both | {"alpha": 0.5, "text": ""}, method, False])
    assert "alpha" not in alone


def test_weights_are_given_for_all_directions_or_none(run):
    method = {"name": "sum", "controls": ["image", "text"], "default": False}
    both = run_query(reference=A, text="in red", weights={"image": 1.5})
    assert run("request.js", "m.bodyOf(...a)", [both, method, False])["weights"] == {"image": 1.5, "text": 1}
    assert "weights" not in run("request.js", "m.bodyOf(...a)", [both | {"weights": {}}, method, False])


def test_reverse_leaves_out_what_it_cannot_take(run):
    method = {"name": "sum", "controls": ["image", "text"], "default": False}
    full = run_query(reference=A, text="x", reverse=True, without=["y"], keep=[B], avoid=[C], weights={"image": 2})
    body = run("request.js", "m.bodyOf(...a)", [full, method, False])
    assert body == {"k": 24, "text": "x", "reference": {"id": A}, "method": "sum", "reverse": True}
