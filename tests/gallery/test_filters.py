"""The language of filters: what is allowed means what SQL says, and nothing else is read."""

from __future__ import annotations

import math
import operator
import re
import sys
import time
from unittest import mock

import lancedb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from composir.errors import ComposirError
from composir.gallery import columns as columns_of_gallery
from composir.gallery.columns import Columns, JoinedColumns
from composir.gallery.filters import passing, reader
from composir.gallery.filters.like import CASED, folded, matcher, regex
from composir.gallery.filters.reader import DEEPEST, LONGEST

TYPES = {"price": pa.float64(), "n": pa.int64(), "sold": pa.bool_(), "Brand Name": pa.string()}


def made(rows):
    """Columns of rows, each a dict."""
    arrays = {name: pa.array([row[name] for row in rows], kind) for name, kind in TYPES.items()}
    paths = [f"{i}" for i in range(len(rows))]
    return Columns.of(pa.table({"path": pa.array(paths, pa.string()), **arrays}), paths)


TEXTS = ["a", "B", "it's", "100%", "x_y", "z\\", "é b", "", "x\ny", "ΟΔΟΣ", "İx", "Σ"]
ROWS = [
    {"price": price, "n": n, "sold": sold, "Brand Name": text}
    for (price, n, sold), text in zip(
        [(1.5, 1, True), (None, 2, False), (3.0, None, None), (0.0, 0, True), (-2.25, -7, False), (5.0, 3, None)] * 2,
        [*TEXTS[:5], None, *TEXTS[5:11]],
        strict=True,
    )
]


# --- refused ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("repeat(`Brand Name`, 1000000000) = 'a'", "the function 'repeat' found; only lower"),
        ("lpad(`Brand Name`, 1000000000, 'x') = 'a'", "the function 'lpad' found"),
        ("array_length(range(0,100000000)) > 5", "the function 'array_length' found"),
        ("random() > 0.5", "the function 'random' found"),
        ("now() > '2024'", r"the function 'now' found"),
        ("version() = 'a'", "the function 'version' found"),
        ("EXISTS (SELECT 1)", "the function 'EXISTS' found"),
        ("CAST(price AS int) = 1", "the function 'CAST' found"),
        ("lower(lower(`Brand Name`)) = 'a'", "no column is called 'lower'"),
        ("lower('A') = 'a'", "found where a column should stand"),
        ("lower(price) = 'a'", "lower takes text, not the column 'price'"),
        ("__row < 3", "no column is called '__row'; a filter may hold"),
        ("`__row` < 3", "no column is called '`__row`'"),
        ("n IN (SELECT n FROM columns)", "'SELECT' found where a number"),
        ("n = (SELECT max(n) FROM columns)", "no column is called 'SELECT'"),
        ("CASE WHEN n = 1 THEN true ELSE false END", "no column is called 'CASE'"),
        ("price::int = 1", "':' found; a filter may hold"),
        ("n = 1 FETCH FIRST 1 ROW ONLY", "'FETCH' found where AND, OR or the end"),
        ("current_date > '2024'", "no column is called 'current_date'"),
        ("n = interval '1 day'", "no column is called 'interval'"),
        ("columns.n = 1", r"'\.' found"),
        ("`Brand Name` || 'x' = 'ax'", r"'\|' found"),
        ('`Brand Name` = "a"', "text stands in single quotes"),
        ("`Brand Name` = 'a", "a ' is not closed"),
        ("`Brand Name = 'a'", "a ` is not closed"),
        ("`Brand Name` LIKE `Brand Name`", "found where a 'text' should stand"),
        ("`Brand Name` LIKE 'a' ESCAPE '!'", "'ESCAPE' found"),
        ("`Brand Name` = '\ud800'", "half of a character"),
        ("n = 0x10", "'x10' found"),
        ("n = 1e999", "numbers have 64 bits"),
        ("n = 1 OR", "the end found where a column or a value"),
        ("n = 1 n = 2", "'n' found where AND, OR or the end"),
        ("0 < n < 5", "'<' found where AND, OR or the end"),
        ("n NOT 5", "'5' found where IN, BETWEEN, LIKE or ILIKE"),
        ("n IS 5", "'5' found where NULL, TRUE or FALSE"),
        ("n IS TRUE", "IS TRUE takes a condition, not the column 'n'"),
        ("n IN ()", r"'\)' found where a number"),
        ("n", "neither true nor false"),
        ("NULL", "neither true nor false"),
        ("n = 'a'", "= takes values of one kind, not the column 'n' .number. with a text"),
        ("n IN (1, 'a')", "IN takes values of one kind"),
        ("n BETWEEN 1 AND sold", "BETWEEN takes values of one kind"),
        ("n AND sold", "AND takes a condition"),
        ("sold + 1 = 2", r"\+ takes a number"),
        ("prise < 2", "no column is called 'prise'; did you mean 'price'?"),
        ("n + 9223372036854775807 > 0", "grow beyond 64 bits"),
        ("`Brand Name` LIKE '%a" + "_" * 33 + "b%'", "a pattern with 33 of '_' found; .* 32 of '_', and .* 128 char"),
        ("`Brand Name` ILIKE '" + "é_" * 4000 + "'", "a pattern with 4,000 of '_' found"),
        ("`Brand Name` LIKE '" + "a" * 128 + "_'", "a pattern of 129 characters with '_' found"),
        (" OR ".join(["`Brand Name` LIKE 'a'"] * 17), "more than 16 LIKEs and ILIKEs found"),
        ("`Brand Name` ILIKE '" + "é" * 8000 + "'", None),
        ("`Brand Name` LIKE '%" + "\\_" * 4000 + "%'", None),
        ("`Brand Name` LIKE '" + "a" * 96 + "_" * 32 + "'", None),
        (" OR ".join(["`Brand Name` LIKE 'q'"] * 16), None),
    ],
)
def test_nothing_else_is_read(where, told):
    columns = made(ROWS)
    if told is None:  # large, yet a pattern like others
        assert columns.rows(where).tolist() == []
        return
    with pytest.raises(ComposirError, match=told) as raised:
        columns.rows(where)
    message = str(raised.value)
    assert message.endswith(
        "columns: price (number), n (integer), sold (boolean), Brand Name (text); example: price < 50"
    )
    assert "__row" not in message.replace(where, "").replace("is called '__row'", "").replace("`__row`", "")


