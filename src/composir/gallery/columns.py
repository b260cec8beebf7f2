"""Metadata of a gallery's pictures, in memory, and the rows that an SQL-like filter leaves."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int
from numpy.typing import NDArray

from composir.errors import ConditionError
from composir.gallery.filters.passing import passing
from composir.gallery.filters.reader import read
from composir.gallery.filters.tree import FilterError, Kind
from composir.gallery.filters.words import KEYS

ROW = "__row"
KEPT = 64 * 2**20  # bytes of rows that are kept for filters that were asked
SHOWN = 300  # characters of a filter in a message
NAMES: Mapping[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int64(): "integer",
    pa.float64(): "number",
    pa.string(): "text",
}
KINDS: Mapping[pa.DataType, Kind] = {
    pa.bool_(): "boolean",
    pa.int64(): "number",
    pa.float64(): "number",
    pa.string(): "text",
}


class Columns:
    """Typed columns with a row for each picture of a shelf; null where nothing was said of it.

    Args:
        table: As many rows as there are pictures; its types are those of `NAMES`.
    """

    def __init__(self, table: pa.Table):
        self.table = table
        self._found: OrderedDict[str, Int[NDArray, " R"]] = OrderedDict()
        self._held = 0  # bytes of `_found`
        self._lock = threading.Lock()

    @classmethod
    def of(cls, metadata: pa.Table, paths: Sequence[str] | pa.Array) -> Columns:
        """The rows of `metadata`, whose column `path` names each file once, in the order of `paths`."""
        names = [name for name in metadata.column_names if name != "path"]
        if not names:
            return cls(pa.table({ROW: pa.array(np.arange(len(paths)))}))
        places = pc.index_in(  # pyright: ignore[reportAttributeAccessIssue]
            pa.array(paths, pa.string()) if isinstance(paths, Sequence) else paths,
            value_set=metadata["path"].combine_chunks(),
        )
        return cls(metadata.select(names).take(places).append_column(ROW, pa.array(np.arange(len(paths)))))

    @property
    def types(self) -> dict[str, str]:
        """Name -> "text", "integer", "number" or "boolean", in the order of the file."""
        return {own.name: NAMES[own.type] for own in self.table.schema if own.name != ROW}

    def of_row(self, row: int) -> dict[str, str | int | float | bool | None]:
        """What is known of a picture."""
        return {name: self.table[name][row].as_py() for name in self.types}

    def rows(self, where: str) -> Int[NDArray, " R"] | None:
        """Ascending rows that pass a filter; None for all, which "" lets pass.

        Args:
            where: An expression of the part of SQL that `composir.gallery.filters` reads, over the columns, e.g.
                "price < 50 AND brand IN ('a', 'b')"; a name with blanks or a hyphen stands in backticks.

        Raises:
            ConditionError: It holds anything else, or names a column that there is not.
        """
        where = where.strip()
        if not where:
            return None
        with self._lock:
            if where in self._found:
                self._found.move_to_end(where)
                return self._found[where]
        found = self._search(where)  # others need not wait; who asks the same at once has it looked for twice
        with self._lock:
            if where not in self._found:
                self._found[where] = found
                self._held += _size(where, found)
            while self._held > KEPT:
                self._held -= _size(*self._found.popitem(last=False))
        return found

    def _search(self, where: str) -> Int[NDArray, " R"]:
        shown = repr(where if len(where) <= SHOWN else where[:SHOWN] + "…")
        if not self.types:
            told = "put a metadata.csv with a column file_name beside the pictures and index again"
            raise ConditionError(f"filter {shown}: the gallery has no metadata; {told}")
        try:
            kinds: dict[str, Kind] = {own.name: KINDS[own.type] for own in self.table.schema if own.name != ROW}
            return passing(read(where, kinds), self.table, ROW)
        except FilterError as error:
            raise ConditionError(f"filter {shown}: {error}; {self._help()}") from error

    def _help(self) -> str:
        told = ", ".join(f"{name} ({kind})" for name, kind in self.types.items())
        return f"columns: {told}; example: {_example(self.types)}"


class JoinedColumns:
    """Columns of a gallery and those of what was added to it, whose rows follow.

    Args:
        first, second: Theirs; the second's may lack names.
        count: Rows of the first.
    """

    def __init__(self, first: Columns, second: Columns, count: int):
        self._first, self._second, self._count = first, second, count

    @property
    def types(self) -> dict[str, str]:
        """As `Columns.types`."""
        return self._first.types

    def of_row(self, row: int) -> dict[str, str | int | float | bool | None]:
        """As `Columns.of_row`."""
        return self._first.of_row(row) if row < self._count else self._second.of_row(row - self._count)

    def rows(self, where: str) -> Int[NDArray, " R"] | None:
        """As `Columns.rows`."""
        ours, theirs = self._first.rows(where), self._second.rows(where)
        return None if ours is None or theirs is None else np.concatenate([ours, theirs + self._count])


def _size(where: str, found: Int[NDArray, " R"]) -> int:
    return found.nbytes + 4 * len(where) + 512  # 512: of the objects themselves


def _example(types: Mapping[str, str]) -> str:
    name, kind = next(iter(types.items()))
    plain = re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name.upper() not in KEYS
    shown = name if plain else f"`{name}`"
    return {"text": f"{shown} = 'a'", "boolean": f"{shown} = true"}.get(kind, f"{shown} < 50")
