"""The files in which rankings are handed to a benchmark: what they hold, read and written; torch-free.

    CIRR       {"version": "rc2", "metric": "recall" | "recall_subset", "<pairid>": [names], ...}
    CIRCO      {"<id>": [image numbers], ...}
    FashionIQ  the captions file with a "ranking" added to every record (<category>.<split>.pred.json of the start kit)

Reading checks the shape of a file alone; `check` holds it against the queries and the gallery.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast

from composir.datasets.records import Record, nfc, read_json, told
from composir.errors import ComposirError, DataError
from composir.plugins import nearest
from composir.types import Task

Kind = Literal["recall", "recall_subset", "circo", "start kit"]

CIRR: tuple[Kind, ...] = ("recall", "recall_subset")
LENGTHS: Mapping[Kind, int] = {"recall": 50, "recall_subset": 3, "circo": 50, "start kit": 50}  # answers to a query
CIRR_VERSION = "rc2"
CIRR_BYTES = 5_000_000  # the server's limit for one file
NOWHERE = Path("prediction")


@dataclass(frozen=True, slots=True)
class Prediction:
    """The rankings of one file.

    Attributes:
        kind: Which of the formats; CIRR has two.
        lists: Query id -> image ids, best first.
        path: Where it was read; for messages.
    """

    kind: Kind
    lists: Mapping[str, tuple[str, ...]]
    path: Path = field(default=NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Answered:
    """A record of the start kit: a query as FashionIQ's captions file has it, which has no id, and its ranking."""

    candidate: str
    captions: tuple[str, ...]
    ranking: tuple[str, ...]
    target: str | None = None


@dataclass(frozen=True, slots=True)
class StartKit:
    """A FashionIQ file, its records not yet matched to queries; see `start_kit.match`."""

    records: tuple[Answered, ...]
    path: Path = field(default=NOWHERE, compare=False)


def drops(prediction: Prediction, task: Task) -> bool:
    """Whether a query's own reference must not be in its list: always for CIRR, whose server looks for it."""
    return task.drop_reference or prediction.kind in CIRR


def require_format(data: str) -> None:
    """Refuse a data set whose predictions have no format of their own.

    Raises:
        UnknownNameError: The nearest that has one is listed.
    """
    if data not in PARSERS:
        raise nearest(data, PARSERS, "data set with a prediction format:")


def read(path: Path, data: str) -> Prediction | StartKit:
    """Read a file in the format of a benchmark.

    Args:
        path: The file.
        data: "cirr", "circo" or "fashioniq".

    Raises:
        UnknownNameError: A data set without such a format.
        DataError: A file that is missing, is not UTF-8 JSON, says a key twice, or holds values of other types.
    """
    require_format(data)
    return parse(read_json(path), data, path)


def parse(value: object, data: str, path: Path = NOWHERE) -> Prediction | StartKit:
    """Make a prediction of the JSON value that a file holds; see `read`."""
    require_format(data)
    return PARSERS[data](value, path)


def as_json(prediction: Prediction | StartKit) -> str:
    """Write what `parse` reads, as the benchmark's own code does.

    Raises:
        ComposirError: An image id for CIRCO that is no number.
    """
    if isinstance(prediction, StartKit):
        return json.dumps([_record(record) for record in prediction.records], indent=4)
    if prediction.kind == "circo":
        try:
            return json.dumps({query: [int(i) for i in ids] for query, ids in prediction.lists.items()})
        except ValueError as error:
            raise ComposirError(f"CIRCO's image ids are whole numbers, but {error}; rank its own gallery") from error
    # Not indented: 4,148 lists of 50 names must stay below the server's limit.
    return json.dumps({**prediction.lists, "version": CIRR_VERSION, "metric": prediction.kind}, sort_keys=True)


def _parse_cirr(value: object, path: Path) -> Prediction:
    file = _file(value, path, '{"version": "rc2", "metric": "recall", "<pairid>": [names], ...}')
    if not file.has("version") and not file.has("metric"):
        why = "has neither the key 'version' nor 'metric', as a file for CIRR has"
        raise file.error(f"{why}; if it is for CIRCO, say --data circo")
    version, metric = (file.text(key) for key in ("version", "metric"))
    if version != CIRR_VERSION:
        raise file.error(f"the version is {version!r}; CIRR takes {CIRR_VERSION!r}")
    if metric not in CIRR:
        raise file.error(f"the metric is {metric!r}; CIRR takes 'recall' (50 names) and 'recall_subset' (3 names)")
    keys = [key for key in file.value if key not in ("version", "metric")]
    return Prediction(
        kind=cast("Kind", metric),
        lists={_query(key, file): _names(file, key) for key in keys},
        path=path,
    )


def _parse_circo(value: object, path: Path) -> Prediction:
    file = _file(value, path, '{"<id>": [image numbers], ...}')
    for key in ("version", "metric"):
        if file.has(key):
            raise file.error(f"the key {key!r} is CIRR's; a file for CIRCO holds query ids and nothing else")
    return Prediction("circo", {_query(key, file): _numbers(file, key) for key in file.value}, path)


def _parse_start_kit(value: object, path: Path) -> StartKit:
    if not isinstance(value, list):
        shape = '[{"candidate": name, "captions": [2 texts], "ranking": [names]}, ...]'
        raise DataError(f"{path}: holds {told(value)}; the format is {shape}")
    return StartKit(tuple(_answered(Record(item, path, number)) for number, item in enumerate(value)), path)


def _answered(record: Record) -> Answered:
    if not record.has("ranking"):
        raise record.error("lacks the key 'ranking'; the start kit adds it to every record of the captions file")
    return Answered(
        candidate=record.name("candidate"),
        captions=record.texts("captions"),
        ranking=_names(record, "ranking"),
        target=record.name("target") if record.has("target") else None,
    )


PARSERS = {"cirr": _parse_cirr, "circo": _parse_circo, "fashioniq": _parse_start_kit}


def _file(value: object, path: Path, shape: str) -> Record:
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds {told(value)}; the format is {shape}")
    return Record(value, path, "the file")


def _query(key: str, file: Record) -> str:
    """Both benchmarks number their queries: "12063", and not "012063" or " 12063"."""
    if key == "0" or (key.isascii() and key.isdigit() and key[0] != "0"):
        return key
    raise file.error(f"the key {key!r} is no query id; those are whole numbers as text, e.g. '12063'")


def _names(file: Record, key: str) -> tuple[str, ...]:
    """Names in Unicode's form NFC; one that occurs twice is left to `check`, which tells all that is wrong."""
    names = cast("list[str]", _all_of(str, "texts", file, key))
    return tuple(names) if "".join(names).isascii() else tuple(map(nfc, file.texts(key)))


def _numbers(file: Record, key: str) -> tuple[str, ...]:
    """Image numbers, as ids."""
    return tuple(map(str, _all_of(int, "whole numbers", file, key)))


def _all_of(kind: type, told_as: str, file: Record, key: str) -> list[object]:
    values = file.value[key]
    if not isinstance(values, list):
        raise file.error(f"key {key!r} holds {told(values)}; a list of {told_as} is needed")
    for value in values:
        if type(value) is not kind:  # not isinstance: true is an int
            raise file.error(f"key {key!r} holds {told(value)} among others; a list of {told_as} is needed")
    return values


def _record(record: Answered) -> dict[str, object]:
    target = {} if record.target is None else {"target": record.target}
    answer = {"candidate": record.candidate, "captions": list(record.captions), "ranking": list(record.ranking)}
    return {**target, **answer}
