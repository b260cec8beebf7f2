"""Metadata from a file beside the pictures: metadata.csv or metadata.jsonl, one row a picture, typed columns."""

from __future__ import annotations

import codecs
import csv as plain_csv
import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from composir.errors import DataError
from composir.gallery.columns import ROW
from composir.gallery.scan import file_id

NAMES = ("metadata.csv", "metadata.jsonl")
FILE_NAME = ("file_name", "path", "file")  # the first is what Hugging Face's image folders say
CODE = r"^\s*[+-]?(0\d|\d{19})"  # digits that are no number: as one, 007 would be 7, and the longest are rounded
NAME = re.compile(r"[^\W\d][\w -]{0,63}")
MOST_COLUMNS = 256
TAKEN = {"path": f"by which the gallery calls the file that {FILE_NAME[0]!r} names", ROW: "by which it numbers rows"}
SEPARATORS = (",", ";", "\t")
UTF8 = "save it as UTF-8 (in a spreadsheet: CSV UTF-8)"
HEAD = 2**20  # bytes in which a CSV file's head ends


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a file says.

    Attributes:
        table: The column `path`, POSIX style below the indexed folder, each once; then the given columns.
        origin: Fingerprint of the file's content and of how it is read.
    """

    table: pa.Table
    origin: str


def find_metadata(root: Path, given: Path | None) -> Path | None:
    """The file to read: the given one, or that beside the pictures, or None.

    Raises:
        DataError: The given one is missing, or both kinds lie beside the pictures.
    """
    if given is not None:
        if not given.is_file():
            raise DataError(f"{given}: there is no such file; --metadata names a CSV or JSONL file")
        return given
    there = [root / name for name in NAMES if (root / name).is_file()]
    if len(there) > 1:
        raise DataError(f"{root}: holds {NAMES[0]} and {NAMES[1]}; keep one, or name it with --metadata")
    return there[0] if there else None


def origin_of(path: Path) -> str:
    """Fingerprint by which an unchanged file is known."""
    return f"2 {path.suffix.lower()} {file_id(path)}"  # 1: of the reading


def read_metadata(path: Path) -> Metadata:
    """Read a CSV file with a head, or a JSONL file of flat objects.

    A CSV file's separator is a comma; a semicolon or a tab where the head names the file's column only by it. Beside
    semicolons numbers may have a decimal comma.

    Columns are boolean, integer, number or text: the narrowest that takes every value of the column. An empty field, a
    missing key and null are null. A CSV file's column where a number begins with a needless zero, or has nineteen
    digits or more, holds codes: it is text.

    Raises:
        DataError: Neither kind of file; not UTF-8; a malformed row, by its line; a name that cannot be a column's; no
            column that names the file; a file that two rows name.
    """
    if path.suffix.lower() not in {".csv", ".jsonl"}:
        raise DataError(f"{path}: metadata is a .csv or .jsonl file")
    origin = origin_of(path)
    table = _read_csv(path) if path.suffix.lower() == ".csv" else _read_jsonl(path)
    return Metadata(_keyed(path, table), origin)


def _read_csv(path: Path) -> pa.Table:
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in head:
            raise DataError(f"{path}: this is UTF-16, or no text; {UTF8}")
        separator = _separator(re.split(rb"[\r\n]", head, maxsplit=1)[0])
        table = _parsed(path, separator, ".")
        if separator == ";" and pa.string() in table.schema.types:
            # Where commas are decimal, spreadsheets write semicolons between fields.
            table = max(table, _parsed(path, separator, ","), key=_numbers)
        return table
    except (pa.ArrowInvalid, pa.ArrowKeyError, OSError) as error:
        remedy = f"; {UTF8}" if "UTF8" in str(error) else ""
        raise DataError(f"{path}: {error}{remedy}") from error


def _separator(line: bytes) -> str:
    """The one that shows a column for the file; a comma where that is not just one."""
    text = line.decode("utf-8-sig", errors="replace")
    heads = {one: next(plain_csv.reader([text], delimiter=one), []) for one in SEPARATORS}
    fitting = [one for one, names in heads.items() if set(FILE_NAME).intersection(names)]
    return fitting[0] if len(fitting) == 1 else SEPARATORS[0]


def _parsed(path: Path, separator: str, point: str) -> pa.Table:
    parse = csv.ParseOptions(delimiter=separator)
    convert = csv.ConvertOptions(
        strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""], decimal_point=point
    )
    first = csv.open_csv(path, parse_options=parse, convert_options=convert).schema
    # Dates stay as they were written: text sorts and compares well, and JSON has no date.
    plain = {own.name: pa.string() for own in first if _kept(own.type) is None}
    convert.column_types = {**plain, **{own.name: pa.string() for own in first if own.name in FILE_NAME}}
    table = csv.read_csv(path, parse_options=parse, convert_options=convert)
    written = [own.name for own in table.schema if own.type in (pa.int64(), pa.float64())]
    if not written or len(set(table.column_names)) < table.num_columns:  # which is refused by name, later
        return table
    convert.include_columns, convert.column_types = written, dict.fromkeys(written, pa.string())
    for name, column in zip(written, csv.read_csv(path, parse_options=parse, convert_options=convert), strict=True):
        if pc.any(pc.match_substring_regex(column, CODE)).as_py():  # pyright: ignore[reportAttributeAccessIssue]
            table = table.set_column(table.schema.get_field_index(name), name, column)
    return table


def _numbers(table: pa.Table) -> int:
    return sum(kind in (pa.int64(), pa.float64()) for kind in table.schema.types)


def _kept(kind: pa.DataType) -> pa.DataType | None:
    if kind in (pa.bool_(), pa.int64(), pa.float64(), pa.string()):
        return kind
    return None


def _read_jsonl(path: Path) -> pa.Table:
    rows: list[dict[str, Any]] = []
    try:
        lines = path.read_text(encoding="utf-8-sig").split(
            "\n"
        )  # splitlines also ends a line at signs that JSON allows
    except OSError as error:
        raise DataError(f"{path}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {error}; {UTF8.partition(' (')[0]}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path}, line {number}: {error}") from error
        flat = isinstance(row, dict) and all(isinstance(v, str | int | float | None) for v in row.values())
        if not flat:
            raise DataError(f"{path}, line {number}: a flat JSON object of texts, numbers and booleans is expected")
        rows.append(row)
    names = dict.fromkeys(name for row in rows for name in row)
    return pa.table({name: _column(path, name, [row.get(name) for row in rows]) for name in names})


def _column(path: Path, name: str, values: list[Any]) -> pa.Array:
    kinds = {type(value) for value in values if value is not None}
    if kinds == {int, float}:
        kinds = {float}
        values = [None if value is None else float(value) for value in values]
    if len(kinds) > 1:
        told = " and ".join(sorted(kind.__name__ for kind in kinds))
        raise DataError(f"{path}: column {name!r} holds {told} values; give it one kind")
    types = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
    try:
        return pa.array(values, types[kinds.pop()] if kinds else pa.string())
    except (pa.ArrowInvalid, OverflowError) as error:
        raise DataError(f"{path}: column {name!r}: {error}") from error


def _keyed(path: Path, table: pa.Table) -> pa.Table:
    key = next((name for name in FILE_NAME if name in table.column_names), None)
    if key is None:
        told = ", ".join(table.column_names[:8]) or "nothing"
        other = table.num_columns == 1 and re.search(r"[;\t|]", told)
        hint = "; its fields must be separated by a comma, a semicolon or a tab" if other else ""
        raise DataError(f"{path}: no column {FILE_NAME[0]!r} that names the file of each row; it has {told}{hint}")
    names = [name for name in table.column_names if name != key]
    for name in names:
        if name in TAKEN:
            raise DataError(f"{path}: the name {name!r} cannot be a column's: it is reserved, {TAKEN[name]}; rename it")
        if not NAME.fullmatch(name) or names.count(name) > 1:
            why = "stands twice" if names.count(name) > 1 else "cannot be a column's"
            raise DataError(
                f"{path}: the name {name[:80]!r} {why}; use letters, digits, _, - and blanks, each name once"
            )
    if len(names) > MOST_COLUMNS:
        raise DataError(f"{path}: {len(names)} columns, {MOST_COLUMNS} are allowed; drop some")
    paths = [_normal(path, value) for value in table[key].to_pylist()]
    if len(set(paths)) < len(paths):
        twice = next(name for name, count in Counter(paths).items() if count > 1)
        raise DataError(f"{path}: {twice!r} is named by two rows; keep one")
    columns = [table[name].cast(_kept(table[name].type) or pa.string()).combine_chunks() for name in names]
    return pa.table([pa.array(paths, pa.string()), *columns], names=["path", *names])


def _normal(path: Path, value: str | None) -> str:
    if not value:
        raise DataError(f"{path}: a row has no {FILE_NAME[0]}; name the file of each row")
    return value.replace("\\", "/").removeprefix("./")
