"""Annotation files read with care: what is wrong with one is told by file, record and key.

JSON is UTF-8. A key that occurs twice in one object is refused, for Python would silently keep the last. Names of
pictures are brought to one Unicode form (NFC): macOS writes the "é" of a file name as two characters, others as one.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NoReturn, TypeVar, cast

from composir.errors import DataError

LONGEST_SHOWN = 60

Said = TypeVar("Said", bound=Hashable)


class Record:
    """One JSON object with its place in a file, for typed access; whatever is not as asked raises a `DataError`.

    Args:
        value: What was read; refused if it is no JSON object.
        path: The file.
        number: Index of the record, counted from 0, or its place in words, e.g. "line 3".
    """

    __slots__ = ("path", "place", "value")

    def __init__(self, value: object, path: Path, number: int | str) -> None:
        self.path = path
        self.place = number if isinstance(number, str) else f"record {number} (counted from 0)"
        self.value = cast("Mapping[str, object]", value)
        if not isinstance(value, dict):
            raise self.error(f"is {told(value)}; an object with keys is needed")

    def error(self, why: str) -> DataError:
        """Make the error to raise; `why` goes on after "FILE: record 17 (counted from 0): "."""
        return DataError(f"{self.path}: {self.place}: {why}")

    def has(self, key: str) -> bool:
        """Whether it has the key, even with null."""
        return key in self.value

    def text(self, key: str) -> str:
        """A text; it may be blank."""
        return self._a_text(key, self._get(key), "a text is needed")

    def words(self, key: str) -> str:
        """A text that is not blank."""
        value = self.text(key)
        if not value.strip():
            self._refuse(key, value, "a text that is not blank is needed")
        return value

    def optional_text(self, key: str, default: str = "") -> str:
        """A text, or `default` where the key is absent."""
        return self.text(key) if key in self.value else default

    def name(self, key: str) -> str:
        """The name of a picture: a text that is not blank, in Unicode's form NFC."""
        return self._a_name(key, self._get(key), "a name is needed")

    def number(self, key: str) -> int:
        """A whole number; true and false are none."""
        return self._a_number(key, self._get(key), "a whole number is needed")

    def real(self, key: str, default: float | None = None) -> float:
        """A finite number; where the key is absent, `default` if one is given."""
        if default is not None and key not in self.value:
            return default
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not _is_finite(value):
            self._refuse(key, value, "a finite number is needed")
        return float(value)

    def texts(self, key: str, count: int | None = None) -> tuple[str, ...]:
        """A list of texts, of just `count` if given; they may be blank."""
        return tuple(self._a_text(key, v, "only texts are allowed in it") for v in self.values(key, "texts", count))

    def names(self, key: str, count: int | None = None) -> tuple[str, ...]:
        """A list of names of pictures, of just `count` if given, none twice; each as `name` gives it."""
        found = [self._a_name(key, v, "only names are allowed in it") for v in self.values(key, "names", count)]
        self._require_once(key, found)
        return tuple(found)

    def numbers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers, none twice."""
        values = self.values(key, "whole numbers")
        found = [self._a_number(key, value, "only whole numbers are allowed in it") for value in values]
        self._require_once(key, found)
        return tuple(found)

    def values(self, key: str, of: str = "values", count: int | None = None) -> list[object]:
        """A list, of just `count` if given, whatever is in it; `of` names that in messages."""
        value = self._get(key)
        needed = f"a list of {of} is needed" if count is None else f"a list of just {count} {of} is needed"
        if not isinstance(value, list):
            self._refuse(key, value, needed)
        if count is not None and len(value) != count:
            raise self.error(f"key {key!r} holds a list of {len(value)}; {needed}")
        return value

    def record(self, key: str) -> Record:
        """An object within this one."""
        return Record(self._get(key), self.path, f"{self.place}, key {key!r}")

    def parts(self, key: str, count: int | None = None) -> list[Record]:
        """A list of objects within this one, of just `count` if given."""
        values = self.values(key, "objects", count)
        return [Record(v, self.path, f"{self.place}, key {key!r}, item {i}") for i, v in enumerate(values)]

    def _get(self, key: str) -> object:
        if key not in self.value:
            there = ", ".join(repr(k) for k in list(self.value)[:12]) or "none"
            raise self.error(f"lacks the key {key!r}; it has {there}")
        return self.value[key]

    def _a_text(self, key: str, value: object, needed: str) -> str:
        if not isinstance(value, str) or not is_unicode(value):
            self._refuse(key, value, needed)
        return value

    def _a_name(self, key: str, value: object, needed: str) -> str:
        if not isinstance(value, str) or not value.strip() or not is_unicode(value):
            self._refuse(key, value, needed)
        return nfc(value)

    def _a_number(self, key: str, value: object, needed: str) -> int:
        if type(value) is not int:
            self._refuse(key, value, needed)
        return value

    def _require_once(self, key: str, values: Sequence[object]) -> None:
        if len(set(values)) != len(values):
            twice = next(v for v in values if values.count(v) > 1)
            raise self.error(f"key {key!r} holds {told(twice)} more than once; each is needed once")

    def _refuse(self, key: str, value: object, needed: str) -> NoReturn:
        raise self.error(f"key {key!r} holds {told(value)}; {needed}")


def read_json(path: Path) -> object:
    """Read a whole JSON file.

    Raises:
        DataError: It is missing or cannot be read, is not UTF-8 (the byte is named), is not JSON (line and column), or
            says a key twice in one object (the record).
    """
    return parse_json(_read(path), str(path))


def read_jsonl(path: Path) -> list[tuple[int, dict[str, object]]]:
    """Read a file of one JSON object a line; blank lines are passed by.

    Returns:
        Line number, counted from 1, and object.

    Raises:
        DataError: As `read_json`, with the line; or a line that holds something else than an object.
    """
    rows = []
    for number, line in enumerate(_read_bytes(path).split(b"\n"), start=1):
        if line.strip():
            value = parse_json(_decode(line, path, f"line {number}: "), f"{path}: line {number}", one_line=True)
            if not isinstance(value, dict):
                raise DataError(f"{path}: line {number}: is {told(value)}; an object with keys is needed")
            rows.append((number, value))
    return rows


def records(path: Path) -> list[Record]:
    """Read a JSON list of objects.

    Raises:
        DataError: As `read_json`; or it is no list, an empty one, or holds something else than objects.
    """
    return [Record(value, path, number) for number, value in enumerate(_list(path, "objects"))]


def read_names(path: Path) -> tuple[str, ...]:
    """Read a JSON list of names of pictures, in form NFC.

    Raises:
        DataError: As `read_json`; or it is no list, an empty one, holds something else than names, or one twice.
    """
    names = []
    for number, value in enumerate(_list(path, "names")):
        if not isinstance(value, str) or not value.strip() or not is_unicode(value):
            raise DataError(f"{path}: record {number} (counted from 0): is {told(value)}; a name is needed")
        names.append(nfc(value))
    return _distinct(names, path, "record", 0)


def read_lines(path: Path) -> tuple[str, ...]:
    """Read a text file of one name of a picture a line, in form NFC; blank lines are passed by.

    Raises:
        DataError: It is missing or cannot be read, is not UTF-8, names nothing, or names one twice.
    """
    names = [nfc(line.strip()) for line in _read(path).split("\n")]
    if not any(names):
        raise DataError(f"{path}: is empty; a name a line is needed, download the file again")
    return tuple(name for name in _distinct(names, path, "line", 1) if name)


def unique(records_ids: Iterable[tuple[str, Record]]) -> None:
    """Refuse ids that two records bear.

    Raises:
        DataError: The id and both records.
    """
    for name, first, record in _again(records_ids):
        raise record.error(f"has the id {name!r}, as {first.place} has; each may be used once, mend one of them")


def require_distinct(said: Iterable[tuple[Hashable, Record]]) -> None:
    """Refuse records that say the same.

    Args:
        said: What each says, but for an id, and the record.

    Raises:
        DataError: Both records.
    """
    for _, first, record in _again(said):
        raise record.error(f"says the same as {first.place}, and would count twice; remove one of them")


def nfc(name: str) -> str:
    """The name in Unicode's form NFC, in which equal looks are equal texts."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def is_unicode(text: str) -> bool:
    r"""Whether a text can be written; JSON's "\ud800" alone gives half a character, which cannot."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def told(value: object) -> str:
    """What a JSON value is, in words, for messages."""
    if value is None:
        return "null"
    kind = {bool: "", dict: "an object", list: "a list", str: "the text", int: "the number", float: "the number"}
    if isinstance(value, dict | list):
        return kind[type(value)]
    shown = json.dumps(value, ensure_ascii=isinstance(value, str) and not is_unicode(value))
    shown = shown if len(shown) <= LONGEST_SHOWN else f"{shown[: LONGEST_SHOWN - 3]}..."
    return f"{kind.get(type(value), '')} {shown}".strip()


def _again(said: Iterable[tuple[Said, Record]]) -> Iterator[tuple[Said, Record, Record]]:
    """Whatever a record says that another has said before; with the first that did, and itself."""
    seen: dict[Said, Record] = {}
    for what, record in said:
        first = seen.setdefault(what, record)
        if first is not record:
            yield what, first, record


def _list(path: Path, of: str) -> Sequence[object]:
    value = read_json(path)
    if not isinstance(value, list):
        raise DataError(f"{path}: holds {told(value)}; a list of {of} is needed")
    if not value:
        raise DataError(f"{path}: holds an empty list; a list of {of} is needed, download the file again")
    return value


def _distinct(names: list[str], path: Path, unit: str, first: int) -> tuple[str, ...]:
    seen: dict[str, int] = {}
    for number, name in enumerate(names, start=first):
        if name and seen.setdefault(name, number) != number:
            told_first = f"{unit} {seen[name]}"
            raise DataError(f"{path}: {unit} {number} (counted from {first}): {name!r} stands in {told_first} too")
    return tuple(names)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; check the path") from error
    except OSError as error:
        raise DataError(
            f"{path}: cannot be read ({error.strerror}); a file that this user may read is needed"
        ) from error


def _read(path: Path) -> str:
    return _decode(_read_bytes(path), path, "")


def _decode(data: bytes, path: Path, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: {where}byte {error.start} is not UTF-8; save the file as UTF-8") from error


def parse_json(text: str, place: str, *, one_line: bool = False) -> object:
    """Make the value that a JSON text holds.

    Args:
        text: Of a file, or of one line.
        place: Where it stands, for messages.
        one_line: Whether `place` names a line already.

    Raises:
        DataError: As `read_json`.
    """
    doubled: list[tuple[dict[str, object], str]] = []

    def made(pairs: list[tuple[str, object]]) -> dict[str, object]:
        value = dict(pairs)
        if len(value) != len(pairs):
            keys = [key for key, _ in pairs]
            doubled.append((value, next(key for key in keys if keys.count(key) > 1)))
        return value

    remedy = "mend it or download the file again"
    try:
        value = json.loads(text, object_pairs_hook=made)
    except json.JSONDecodeError as error:
        at = f"column {error.colno}" if one_line else f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{place}: {at}: is not JSON ({error.msg}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: is not usable JSON ({error}); {remedy}") from error
    if doubled:
        key, at = next(((key, at) for own, key in doubled if (at := _place_in(value, own)) is not None), ("", None))
        where = f"{place}: {at}" if at else place
        raise DataError(f"{where}: the key {told(key)} stands twice in one object; {remedy}")
    return value


def _place_in(whole: object, wanted: object) -> str | None:
    """Where an object stands, as `Record` would say it: "record 17 (counted from 0), key 'img_set'"; "" for the whole.

    None where it is no part of it: it stood under a key that was said twice.
    """
    waiting: list[tuple[object, str]] = [(whole, "")]
    while waiting:
        value, place = waiting.pop()
        if value is wanted:
            return place
        if isinstance(value, dict):
            parts = [(own, f"key {key!r}") for key, own in value.items()]
        else:
            items = enumerate(value) if isinstance(value, list) else ()
            parts = [(own, f"item {i}" if place else f"record {i} (counted from 0)") for i, own in items]
        waiting += [(own, f"{place}, {part}" if place else part) for own, part in parts if isinstance(own, dict | list)]
    return None


def _is_finite(value: int | float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
