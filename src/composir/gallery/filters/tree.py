"""What a filter may consist of. A tree is never deeper than the reader lets it be: long chains are flat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["text", "number", "boolean", "null"]
Plain: TypeAlias = str | int | float | bool | None


class FilterError(ValueError):
    """What is wrong with a filter, and what is allowed; whoever holds the filter names it."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table."""

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Value:
    """What is written out."""

    value: Plain
    kind: Kind


@dataclass(frozen=True, slots=True)
class Cased:
    """`lower` or `upper` of a column of text."""

    function: str
    column: Column
    kind: Kind = "text"


@dataclass(frozen=True, slots=True)
class Negative:
    """A number's negative."""

    part: Node
    kind: Kind = "number"


@dataclass(frozen=True, slots=True)
class Chain:
    """Numbers joined from left to right by signs of one rank: + and -, or * / and %."""

    first: Node
    rest: tuple[tuple[str, Node], ...]
    kind: Kind = "number"


@dataclass(frozen=True, slots=True)
class Compared:
    """Two values of one kind; `sign` is one of = <> < <= > >=."""

    left: Node
    sign: str
    right: Node
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Between:
    """Both ends count."""

    part: Node
    low: Node
    high: Node
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Within:
    """IN a list of values that are written out."""

    part: Node
    values: tuple[Plain, ...]
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Like:
    r"""LIKE, or ILIKE where `loose`: % is any text, _ any letter, and a \ lets what follows stand for itself."""

    part: Node
    pattern: str
    loose: bool
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Is:
    """IS NULL, IS TRUE, IS FALSE: true or false, never null."""

    part: Node
    what: bool | None
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Not:
    """NOT: null stays null."""

    part: Node
    kind: Kind = "boolean"


@dataclass(frozen=True, slots=True)
class Joined:
    """Conditions joined by AND, or all by OR."""

    word: str
    parts: tuple[Node, ...]
    kind: Kind = "boolean"


Node: TypeAlias = (
    Column | Value | Cased | Negative | Chain | Compared | Between | Within | Like | Is | Not | Joined
)  # fmt: skip
