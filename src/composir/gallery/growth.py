"""What was added to a gallery since somebody read it: then a reader need not read all of it again.

Each commit of a table leaves a version that tells its rows, its pieces and its deletions. A table has only grown if
every version since has more pieces and more rows than the one before, and no more deletions; anything else, such as a
changed row or a compaction, is not told apart: read everything then.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from composir.gallery.store import COLUMNS, Gallery

TOLD = ("total_fragments", "total_data_file_rows", "total_deletion_file_rows", "total_rows")
PIECES, WRITTEN, DELETED, ROWS = TOLD

Marks = Mapping[str, int]
"""Table -> version."""


@dataclass(frozen=True, eq=False)
class Growth:
    """Rows that came after some marks.

    Attributes:
        ids: Of pictures, in the order of their arrival.
        vectors: (N, T, D) theirs.
        files: The columns `path`, `id` and `reason` of files.
        marks: Up to which that is told.
    """

    ids: Sequence[str]
    vectors: NDArray[np.float16]
    files: pa.Table
    marks: Marks


def marks(gallery: Gallery) -> Marks:
    """How far the gallery is now; costs a look at the folder."""
    return {name: _latest(table) for name, table in gallery.tables().items()}


def times(gallery: Gallery, of: Marks) -> dict[str, str]:
    """When each table had that version, where that is known still: another gallery in its place has other times."""
    told = {name: _versions(table) for name, table in gallery.tables().items() if name in of}
    return {name: str(own[of[name]]["timestamp"]) for name, own in told.items() if of[name] in own}


def growth(gallery: Gallery, since: Marks) -> Growth | None:
    """What was added; None where that is not all that happened, or cannot be told."""
    try:
        return _growth(gallery, since)
    except (OSError, RuntimeError):  # compacted away under our hands
        return None


def _growth(gallery: Gallery, since: Marks) -> Growth | None:
    now, tables = marks(gallery), gallery.tables()
    if now.get(COLUMNS) != since.get(COLUMNS):
        return None
    rows = {name: _added(tables[name], since[name], now[name]) for name in ("images", "files")}
    if None in rows.values():
        return None
    images = _read(tables["images"], ["id", "vector"], rows["images"])
    files = _read(tables["files"], ["path", "id", "reason"], rows["files"])
    if marks(gallery) != now:  # somebody wrote meanwhile: the rows may be others
        return None
    shape = (len(images), gallery.manifest.vectors, gallery.manifest.dim)
    flat = images["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Growth(images["id"].to_pylist(), flat.astype(np.float16).reshape(shape), files, now)


def _added(table: lancedb.table.Table, since: int, now: int) -> tuple[int, int] | None:
    """The rows from and to which were added; None where it is not sure that nothing else happened."""
    told, steps = _versions(table), range(since, now + 1)
    # No steps at all: older tables were put in the place of those that were read.
    if not steps or any(step not in told or not told[step]["metadata"].keys() >= set(TOLD) for step in steps):
        return None
    counts = [{name: int(told[step]["metadata"][name]) for name in TOLD} for step in steps]
    for old, new in itertools.pairwise(counts):
        if not (new[PIECES] > old[PIECES] and new[WRITTEN] > old[WRITTEN] and new[DELETED] == old[DELETED]):
            return None
    return counts[0][ROWS], counts[-1][ROWS]


def _read(table: lancedb.table.Table, columns: list[str], rows: tuple[int, int] | None) -> pa.Table:
    first, end = rows or (0, 0)
    if first == end:
        return pa.schema([table.schema.field(name) for name in columns]).empty_table()
    return table.search().select(columns).offset(first).limit(end - first).to_arrow()


def _versions(table: lancedb.table.Table) -> dict[int, Any]:
    return {int(own["version"]): own for own in table.list_versions()}


def _latest(table: lancedb.table.Table) -> int:
    table.checkout_latest()
    return table.version
