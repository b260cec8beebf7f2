"""One line of a plain set: every key known, every value of its kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar, cast, get_args

from composir.datasets.base import Split
from composir.datasets.records import Record, read_jsonl, read_lines, told
from composir.errors import DataError
from composir.plugins import nearest
from composir.types import Pair, Query

SPLITS: tuple[Split, ...] = get_args(Split)
TRIPLET_KEYS = (
    "id", "reference", "caption", "captions", "target", "targets", "weight", "subset", "aspects", "shared_concept",
)  # fmt: skip
PAIR_KEYS = ("id", "image", "caption", "captions")
DEFAULT_SPLIT: Split = "test"

Named = Callable[[str], str]
"""From a picture as a line names it to its id, as `NamedFiles.named`."""

Row = TypeVar("Row", Query, Pair)
Make = Callable[[Record, str], Row]


class Lines(Generic[Row]):
    """The files of one kind of row: one for each split, or one for all; each is read once, when it is needed.

    Args:
        root: Where they lie.
        own: Name of a split's file, with {split} in it.
        shared: Name of the file of all splits, whose rows have the key "split" too.
        keys: All that a row may have.
        make: From a record and its id to a row.

    Raises:
        DataError: Both kinds of file are there.
    """

    def __init__(self, root: Path, own: str, shared: str, keys: Sequence[str], make: Make[Row]) -> None:
        self._own: dict[Split, Path] = {
            split: path for split in SPLITS if (path := root / own.format(split=split)).is_file()
        }
        self._shared, self._keys, self._make = root / shared, keys, make
        self._read: dict[Path, list[tuple[Split, int, Row]]] = {}
        if self._own and self._shared.is_file():
            beside = next(iter(self._own.values())).name
            raise DataError(f"{root}: holds {shared} beside {beside}; keep one or the other")

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_read": {}}

    def path(self, split: Split) -> Path | None:
        """The file that a split's rows stand in, if there is one."""
        return self._own.get(split) or (self._shared if self._shared.is_file() else None)

    def splits(self) -> set[Split]:
        """Those with rows; a file of all splits is read for it.

        What is wrong with a row of it is left to `of` to tell, so that the rest of the set can be opened and examined.
        """
        if self._own or not self._shared.is_file():
            return set(self._own)
        try:
            return {split for split in SPLITS if self.of(split)}
        except DataError:
            if said := _said_splits(self._shared):
                return said
            raise

    def of(self, split: Split) -> list[Row]:
        """The rows of a split, in file order.

        Raises:
            DataError: A malformed line, an unknown key, an id that two lines bear; file and line are named.
        """
        return [row for _, row in self.numbered(split)]

    def numbered(self, split: Split) -> list[tuple[int, Row]]:
        """Likewise, each with the number of its line, counted from 1."""
        path = self.path(split)
        if path is None:
            return []
        if path not in self._read:
            self._read[path] = list(self._rows(path, None if path == self._shared else split))
        return [(line, row) for of, line, row in self._read[path] if of == split]

    def _rows(self, path: Path, split: Split | None) -> Iterator[tuple[Split, int, Row]]:
        """Each line's split, which is as given or else said by the line, its number, and row."""
        keys = self._keys if split else (*self._keys, "split")
        seen = dict[str, str]()
        for index, (line, value) in enumerate(read_jsonl(path)):
            record = Record(value, path, f"line {line}")
            unknown = next((key for key in value if key not in keys), None)
            if unknown is not None:
                raise record.error(str(nearest(unknown, keys, "key")))
            name = _id(record) if record.has("id") else str(index)
            if (first := seen.setdefault(name, record.place)) != record.place:
                remedy = "each may be used once (a row that has none is given its number, counted from 0)"
                raise record.error(f"has the id {name!r}, as {first} has; {remedy}")
            yield split or _split(record), line, self._make(record, name)
        if not seen:
            raise DataError(f"{path}: holds no line; remove it, or write one JSON object a line")


