"""The matrix of published numbers: rows read with care, and written as they were read. Torch-free."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from composir import methods
from composir.backbones.catalog import EMBEDDED, TINY
from composir.datasets.records import read_json
from composir.errors import DataError
from composir.plugins import nearest

MATRIX = Path(__file__).with_name("matrix.json")
ALL = "all tasks"  # where the papers' averages stand among the tasks

Scores = dict[str, dict[str, dict[str, tuple[float, float]]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One evaluation, and what it must give.

    Attributes:
        name: Of the row.
        method: As `composir eval` takes it.
        data: The data set's plug-in name.
        split: Which part is asked.
        backbone: A name, a folder or "org/repo@revision".
        root: The data set's folder below that of all data sets; None where it draws its pictures.
        options: Of the data set.
        alpha: None for the method's own.
        expected: Method -> task, or `ALL` -> metric -> (per cent, how far from it is still the same); empty where
            nothing has been recorded.
        asked: Task -> what its scores are bound to, as in the protocol; empty likewise.
        recorded: With what and when.
    """

    name: str
    method: str
    data: str
    split: str
    backbone: str = "wardrobe-clip"
    root: str | None = None
    options: dict[str, bool | int | float | str] = field(default_factory=dict)
    alpha: float | None = None
    expected: Scores = field(default_factory=dict)
    asked: dict[str, dict[str, Any]] = field(default_factory=dict)
    recorded: dict[str, str] = field(default_factory=dict)

    @property
    def needs_nothing(self) -> bool:
        """Whether the package alone holds all that it takes, so that nothing excuses it."""
        return self.root is None and self.backbone in {**EMBEDDED, **TINY} and self.method in methods.names()

    def command(self, data: Path) -> list[str]:
        """The command, as a list of arguments, that gives the scores.

        Args:
            data: The folder of all data sets.
        """
        made = ["composir", "eval", self.method, "--data", self.data, "--split", self.split]
        made += [] if self.root is None else ["--root", (data / self.root).as_posix()]
        for key, value in self.options.items():
            # As `--option` takes it: in TOML's spelling, which for these kinds is JSON's.
            made += ["--option", f"{key}={json.dumps(value)}"]
        made += ["--backbone", self.backbone]
        return made if self.alpha is None else [*made, "--alpha", f"{self.alpha:g}"]


# A key that no row has is a slip of the hand: it would silently change nothing.
_ROWS = TypeAdapter(list[Row], config=ConfigDict(extra="forbid"))


def read_matrix(path: Path = MATRIX) -> list[Row]:
    """Read the rows.

    Raises:
        DataError: The file is missing, is no JSON list of rows, or two rows bear one name.
    """
    try:
        rows = _ROWS.validate_python(read_json(path))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(map(str, first["loc"])) or "the whole file"
        raise DataError(f"{path}: {at} (rows counted from 0): {first['msg']}; mend it") from error
    names = [row.name for row in rows]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise DataError(f"{path}: two rows are named {twice!r}; name one otherwise")
    return rows


def chosen(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """The rows of these names in the matrix's order; all of them if none is named.

    Raises:
        UnknownNameError: No row bears a name; the nearest are listed.
    """
    known = [row.name for row in rows]
    for name in names:
        if name not in known:
            raise nearest(name, known, "row of the matrix:")
    return [row for row in rows if not names or row.name in names]


def write_matrix(rows: Sequence[Row], path: Path = MATRIX) -> None:
    """Write rows as `read_matrix` reads them: what is empty is left out, scores of one task stand in one line."""
    kept = [{key: value for key, value in asdict(row).items() if value not in (None, {})} for row in rows]
    beside = path.with_name(f"{path.name}.writing")
    text = ",\n".join(_laid_out(row) for row in kept)
    beside.write_text(f"[\n{text}\n]\n", encoding="utf-8", newline="\n")
    beside.replace(path)


def _laid_out(value: Mapping[str, Any], indent: str = "") -> str:
    deeper = f"{indent} "
    parts = [
        f"{deeper}{json.dumps(key)}: "
        + (_laid_out(own, deeper) if _is_deep(own) else json.dumps(own, ensure_ascii=False))
        for key, own in value.items()
    ]
    inside = ",\n".join(parts)
    return f"{{\n{inside}\n{indent}}}"


def _is_deep(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(own, dict) for own in value.values())