@pytest.mark.parametrize("where", ["n = 1" + " OR n = 1" * 2000, "`Brand Name` = '" + "a" * LONGEST + "'"])
def test_what_is_too_long_is_told_and_not_repeated(where):
    with pytest.raises(ComposirError, match=r"characters; 10,000 are allowed") as raised:
        made(ROWS).rows(where)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("before", "within", "after"), [("(", "n = 1", ")"), ("NOT ", "n = 1", ""), ("- ", "n = 1", "")]
)
def test_depth_is_bounded(before, within, after):
    columns = made(ROWS)
    columns.rows(before * DEEPEST + within + after * DEEPEST)
    for deep in (DEEPEST + 1, 2400):
        with pytest.raises(ComposirError, match=f"more than {DEEPEST} deep"):
            columns.rows(before * deep + within + after * deep)


def test_the_deepest_tree_fits_the_stack():
    level = "NOT n IS NULL AND n = 1 OR 1 + 2 * 3 > 4 AND true = ({})"
    where = "sold"
    for _ in range(DEEPEST):
        where = level.format(where)
    assert made(ROWS).rows(where).tolist() == [0, 3, 6, 9]


# --- allowed ---------------------------------------------------------------------------------------------------------


def test_long_lists_and_chains_work():
    columns = made(ROWS)
    assert columns.rows(f"n IN ({', '.join(map(str, range(1, 1001)))})").tolist() == [0, 1, 5, 6, 7, 11]
    assert columns.rows(" OR ".join(f"n = {i}" for i in range(900))).tolist() == [0, 1, 3, 5, 6, 7, 9, 11]
    assert columns.rows("n" + " + 1" * 2000 + " = 2001").tolist() == [0, 6]