def query_of(record: Record, name: str, named: Named, *, drop_reference: bool) -> Query:
    """The query of a line.

    Raises:
        DataError: A value of another kind, or values that contradict each other.
    """
    weight = record.real("weight", 1.0)
    if weight < 0:
        raise record.error(f"key 'weight' holds {told(weight)}; 0 or more is needed")
    query = Query(
        id=name,
        reference=_checked(record, record.name("reference"), named),
        captions=_captions(record),
        targets=_one_or_many(record, "target", "targets", named),
        subset=_subset(record, named) if record.has("subset") else (),
        weight=weight,
        shared_concept=record.optional_text("shared_concept"),
        aspects=record.texts("aspects") if record.has("aspects") else (),
    )
    if drop_reference and query.reference in query.targets:
        raise record.error(
            f"has its reference {query.reference!r} among its targets, though it is taken out of the ranking; "
            'remove it, or say "drop_reference": false in set.json'
        )
    if query.subset and not {query.reference, *query.targets[:1]} <= set(query.subset):
        raise record.error("key 'subset' lacks the reference or the first target; a subset holds both")
    return query


def pair_of(record: Record, name: str, named: Named) -> Pair:
    """The pair of a line."""
    return Pair(name, _checked(record, record.name("image"), named), _captions(record))


def read_gallery(path: Path, named: Named) -> tuple[str, ...]:
    """A file of one picture a line, in its order."""
    place = Record({}, path, "gallery")
    names = tuple(_checked(place, name, named) for name in read_lines(path))
    _require_once(place, names)
    return names


def _id(record: Record) -> str:
    number = isinstance(record.value["id"], int) and not isinstance(record.value["id"], bool)
    return str(record.number("id")) if number else record.text("id")


def _split(record: Record) -> Split:
    split = record.optional_text("split", DEFAULT_SPLIT)
    if split not in SPLITS:
        raise record.error(f"key 'split' holds {told(split)}; {', '.join(SPLITS)} are allowed")
    return cast("Split", split)


def _said_splits(path: Path) -> set[Split]:
    """The splits that the rows of a file name, whatever else is wrong with them; all where one of them cannot tell."""
    try:
        return {_split(Record(value, path, f"line {line}")) for line, value in read_jsonl(path)}
    except DataError:
        return set(SPLITS)


def _captions(record: Record) -> tuple[str, ...]:
    if record.has("caption") == record.has("captions"):
        raise record.error("needs one of the keys 'caption' and 'captions'")
    captions = (record.text("caption"),) if record.has("caption") else record.texts("captions")
    if not captions or not all(caption.strip() for caption in captions):
        raise record.error("has an empty caption, or none; a text that is not blank is needed")
    return captions


def _one_or_many(record: Record, one: str, many: str, named: Named) -> tuple[str, ...]:
    if record.has(one) and record.has(many):
        raise record.error(f"has both keys {one!r} and {many!r}; one of them is needed")
    if record.has(one):
        return (_checked(record, record.name(one), named),)
    return _names(record, many, named) if record.has(many) else ()


def _subset(record: Record, named: Named) -> tuple[str, ...]:
    found = _names(record, "subset", named)
    if not found:
        raise record.error("key 'subset' holds an empty list; name its pictures, or leave the key out")
    return found


def _names(record: Record, key: str, named: Named) -> tuple[str, ...]:
    found = tuple(_checked(record, name, named) for name in record.names(key))
    _require_once(record, found)
    return found


def _require_once(record: Record, names: Iterable[str]) -> None:
    seen = set[str]()
    for name in names:
        if name in seen:
            raise record.error(f"names picture {name!r} twice, with and without its ending; each is needed once")
        seen.add(name)


def _checked(record: Record, name: str, named: Named) -> str:
    """A picture's id: its path below images/, without its ending unless several files bear it."""
    parts = name.split("/")
    if "" in parts or "." in parts or ".." in parts or "\\" in name:
        raise record.error(f"picture {name!r} is no plain path; give it below images/, such as 'dresses/1.jpg'")
    return named(name)
