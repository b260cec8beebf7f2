"""Plain sets of one's own: a folder of pictures and JSON lines of triplets. docs/data.md has the format.

images/**                                              pictures; their names are paths below this folder
triplets.jsonl, or triplets.{train,val,test}.jsonl     {"reference", "captions", "targets", ...} a line
captions.jsonl, or pairs.{train,val,test}.jsonl        {"image", "captions"} a line; optional
gallery.txt, or gallery.{train,val,test}.txt           a picture a line; optional
set.json                                               {"name", "drop_reference", "metrics"}; optional
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from composir.datasets.base import Split
from composir.datasets.files import FileDataset
from composir.datasets.jsonl.pictures import NamedFiles
from composir.datasets.jsonl.rows import PAIR_KEYS, SPLITS, TRIPLET_KEYS, Lines, pair_of, query_of, read_gallery
from composir.datasets.jsonl.settings import Settings
from composir.datasets.records import Record
from composir.errors import DataError
from composir.nouns import counted
from composir.types import Pair, Query, Task


class Jsonl(FileDataset):
    """A set in the plain format; every key of every line is checked, and an unknown one refused.

    In a file of all splits a row names its "split"; one that does not is of test, so that nothing is trained on
    unless that is said. The gallery is what its file names. Without one it is, sorted, what the split's triplets
    name, and with a triplets.jsonl every other picture below images/ too.
    """

    name: ClassVar[str] = "jsonl"
    disjoint: ClassVar[bool] = False  # it may or may not be: nothing says so
    layouts: ClassVar[str] = (
        "a folder with images/ and triplets.jsonl or triplets.{train,val,test}.jsonl, or else captions.jsonl or "
        "pairs.{train,val,test}.jsonl"
    )

    # Not that of the base class, which asks for splits that such a set need not have.
    def __init__(self, root: str | Path) -> None:
        """Open it.

        Args:
            root: The folder that holds images/ and the files.

        Raises:
            DataError: It is no folder, has neither triplets nor pairs, or two kinds of one of them. A malformed line or
                set.json is told by whatever needs it.
        """
        self.root = Path(root).expanduser()
        if not self.root.is_dir():
            raise DataError(f"{self.root}: there is no such folder; for {self.name} give {self.layouts}")
        self.images = NamedFiles([self.root / "images"])
        self._triplets = Lines(self.root, "triplets.{split}.jsonl", "triplets.jsonl", TRIPLET_KEYS, self._query)
        self._pairs = Lines(self.root, "pairs.{split}.jsonl", "captions.jsonl", PAIR_KEYS, self._pair)
        there = self._triplets.splits() | self._pairs.splits()
        if not there:
            raise DataError(f"{self.root}: holds neither triplets nor captions; for {self.name} give {self.layouts}")
        # A set of files has its own splits.
        self.splits = tuple(s for s in SPLITS if s in there)  # pyright: ignore[reportAttributeAccessIssue]

    @property
    def title(self) -> str:
        """As set.json or else the folder says."""
        return self._settings.name

    def tasks(self, split: Split) -> list[Task]:
        """One task, named as set.json or else the folder says; none where a split has no triplets.

        Raises:
            DataError: A malformed line, by file and number; a malformed set.json, whether or not there are triplets.
        """
        settings, queries = self._settings, self._queries(split)
        if not queries:
            return []
        return [
            Task(
                name=settings.name,
                gallery=self._gallery(split, queries),
                queries=tuple(queries),
                metrics=settings.metrics_for(queries),
                drop_reference=settings.drop_reference,
                hidden=not queries[0].targets,
            )
        ]

    def triplets(self, split: Split) -> Sequence[Query]:
        """The triplets of a split; none where its targets are hidden."""
        return [query for query in self._queries(split) if query.targets]

    def pairs(self, split: Split) -> Sequence[Pair]:
        """Pictures with captions, where there are files of them."""
        self.check_split(split)
        return self._pairs.of(split)

    def notes(self, split: Split) -> Sequence[str]:
        """Says so where Rs@K is left out because some queries have a subset and others none."""
        self.check_split(split)
        if self._settings.metrics is not None:
            return ()
        having, lacking = [], []
        for line, query in self._triplets.numbered(split):
            (having if query.subset else lacking).append(line)
        if not (having and lacking):
            return ()
        count = f"{len(having):,} of {counted(len(having) + len(lacking), 'query', 'queries')}"
        told = f"{self._triplets.path(split)}: {count} of {split} have a subset (line {having[0]} the first)"
        why = f"line {lacking[0]} is the first without, so Rs@K is not evaluated"
        return (f"{told}; {why}: give all of them one, or name the metrics in set.json",)

    def files_of(self, split: Split) -> tuple[Path, ...]:
        """The files that a split is read from, those of them that there are."""
        self.check_split(split)
        named = (self._triplets.path(split), self._pairs.path(split), self._gallery_file(split), self.root / "set.json")
        return tuple(path for path in named if path is not None and path.is_file())

    def _queries(self, split: Split) -> list[Query]:
        self.check_split(split)
        numbered = self._triplets.numbered(split)
        for line, query in numbered:
            first_line, first = numbered[0]
            if bool(query.targets) != bool(first.targets):
                has = f"line {line}: query {query.id!r} has {counted(len(query.targets), 'target')}"
                told = f"{has}, but line {first_line}, query {first.id!r}, has {len(first.targets)}"
                remedy = f"give targets to all queries of {split} or to none"
                raise DataError(f"{self._triplets.path(split)}: {told}; {remedy}")
        return [query for _, query in numbered]

    @cached_property
    def _settings(self) -> Settings:
        return Settings.read(self.root)

    def _query(self, record: Record, name: str) -> Query:
        return query_of(record, name, self.images.named, drop_reference=self._settings.drop_reference)

    def _pair(self, record: Record, name: str) -> Pair:
        return pair_of(record, name, self.images.named)

    def _gallery(self, split: Split, queries: Sequence[Query]) -> tuple[str, ...]:
        if (path := self._gallery_file(split)) is not None:
            return read_gallery(path, self.images.named)
        named = {i for query in queries for i in (query.reference, *query.targets, *query.subset)}
        if self._triplets.path(split) == self.root / "triplets.jsonl":
            named.update(stem for stem, _ in self.images.all())
        return tuple(sorted(named))

    def _gallery_file(self, split: Split) -> Path | None:
        places = (self.root / f"gallery.{split}.txt", self.root / "gallery.txt")
        return next((path for path in places if path.is_file()), None)