@pytest.mark.parametrize(
    "where",
    [
        "PRICE < 2 and not SOLD",
        "n = 1 OR n = 2 AND price > 100",
        "NOT n = 1 AND sold",
        "NOT (n = 1 AND sold)",
        "- n * 2 + 3 > -n - -1",
        "10 - 4 - 3 = 3 AND 7 - 2 * 3 = 1 AND n > 0",
        "n % 2 = 1 OR n % 2 = -1",
        "n / 2 = 1",
        "price / 2 < 1.0",
        "n BETWEEN 0 AND 2 AND sold",
        "n NOT BETWEEN 0 AND 2 OR sold",
        "n IN (1, NULL)",
        "n NOT IN (1, NULL)",
        "n NOT IN (1, -7)",
        "sold = NULL",
        "sold IS TRUE",
        "sold IS NOT FALSE",
        "price IS NOT NULL",
        "(n > 0) = sold",
        "sold <> false",
        "`Brand Name` > 'a'",
        "`Brand Name` = 'it''s'",
        "`Brand Name` LIKE '%'",
        "`Brand Name` LIKE '%\\%'",
        "`Brand Name` LIKE '_\\__'",
        "`Brand Name` LIKE 'x_y'",
        "`Brand Name` LIKE '%\\'",
        "`Brand Name` LIKE '%\\\\'",
        "`Brand Name` LIKE '\\B'",
        "`Brand Name` LIKE ''",
        "`Brand Name` NOT LIKE '%b%'",
        "`Brand Name` ILIKE 'b'",
        "`Brand Name` NOT ILIKE '%É%'",
        "lower(`Brand Name`) LIKE '%ς'",
        "lower(`Brand Name`) LIKE 'i̇%'",
        "UPPER(`Brand Name`) = 'É B'",
        "true",
        "1 = 1",
        "n = 1 AND NULL",
    ],
)
def test_it_means_what_a_database_takes_it_for(where):
    arrays = {name: pa.array([row[name] for row in ROWS], kind) for name, kind in TYPES.items()}
    table = lancedb.connect("memory://").create_table("t", pa.table({**arrays, "at": pa.array(range(len(ROWS)))}))
    expected = table.search().where(where).select(["at"]).limit(None).to_arrow()["at"].to_pylist()
    assert made(ROWS).rows(where).tolist() == sorted(expected)


@pytest.mark.parametrize(
    ("where", "rows"),
    [
        ("n < 1.5", [0, 3, 4, 6, 9, 10]),
        ("n IN (1.0, 2.5)", [0, 6]),
        ("10 / n > 4", [0, 1, 6, 7]),  # what is divided by zero is null
        ("10 / price IS NULL", [1, 3, 7, 9]),
        ("10 % n IS NULL", [2, 3, 8, 9]),
        ("n = 99999999999999999999", []),
        ("n > -9223372036854775808 AND n < 00009223372036854775807", [0, 1, 3, 4, 5, 6, 7, 9, 10, 11]),
        ("n = 1e0", [0, 6]),
        ("n > .5 AND n < 2.", [0, 6]),
    ],
)
def test_numbers_of_both_types_go_together(where, rows):
    assert made(ROWS).rows(where).tolist() == rows


@pytest.mark.parametrize("where", ["price IN (0)", "price * -1 IN (0)", "price IN (-0.0, 7)", "price = 0"])
def test_nought_below_zero_is_nought(where):
    columns = Columns.of(pa.table({"path": list("abc"), "price": [0.0, -0.0, 1.0]}), list("abc"))
    assert columns.rows(where).tolist() == [0, 1]


def test_the_largest_whole_numbers_are_told_apart():
    limits = [-(2**63), -(2**63) + 1, 2**63 - 2, 2**63 - 1]
    columns = Columns.of(pa.table({"path": list("abcd"), "n": limits}), list("abcd"))
    assert [columns.rows(f"n = {limit}").tolist() for limit in limits] == [[0], [1], [2], [3]]
    assert columns.rows("n < 1e300 AND n IN (0.5, 9223372036854775807, -9223372036854775807.5)").tolist() == [
        0,
        1,
        2,
        3,
    ]
    assert columns.rows("n % -1 = 0").tolist() == [0, 1, 2, 3]


def test_a_column_that_is_called_like_a_word_of_the_language():
    columns = Columns.of(pa.table({"path": ["a"], "in": [1], "lower": ["x"], "N": [1], "n": [2]}), ["a"])
    assert columns.rows("`in` = 1 AND lower = 'x' AND N = 1 AND n = 2").tolist() == [0]
    with pytest.raises(ComposirError, match=r"example: `in` < 50"):
        columns.rows("in = 1")
    with pytest.raises(ComposirError, match="no column is called '`LOWER`'"):
        columns.rows("`LOWER` = 'x'")


# --- against a slow loop over the rows -------------------------------------------------------------------------------


def null(function):
    """Null where any argument is."""
    return lambda *values: None if None in values else function(*values)


def divided(a, b):
    if b == 0:
        return None
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return a / b


def left_over(a, b):
    rest = None if b == 0 else math.fmod(a, b)
    return int(rest) if rest is not None and isinstance(a, int) and isinstance(b, int) else rest


SIGNS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": divided, "%": left_over}
COMPARED = {
    "=": operator.eq, "!=": operator.ne, "<>": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt,
    ">=": operator.ge,
}  # fmt: skip


def both(parts):
    return False if False in parts else None if None in parts else True


def either(parts):
    return True if True in parts else None if None in parts else False


