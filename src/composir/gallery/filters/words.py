"""A filter's text into words: numbers, texts, names, key words and signs."""

from __future__ import annotations

import re
from dataclasses import dataclass

from composir.gallery.filters.tree import FilterError

KEYS = frozenset({"AND", "OR", "NOT", "IN", "BETWEEN", "LIKE", "ILIKE", "IS", "NULL", "TRUE", "FALSE"})
ALLOWED = (
    "a filter may hold columns, numbers, 'text', true, false, null, = != <> < <= > >=, AND, OR, NOT, IN (…), BETWEEN, "
    "LIKE, ILIKE, IS [NOT] NULL, IS [NOT] TRUE, IS [NOT] FALSE, + - * / %, brackets, and lower or upper of a column"
)
WORD = re.compile(
    r"""
      (?P<blank>\s+)
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<text>'[^']*(?:''[^']*)*')
    | (?P<name>`[^`]+`)
    | (?P<word>[^\W\d]\w*)
    | (?P<more>--|/\*|;)
    | (?P<sign><=|>=|<>|!=|[-+*/%=<>(),])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word and what it is.

    Attributes:
        kind: "number", "text", "name" (which stood in backticks), "word", "key", "sign" or "end".
        text: Of a text or a name what stands within; a key word in capitals.
        shown: As it was written, cut where it is long.
    """

    kind: str
    text: str
    shown: str


def words_of(where: str) -> list[Word]:
    """All words of a filter, and an "end" behind them.

    Raises:
        FilterError: A character that no filter has, a quote that is not closed, a comment, or a semicolon.
    """
    if half := re.search(r"[\ud800-\udfff]", where):  # JSON can carry one; no text that a column holds can
        raise FilterError(f"{half[0]!r} found, half of a character; write the whole one")
    found: list[Word] = []
    start = 0
    while start < len(where):
        match = WORD.match(where, start)
        if match is None:
            raise FilterError(_stranger(where[start]))
        start = match.end()
        if match.lastgroup == "more":
            raise FilterError(f"{match[0]!r} found; one expression is read, without ; and comments")
        if match.lastgroup != "blank":
            found.append(_word(str(match.lastgroup), match[0]))
    return [*found, Word("end", "", "the end")]


def _word(kind: str, text: str) -> Word:
    shown = repr(text[:60] + "…" * (len(text) > 60))
    if kind == "text":
        return Word(kind, text[1:-1].replace("''", "'"), shown)
    if kind == "name":
        return Word(kind, text[1:-1], shown)
    if kind == "word" and text.upper() in KEYS:
        return Word("key", text.upper(), shown)
    return Word(kind, text, shown)


def _stranger(letter: str) -> str:
    if letter in "'`":
        twice = ", and a quote within it is written twice" if letter == "'" else ""
        return f"a {letter} is not closed{twice}"
    if letter == '"':
        return "a \" found; text stands in single quotes ('a'), a name with capitals or blanks in backticks"
    return f"{letter!r} found; {ALLOWED}"
