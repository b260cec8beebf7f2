"""The folder of one evaluation: result.json and queries.parquet, written whole and read back with care. Torch-free."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from composir.errors import DataError
from composir.evaluation.schema import fault

FORMAT = 1
RESULT, QUERIES = "result.json", "queries.parquet"
COLUMNS = {
    "method": pa.string(),
    "task": pa.string(),
    "query": pa.string(),
    "reference": pa.string(),
    "text": pa.string(),
    "targets": pa.list_(pa.string()),
    "rank": pa.int32(),
    "subset_rank": pa.int32(),
    "ties": pa.int32(),
    "top": pa.list_(pa.string()),
    "scores": pa.list_(pa.float32()),
    "aspects": pa.list_(pa.string()),
}
"""What every row has; a column of doubles for each metric follows, 0..1, null where it does not apply."""


@dataclass(frozen=True)
class Result:
    """What an evaluation found.

    Attributes:
        content: As in result.json: method, protocol, tasks, average, baselines, warnings, created, data.
        queries: One row for each method, task and query, see `COLUMNS`.
    """

    content: dict[str, Any]
    queries: pa.Table

    @property
    def method(self) -> str:
        """Name of the evaluated method."""
        return self.content["method"]

    @property
    def methods(self) -> list[str]:
        """The evaluated method, then the baselines."""
        return [self.method, *self.content["baselines"]]

    def scores(self, method: str) -> dict[str, Any]:
        """{"tasks": [...], "average": {...}, ...} of the evaluated method or of a baseline."""
        return self.content if method == self.method else self.content["baselines"][method]

    def save(self, folder: Path, overwrite: bool = False) -> None:
        """Write both files; one that is cut off leaves no result that could be read.

        Raises:
            DataError: The folder already holds a result and `overwrite` is not said.
        """
        require_free(folder, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f"{QUERIES}.writing"
        pq.write_table(self.queries, beside, compression="zstd")
        written = {"rows": self.queries.num_rows, "sha256": _sha256(beside)}
        fresh = folder / f"{RESULT}.writing"
        text = json.dumps({**self.content, "queries": written}, indent=1, ensure_ascii=False, allow_nan=False)
        fresh.write_text(text + "\n", encoding="utf-8")
        # result.json last, with the hash of the other: half a pair is never taken for a result.
        beside.replace(folder / QUERIES)
        fresh.replace(folder / RESULT)


def require_free(folder: Path, overwrite: bool = False) -> None:
    """Refuse a folder that cannot take a new result; asked before the work, not after it.

    Raises:
        DataError: It holds a result and `overwrite` is not said, or is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file; name a folder for the result")
    if (folder / RESULT).exists() and not overwrite:
        raise DataError(f"{folder} already holds a result; name another folder, or pass --overwrite")


def load_result(folder: Path) -> Result:
    """Read what `Result.save` wrote.

    Raises:
        DataError: The folder or a file is missing, cut off, of another format, or the two do not belong together.
    """
    place = folder / RESULT
    if not place.is_file():
        cut = " (the evaluation was cut off before its end)" if (folder / QUERIES).exists() else ""
        raise DataError(f"{folder} holds no {RESULT}{cut}; name a folder that `composir eval` has written")
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except ValueError as error:  # of UTF-8 or of JSON
        raise DataError(f"{place} is damaged: {error}; run `composir eval` again") from error
    _check(content, place)
    written, path = content.pop("queries"), folder / QUERIES
    if not path.is_file():
        raise DataError(f"{path} is missing; run `composir eval` again")
    if _sha256(path) != written.get("sha256"):
        raise DataError(f"{path} is cut off or not the one that {RESULT} was written with; run `composir eval` again")
    try:
        table = pq.read_table(path)
    except pa.ArrowException as error:
        raise DataError(f"{path} is damaged: {error}; run `composir eval` again") from error
    lacking = [name for name, kind in COLUMNS.items() if name not in table.column_names or table[name].type != kind]
    if lacking:
        raise DataError(f"{path} lacks the columns {', '.join(lacking)}, or they are of another type")
    return Result(content, table)


def _check(content: Any, place: Path) -> None:
    if not isinstance(content, dict) or "format" not in content:
        raise DataError(f"{place} is not the result of `composir eval`: it has no key 'format'")
    if content["format"] != FORMAT:
        raise DataError(
            f"{place} has format {content['format']!r}; this version of composir reads {FORMAT}. Evaluate again, or "
            "use the version that wrote it"
        )
    if why := fault(content):
        raise DataError(f"{place} is damaged: {why}; run `composir eval` again")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_folder(wanted: Path) -> Path:
    """The folder, or with -2, -3, ... behind its name the first that holds no result."""
    folder, number = wanted, 2
    while (folder / RESULT).exists():
        folder, number = wanted.with_name(f"{wanted.name}-{number}"), number + 1
    return folder