def like(text, pattern):
    if not pattern:
        return not text
    if pattern[0] == "%":
        return any(like(text[i:], pattern[1:]) for i in range(len(text) + 1))
    escaped = pattern[0] == "\\" and len(pattern) > 1
    letter, rest = (pattern[1], pattern[2:]) if escaped else (pattern[0], pattern[1:])
    return bool(text) and (text[0] == letter or (letter == "_" and not escaped)) and like(text[1:], rest)


def among(value, values):
    if value is None:
        return None
    return True if value in [v for v in values if v is not None] else None if None in values else False


def turned(value):
    return None if value is None else not value


# Each strategy draws an expression: its SQL, and what it is of a row.
def column(name):
    return st.just((f"`{name}`" if " " in name else name, lambda row: row[name]))


def written(values, sql):
    return values.map(lambda value: (sql(value), lambda row: value))


texts = st.text("aB%_\\'é \n", max_size=4)
plain_numbers = st.one_of(st.integers(-4, 4), st.sampled_from([0.5, -1.5, 2.0, 0.0]))
quoted = lambda text: "'" + text.replace("'", "''") + "'"  # noqa: E731


@st.composite
def chains(draw, parts, signs):
    own = draw(st.lists(parts, min_size=1, max_size=3))
    ways = draw(st.lists(st.sampled_from(signs), min_size=len(own) - 1, max_size=len(own) - 1))
    sql = own[0][0] + "".join(f" {way} {part[0]}" for way, part in zip(ways, own[1:], strict=True))

    def value(row):
        found = own[0][1](row)
        for way, part in zip(ways, own[1:], strict=True):
            found = null(SIGNS[way])(found, part[1](row))
        return found

    return sql, value


def sums(leaves):
    minus = leaves.map(lambda one: (f"- {one[0]}", lambda row: null(operator.neg)(one[1](row))))
    return chains(chains(st.one_of(leaves, minus), ["*", "/", "%"]), ["+", "-"])


number_leaves = st.one_of(column("price"), column("n"), written(plain_numbers, repr))
in_brackets = lambda parts: parts.map(lambda one: (f"({one[0]})", one[1]))  # noqa: E731
numbers = sums(st.one_of(number_leaves, number_leaves, in_brackets(sums(number_leaves))))
words = st.one_of(
    column("Brand Name"),
    written(texts, quoted),
    st.sampled_from(["lower", "UPPER"]).map(
        lambda name: (f"{name}(`Brand Name`)", lambda row: null(getattr(str, name.lower()))(row["Brand Name"]))
    ),
)
truths = st.one_of(column("sold"), written(st.booleans(), lambda value: str(value).upper()))
nothing = st.just(("NULL", lambda row: None))


@st.composite
def conditions(draw, inner):
    values, listed, sql = draw(
        st.sampled_from([(numbers, plain_numbers, repr), (words, texts, quoted), (inner, st.booleans(), str)])
    )
    kind = draw(st.sampled_from(["compare", "between", "in", "like", "is", "truth"]))
    a, b, c = draw(values), draw(st.one_of(values, nothing)), draw(values)
    no = draw(st.booleans())
    word = "NOT " if no else ""
    judged = turned if no else lambda value: value
    if kind == "compare":
        sign = draw(st.sampled_from(list(COMPARED)))
        return f"{a[0]} {sign} {b[0]}", lambda row: null(COMPARED[sign])(a[1](row), b[1](row))
    if kind == "between":
        low, high = null(operator.ge), null(operator.le)
        return f"{a[0]} {word}BETWEEN {b[0]} AND {c[0]}", lambda row: judged(
            both([low(a[1](row), b[1](row)), high(a[1](row), c[1](row))])
        )
    if kind == "in":
        among_these = draw(st.lists(st.one_of(listed, st.none()), min_size=1, max_size=4))
        told = ", ".join("null" if value is None else sql(value) for value in among_these)
        return f"{a[0]} {word}IN ({told})", lambda row: judged(among(a[1](row), among_these))
    if kind == "like":
        a, pattern, loose = draw(words), draw(texts), draw(st.booleans())
        fold = str.lower if loose else str
        return f"{a[0]} {word}{'I' * loose}LIKE {quoted(pattern)}", lambda row: judged(
            null(lambda text: like(fold(text), fold(pattern)))(a[1](row))
        )
    if kind == "is":
        return f"{a[0]} IS {word}NULL", lambda row: (a[1](row) is None) != no
    a, what = draw(inner), draw(st.booleans())
    return f"{a[0]} IS {word}{what}", lambda row: (a[1](row) is what) != no


