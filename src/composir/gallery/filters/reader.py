"""Words into a tree: a parser by recursive descent, whose grammar is its methods from `_any` down."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from composir.gallery.filters.like import checked
from composir.gallery.filters.tree import (
    Between,
    Cased,
    Chain,
    Column,
    Compared,
    FilterError,
    Is,
    Joined,
    Kind,
    Like,
    Negative,
    Node,
    Not,
    Plain,
    Value,
    Within,
)
from composir.gallery.filters.words import ALLOWED, Word, words_of

LONGEST = 10_000  # characters
DEEPEST = 16  # brackets, NOTs and minus signs within one another; each takes a dozen calls of the reader
MOST_LIKES = 16  # LIKE and ILIKE in a filter: each goes through all texts
COMPARISONS = frozenset({"=", "!=", "<>", "<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Condition:
    """What a filter asks.

    Attributes:
        tree: Boolean.
        named: The columns that it names, as it uses them.
    """

    tree: Node
    named: frozenset[Column | Cased]


def read(where: str, columns: Mapping[str, Kind]) -> Condition:
    """A filter's tree.

    Args:
        where: What was written.
        columns: Kind of each column that may be named.

    Raises:
        FilterError: It is too long or too deep, has too many LIKEs or one of too much work, holds anything that is not
            of the language, names a column that there is not, or joins kinds that do not go together.
    """
    if len(where) > LONGEST:
        raise FilterError(f"it has {len(where):,} characters; {LONGEST:,} are allowed")
    reader = _Reader(words_of(where), columns)
    tree = reader.whole()
    return Condition(tree, frozenset(reader.named))


class _Reader:
    def __init__(self, words: list[Word], columns: Mapping[str, Kind]):
        self._words, self._columns = words, columns
        self._at = self._depth = self._likes = 0
        self.named: set[Column | Cased] = set()

    def whole(self) -> Node:
        tree = self._any()
        if self._next.kind != "end":
            raise self._found("AND, OR or the end")
        if tree.kind != "boolean":
            raise FilterError(f"it is {_told(tree)}, neither true nor false; compare it with something")
        return tree

    @property
    def _next(self) -> Word:
        return self._words[self._at]

    def _take(self, kind: str, *texts: str) -> Word | None:
        """The next word, if it is one of these."""
        word = self._next
        if word.kind != kind or (texts and word.text not in texts):
            return None
        self._at += 1
        return word

    def _need(self, kind: str, text: str) -> None:
        if self._take(kind, text) is None:
            raise self._found(f"{text!r}")

    def _found(self, expected: str) -> FilterError:
        return FilterError(f"{self._next.shown} found where {expected} should stand; {ALLOWED}")

    def _deeper(self, read: Callable[[], Node]) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise FilterError(f"brackets, NOTs and minus signs stand more than {DEEPEST} deep; write it flatter")
        node = read()
        self._depth -= 1
        return node

    def _any(self) -> Node:
        return self._joined("OR", self._all)

    def _all(self) -> Node:
        return self._joined("AND", self._not)

    def _joined(self, word: str, read: Callable[[], Node]) -> Node:
        parts = [read()]
        while self._take("key", word):
            parts.append(read())
        if len(parts) == 1:
            return parts[0]
        return Joined(word, tuple(_expect(part, "boolean", word) for part in parts))

    def _not(self) -> Node:
        if self._take("key", "NOT"):
            return Not(_expect(self._deeper(self._not), "boolean", "NOT"))
        return self._condition()

    def _condition(self) -> Node:
        left = self._sum()
        if self._next.kind == "sign" and self._next.text in COMPARISONS:
            sign = self._words[self._at].text.replace("!=", "<>")
            self._at += 1
            right = self._sum()
            _alike(sign, left, right)
            return Compared(left, sign, right)
        if self._take("key", "IS"):
            return self._is(left)
        no = self._take("key", "NOT") is not None
        word = self._take("key", "IN", "BETWEEN", "LIKE", "ILIKE")
        if word is None and no:
            raise self._found("IN, BETWEEN, LIKE or ILIKE")
        found = left if word is None else self._tested(left, word)
        return Not(found) if no else found

    def _is(self, left: Node) -> Node:
        no = self._take("key", "NOT") is not None
        word = self._take("key", "NULL", "TRUE", "FALSE")
        if word is None:
            raise self._found("NULL, TRUE or FALSE")
        if word.text != "NULL":
            _expect(left, "boolean", f"IS {word.text}")
        found = Is(left, {"NULL": None, "TRUE": True, "FALSE": False}[word.text])
        return Not(found) if no else found

    def _tested(self, left: Node, word: Word) -> Node:
        if word.text == "IN":
            return self._within(left)
        if word.text == "BETWEEN":
            low = self._sum()
            self._need("key", "AND")
            high = self._sum()
            _alike("BETWEEN", left, low, high)
            return Between(left, low, high)
        pattern = self._take("text")
        if pattern is None:
            raise self._found("a 'text'")
        self._likes += 1
        if self._likes > MOST_LIKES:
            raise FilterError(f"more than {MOST_LIKES} LIKEs and ILIKEs found; ask for whole texts with IN (…)")
        return Like(_expect(left, "text", word.text), checked(pattern.text), word.text == "ILIKE")

    def _within(self, left: Node) -> Node:
        self._need("sign", "(")
        values = [self._literal()]
        while self._take("sign", ","):
            values.append(self._literal())
        self._need("sign", ")")
        _alike("IN", left, *values)
        return Within(left, tuple(value.value for value in values))

    def _literal(self) -> Value:
        value = self._written(-1 if self._take("sign", "-") else 1)
        if value is None:
            raise self._found("a number, a 'text', true, false or null")
        return value

    def _sum(self) -> Node:
        return self._chain(("+", "-"), self._product)

    def _product(self) -> Node:
        return self._chain(("*", "/", "%"), self._signed)

    def _chain(self, signs: tuple[str, ...], read: Callable[[], Node]) -> Node:
        first = read()
        rest: list[tuple[str, Node]] = []
        while sign := self._take("sign", *signs):
            rest.append((sign.text, _expect(read(), "number", sign.text)))
        return Chain(_expect(first, "number", rest[0][0]), tuple(rest)) if rest else first

    def _signed(self) -> Node:
        if not self._take("sign", "-"):
            return self._single()
        # The least of all integers has no positive, so that a number is read with its sign.
        if self._next.kind == "number" and (value := self._written(-1)):
            return value
        return Negative(_expect(self._deeper(self._signed), "number", "-"))

    def _single(self) -> Node:
        if self._take("sign", "("):
            inner = self._deeper(self._any)
            self._need("sign", ")")
            return inner
        if value := self._written(1):
            return value
        word = self._take("word") or self._take("name")
        if word is None:
            raise self._found("a column or a value")
        if word.kind == "word" and self._take("sign", "("):
            return self._function(word)
        return self._named(self._column(word))

    def _written(self, sign: int) -> Value | None:
        """A value that is written out; behind a minus only a number is one."""
        if word := self._take("number"):
            return Value(_number(word, sign), "number")
        if sign < 0:
            return None
        if word := self._take("text"):
            return Value(word.text, "text")
        if word := self._take("key", "NULL", "TRUE", "FALSE"):
            return Value(None, "null") if word.text == "NULL" else Value(word.text == "TRUE", "boolean")
        return None

    def _function(self, word: Word) -> Node:
        function = word.text.lower()
        if function not in {"lower", "upper"}:
            raise FilterError(f"the function {word.shown} found; only lower(column) and upper(column) are known")
        name = self._take("word") or self._take("name")
        if name is None:
            raise self._found("a column")
        column = self._column(name)
        self._need("sign", ")")
        _expect(column, "text", function)
        return self._named(Cased(function, column))

    def _column(self, word: Word) -> Column:
        name = word.text
        if name not in self._columns and word.kind == "word":
            folded = [own for own in self._columns if own.lower() == name.lower()]
            name = folded[0] if len(folded) == 1 else name
        if name not in self._columns:
            near = difflib.get_close_matches(name[:64], self._columns, n=3, cutoff=0.5)
            hint = f"did you mean {', '.join(repr(one) for one in near)}?" if near else ALLOWED
            raise FilterError(f"no column is called {word.shown}; {hint}")
        return Column(name, self._columns[name])

    def _named(self, node: Column | Cased) -> Node:
        self.named.add(node)
        return node


def _number(word: Word, sign: int) -> Plain:
    value = float(word.text)
    if not math.isfinite(value):
        raise FilterError(f"the number {word.shown} found; numbers have 64 bits")
    if word.text.isdigit() and value < 2.0**64:
        whole = sign * int(word.text.lstrip("0") or "0")
        if -(2**63) <= whole < 2**63:
            return whole
    return sign * value


def _told(node: Node) -> str:
    if isinstance(node, Column):
        return f"the column {node.name!r} ({node.kind})"
    return {"text": "a text", "number": "a number", "boolean": "a condition", "null": "null"}[node.kind]


def _expect(node: Node, kind: Kind, word: str) -> Node:
    if node.kind != kind and not (node.kind == "null" and kind == "boolean"):
        wanted = {"text": "text", "number": "a number", "boolean": "a condition"}[kind]
        raise FilterError(f"{word} takes {wanted}, not {_told(node)}")
    return node


def _alike(word: str, first: Node, *others: Node) -> None:
    """Refuse what is of two kinds; null goes with all."""
    known = [node for node in (first, *others) if node.kind != "null"]
    other = next((node for node in known if node.kind != known[0].kind), None)
    if other is not None:
        raise FilterError(f"{word} takes values of one kind, not {_told(known[0])} with {_told(other)}")
