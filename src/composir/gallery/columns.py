"""Metadata of a gallery's pictures, in memory, and the rows that an SQL-like filter leaves."""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int
from numpy.typing import NDArray

from composir.errors import ComposirError

ROW = "__row"
KEPT = 64  # filters whose rows are kept
QUOTED = re.compile(r"'(?:[^']|'')*'|`[^`]*`")
NAMES: Mapping[pa.DataType, str] = {
    pa.bool_(): "boolean",
    pa.int64(): "integer",
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
        self._lock = threading.Lock()
        self._filtered: lancedb.table.Table | None = None

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
            where: An expression of SQL over the columns, e.g. "price < 50 AND brand IN ('a', 'b')"; a name with blanks
                or capitals stands in backticks.

        Raises:
            ComposirError: It cannot be understood, or names a column that there is not.
        """
        where = where.strip()
        if not where:
            return None
        with self._lock:
            if where not in self._found:
                self._found[where] = self._search(where)
            self._found.move_to_end(where)
            while len(self._found) > KEPT:
                self._found.popitem(last=False)
            return self._found[where]

    def _search(self, where: str) -> Int[NDArray, " R"]:
        if not self.types:
            told = "put a metadata.csv with a column file_name beside the pictures and index again"
            raise ComposirError(f"filter {where!r}: the gallery has no metadata; {told}")
        bare = QUOTED.sub("", where)
        if ";" in bare or "--" in bare or "/*" in bare:
            raise ComposirError(f"filter {where!r}: one expression is read, without ; and comments; {self._help()}")
        if self._filtered is None:
            self._filtered = lancedb.connect("memory://").create_table("columns", self.table)
        try:
            found = self._filtered.search().where(where).select([ROW]).limit(None).to_arrow()
        except (ValueError, RuntimeError, OSError) as error:
            reason = re.sub(r", \S*(/rustc|\.cargo|\.rs:).*", "", " ".join(str(error).split()))
            reason = reason.removeprefix("Invalid input, ").replace(f", `{ROW}`", "")[:300]
            raise ComposirError(f"filter {where!r}: {reason}; {self._help()}") from error
        return np.sort(found[ROW].to_numpy())

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


def _example(types: Mapping[str, str]) -> str:
    name, kind = next(iter(types.items()))
    shown = name if re.fullmatch(r"[a-z_][a-z0-9_]*", name) else f"`{name}`"
    return {"text": f"{shown} = 'a'", "boolean": f"{shown} = true"}.get(kind, f"{shown} < 50")