@st.composite
def joined(draw, parts):
    """NOT before AND before OR, without brackets."""
    groups = draw(st.lists(st.lists(st.tuples(st.booleans(), parts), min_size=1, max_size=2), min_size=1, max_size=2))
    sql = " or ".join(" AND ".join("NOT " * no + part[0] for no, part in group) for group in groups)
    judge = lambda row, no, part: turned(part[1](row)) if no else part[1](row)  # noqa: E731
    return sql, lambda row: either([both([judge(row, *one) for one in group]) for group in groups])


one_level = joined(conditions(truths))
expressions = joined(st.one_of(conditions(st.one_of(truths, in_brackets(one_level))), in_brackets(one_level)))
rows_of_all_kinds = st.fixed_dictionaries(
    {
        "price": st.one_of(st.none(), st.sampled_from([0.0, 0.5, -1.5, 2.0, 3.25])),
        "n": st.one_of(st.none(), st.integers(-4, 4)),
        "sold": st.one_of(st.none(), st.booleans()),
        "Brand Name": st.one_of(st.none(), texts),
    }
)


@settings(max_examples=400, deadline=None)
@given(st.text("aB%_\\", max_size=8), st.text("abAB_%\\\n", max_size=12), st.booleans())
def test_like_is_a_slow_walk_through_the_text(pattern, text, loose):
    fold = str.lower if loose else str
    assert matcher(pattern, loose)(text) is like(fold(text), fold(pattern))


@settings(max_examples=400, deadline=None)
@given(st.text("aςσΣſskKK%_ıİiẞß", max_size=4), st.lists(st.text("aAςσΣſskKKıİiIẞß", max_size=4), max_size=8))
def test_capitals_are_those_of_the_regular_expressions(pattern, texts):
    found = pc.match_substring_regex(pa.array(texts, pa.string()), regex(pattern), ignore_case=True)
    assert [matcher(pattern, True)(text) for text in texts] == found.to_pylist()


def test_letters_are_folded_as_by_the_regular_expressions():
    cased = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
    cased = [one for one in cased if one.lower() != one or one.upper() != one or one.casefold() != one]
    assert max(map(ord, cased)) < CASED
    for letter in cased:
        others = [letter.lower(), letter.upper(), letter.title(), letter.casefold(), "ſ", "s", "\u0390", "\u03b0", "ﬆ"]
        found = pc.match_substring_regex(pa.array(others), rf"\A{re.escape(letter)}\z", ignore_case=True)
        assert [folded(other) == folded(letter) for other in others] == found.to_pylist(), letter


def test_a_pattern_takes_time_by_the_text_alone():
    texts = ["a" * 20_000] * 10  # and each piece stands nearly everywhere
    for pattern in ("%" + "a" * 4999 + "b%", "%" + "a_" * 32 + "b%", "%a%" * 1500 + "b", "%" + "aab%" * 1200):
        passes = matcher(pattern, True)
        began = time.process_time()
        assert not any(passes(text) for text in texts)
        assert time.process_time() - began < 1  # some hundredths; RE2 takes seconds to minutes


@settings(max_examples=150, deadline=None)
@given(expressions, st.lists(rows_of_all_kinds, max_size=8), st.integers(0, 8))
def test_a_filter_is_a_slow_loop_over_the_rows(expression, rows, count):
    where, value = expression
    expected = [i for i, row in enumerate(rows) if value(row) is True]
    with mock.patch.object(passing, "SLICE", 3), mock.patch.object(reader, "MOST_LIKES", 1000):
        assert made(rows).rows(where).tolist() == expected
    # Of a gallery and what was added to it, too.
    count = min(count, len(rows))
    assert JoinedColumns(made(rows[:count]), made(rows[count:]), count).rows(where).tolist() == expected


# --- kept ------------------------------------------------------------------------------------------------------------


def test_what_was_asked_is_kept_within_a_bound(monkeypatch):
    looked = []
    monkeypatch.setattr(columns_of_gallery, "passing", lambda *given: looked.append(1) or passing.passing(*given))
    columns = made([dict(ROWS[0], n=i) for i in range(1000)])
    for where in ("n >= 0", "n >= 1", " n >= 0 ", "n >= 1"):
        columns.rows(where)
    assert len(looked) == 2
    monkeypatch.setattr(columns_of_gallery, "KEPT", 2 * 10_000)  # two answers of 8,000 bytes and what is beside them
    for where in ("n >= 2", "n >= 1", "n >= 2", "n >= 0"):  # "n >= 0", asked longest ago, had to go
        columns.rows(where)
    assert len(looked) == 4
    monkeypatch.setattr(columns_of_gallery, "KEPT", 0)
    assert len(columns.rows("n >= 3")) == len(columns.rows("n >= 3")) == 997
    assert len(looked) == 6
