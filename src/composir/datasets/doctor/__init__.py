"""What is wrong with a data set on disk, each picture and each annotation by name, and what that costs.

annotations.py   what is named, what points nowhere   probe.py   pictures opened, whatever they do
costs.py         queries, truths and galleries lost          twins.py   pictures with the same bytes
oddities.py      captions without words, queries twice
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from composir.datasets.base import Dataset, Split
from composir.datasets.doctor.annotations import Annotations, Astray, Fault
from composir.datasets.doctor.costs import Blame, Cost, costs
from composir.datasets.doctor.oddities import Repeated, Wordless, repeated, wordless
from composir.datasets.doctor.probe import Job, Look, Progress, look
from composir.datasets.doctor.twins import Twins, twins
from composir.datasets.files import FileDataset
from composir.errors import DataError
from composir.nouns import counted

__all__ = [
    "Astray", "Blame", "Copies", "Cost", "Diagnosis", "Fault", "Repeated", "Twins", "Unreadable", "Wordless", "examine",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A picture that cannot be opened: `reason` is short and stable, `detail` a sentence."""

    image: str
    path: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Copies:
    """A picture for which there are several files: `used` is read, `others` are not."""

    image: str
    used: str
    others: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything found.

    Attributes:
        name: Of the data set.
        splits: Those that were examined.
        named: How many pictures their annotations name.
        opened: How many of these were decoded.
        faults: Annotations that cannot be read.
        missing: Ids without a file, sorted.
        unreadable: Pictures that cannot be opened.
        copies: Pictures with several files.
        same: Pictures whose files hold the same bytes, and what that costs.
        foreign: Picture files that no annotation names.
        astray: Annotations that point nowhere.
        wordless: Queries with a caption that holds no word.
        repeated: Queries that stand more than once.
        costs: What each part of each split loses, also where that is nothing.
        blame: What each missing or unreadable picture costs.
        notes: What could not be examined, or is not evaluated, and why.
    """

    name: str
    splits: tuple[Split, ...]
    named: int
    opened: int
    faults: tuple[Fault, ...]
    missing: tuple[str, ...]
    unreadable: tuple[Unreadable, ...]
    copies: tuple[Copies, ...]
    same: tuple[Twins, ...]
    foreign: tuple[str, ...]
    astray: tuple[Astray, ...]
    wordless: tuple[Wordless, ...]
    repeated: tuple[Repeated, ...]
    costs: tuple[Cost, ...]
    blame: Mapping[str, Blame]
    notes: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether all annotations can be read, and all that they name is there: then no evaluation refuses the set.

        An evaluation asks what keeps a split from being complete just as `examine` does, but of that split alone, and
        of its tasks alone.
        """
        return not self.problems

    @property
    def problems(self) -> int:
        """How many things keep the set from being complete: evaluations refuse them, or leave them out and say so."""
        return sum(map(len, (self.faults, self.missing, self.unreadable, self.astray)))

    @property
    def warnings(self) -> int:
        """How many double and foreign pictures there are: nothing is lost, but the folder is not as published."""
        return sum(map(len, (self.copies, self.same, self.foreign)))

    @property
    def oddities(self) -> int:
        """How many queries are odd as they were published: nothing on this disk can mend them."""
        return len(self.wordless) + len(self.repeated)


def examine(
    dataset: Dataset,
    splits: Sequence[str] | None = None,
    *,
    decode: bool = True,
    sample: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Diagnosis:
    """Look at every picture and every annotation of a data set.

    Annotations that cannot be read are told like all else; pictures are opened in processes of their own, so that no
    file can stop the examination. The ids of all pictures are held in memory.

    Args:
        dataset: An opened one.
        splits: Which, by their authors' names too; all of them if not given.
        decode: Whether to open the pictures; without it, only that their files exist is known.
        sample: Open only so many, spread evenly.
        workers: Processes; as many as cores (up to 8) if not given; 0 works here, without protection.
        progress: Called with (pictures done, pictures in all) while files are read.

    Raises:
        DataError: A split that the set does not have, or a folder that cannot be listed.
        ComposirError: The processes cannot start.
    """
    chosen = _chosen(dataset, splits or dataset.splits)
    said = [Annotations.read(dataset, split) for split in chosen]
    named = sorted({image for part in said for image in part.images()})
    missing = dataset.missing(named)
    files = _files(dataset, set(named).difference(missing))
    jobs = _jobs(files, len(files) if sample is None else sample, decode)
    looks = {found.image: found for found in look(dataset, jobs, workers, progress)}
    bad = {image: looks[image] for image in files if image in looks and looks[image].reason}
    spent, blame = costs(said, {*missing, *bad})
    copies, foreign, notes = _others(dataset, said, files)
    if unopened := len(files) - sum(job.decode for job in jobs):
        notes = (f"{counted(unopened, 'picture was', 'pictures were')} not opened", *notes)
    return Diagnosis(
        name=dataset.name,
        splits=chosen,
        named=len(named),
        opened=sum(job.decode and job.image not in bad for job in jobs),
        faults=tuple(fault for part in said for fault in part.faults),
        missing=tuple(missing),
        unreadable=tuple(Unreadable(i, str(files[i] or ""), b.reason, b.detail) for i, b in bad.items()),
        copies=copies,
        same=twins(said, _same(looks)),
        foreign=foreign,
        astray=tuple(astray for part in said for astray in part.astray()),
        wordless=wordless(said),
        repeated=repeated(said),
        costs=tuple(spent),
        blame=blame,
        notes=(*notes, *(note for part in said for note in part.notes)),
    )


def _chosen(dataset: Dataset, names: Iterable[str]) -> tuple[Split, ...]:
    """The splits that are called so, each once."""
    called = tuple(dict.fromkeys(map(dataset.split_called, names)))
    for split in called:
        if split not in dataset.splits:
            raise DataError(f"{dataset.name} has no split {split!r}; there is {', '.join(dataset.splits)}")
    return cast("tuple[Split, ...]", called)


def _files(dataset: Dataset, images: Iterable[str]) -> dict[str, Path | None]:
    """The file of each picture, None where it has none of its own; sorted by id."""
    path = dataset.path if isinstance(dataset, FileDataset) else lambda _: None
    return {image: path(image) for image in sorted(images)}


def _jobs(files: Mapping[str, Path | None], sample: int, decode: bool) -> list[Job]:
    """What to open, and of which files to take the digest: those of a size that others have too."""
    count = min(sample, len(files)) if decode else 0
    chosen = {at * len(files) // count for at in range(count)}
    sizes = {image: path.stat().st_size for image, path in files.items() if path is not None and path.is_file()}
    common = {size for size, times in Counter(sizes.values()).items() if times > 1 and size}
    jobs = (Job(i, p, at in chosen, sizes.get(i) in common) for at, (i, p) in enumerate(files.items()))
    return [job for job in jobs if job.decode or job.digest]


def _same(looks: Mapping[str, Look]) -> tuple[tuple[str, ...], ...]:
    """Ids whose files have one digest."""
    found = defaultdict[bytes, list[str]](list)
    for image in sorted(looks):
        if looks[image].digest:
            found[looks[image].digest].append(image)
    return tuple(tuple(images) for images in found.values() if len(images) > 1)


def _others(
    dataset: Dataset, said: Sequence[Annotations], files: Mapping[str, Path | None]
) -> tuple[tuple[Copies, ...], tuple[str, ...], tuple[str, ...]]:
    """Second files of a picture, files that no annotation of any split names, and what of it cannot be told."""
    if not isinstance(dataset, FileDataset):
        return (), (), ("its pictures are not files: whether any are double or foreign was not examined",)
    rest = [Annotations.read(dataset, s) for s in dataset.splits if s not in {part.split for part in said}]
    used = {**_files(dataset, {image for part in rest for image in part.images()}), **files}
    names = _names(dataset, used)
    taken = {path for path in used.values() if path is not None}
    copies, foreign = defaultdict[str, list[str]](list), list[str]()
    for stem, path in dataset.images.all():
        if path not in taken:
            image = names.get((None, stem)) or names.get((path.parent, stem))
            (foreign if image is None else copies[image]).append(str(path))
    double = tuple(Copies(image, str(used[image]), tuple(others)) for image, others in sorted(copies.items()))
    unread = dict.fromkeys(fault.split for part in (*said, *rest) for fault in part.faults)
    if not (unread and foreign):
        return double, tuple(foreign), ()
    told = f"{counted(len(foreign), 'picture')} may be foreign: the annotations of {', '.join(unread)} cannot be read"
    return double, (), (told,)


def _names(dataset: FileDataset, files: Mapping[str, Path | None]) -> dict[tuple[Path | None, str], str]:
    """Which picture a file would be by (its folder, its stem), or (None, stem) where the folder does not matter."""
    found: dict[tuple[Path | None, str], str] = {}
    for image, path in files.items():
        for name in dataset.stems(image) if path is not None else ():
            found[None, name] = image
            if "/" in name and path is not None:
                found[path.parent, name.rpartition("/")[2]] = image
    return found
