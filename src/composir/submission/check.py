"""Hold a prediction file against the queries and the gallery it is for, and tell all that a server would refuse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from composir.errors import DataError
from composir.nouns import counted
from composir.submission.formats import CIRR, CIRR_BYTES, LENGTHS, Kind, Prediction, drops, read
from composir.submission.start_kit import match, task_of
from composir.submission.truth import Truth, gallery_of, looks_like, overlap
from composir.types import Query, Task

_ANOTHER = "it is for another data set or split, or --root is another set's: name the right --data, --split and --root"
COCO_IDS = 10**12  # COCO writes them with twelve digits


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that makes a file unusable.

    Attributes:
        query: Its id, or "" where the file as a whole is meant.
        what: What is wrong, what is allowed, and the remedy.
    """

    query: str
    what: str

    def __str__(self) -> str:
        return f"query {self.query}: {self.what}" if self.query else self.what


def load(path: Path, truth: Truth, category: str | None = None) -> tuple[Task, Prediction]:
    """Read a file and find the task that it answers; how well it does is for `problems`.

    Args:
        path: The file.
        truth: What it is for.
        category: Of a FashionIQ file; found by the file's name or its records if not given.

    Raises:
        DataError: It cannot be read, or its records are no queries of the task.
    """
    file = read(path, truth.dataset.name)
    if isinstance(file, Prediction):
        return truth.tasks[0], file
    task = task_of(file, truth.tasks, category)
    return task, match(file, task, partial(truth.alike, task))


def problems(prediction: Prediction, task: Task, truth: Truth, *, exact: bool = True) -> list[Problem]:
    """Everything wrong with a prediction: what concerns the queries first, then query by query.

    A file that is for something else has that one problem, not one for each of its lists.

    Args:
        prediction: What was read.
        task: What was asked.
        truth: To which the task belongs.
        exact: Whether every list must have the length that the server takes; any length but 0 can be scored.
    """
    gallery = gallery_of(task)
    if another := _of_another(prediction, task, truth, gallery):
        return [Problem("", another)]
    found = list(_of_queries(prediction, task, truth.split))
    for query in task.queries:
        if query.id in prediction.lists:
            found += [Problem(query.id, what) for what in _of_list(prediction, query, task, gallery, exact=exact)]
    return found


def problems_alone(prediction: Prediction) -> list[Problem]:
    """What is wrong with a prediction whatever it is held against: the lengths of its lists, and what they repeat."""
    found = []
    for query, answers in prediction.lists.items():
        told = [*_of_length(len(answers), prediction.kind, None, exact=True), *_repeated(answers)]
        found += [Problem(query, what) for what in told]
    return found


def size_problems(prediction: Prediction, size: int) -> list[Problem]:
    """Whether a file of `size` bytes is more than CIRR's server takes."""
    if prediction.kind not in CIRR or size <= CIRR_BYTES:
        return []
    return [Problem("", f"{size:,} bytes; CIRR's server takes {CIRR_BYTES:,} at most: write it without indentation")]


def require(found: Sequence[Problem], path: Path) -> None:
    """Raise the first problem, with the number of the others.

    Raises:
        DataError: There is a problem.
    """
    if found:
        more = f" (and {counted(len(found) - 1, 'more problem')})" if len(found) > 1 else ""
        raise DataError(f"{path}: {found[0]}{more}")


def _of_another(prediction: Prediction, task: Task, truth: Truth, gallery: Collection[str] | None) -> str:
    """Why a file as a whole is for another split or data set, or ""."""
    asked, answered = {q.id for q in task.queries}, prediction.lists.keys()
    if prediction.kind != "start kit" and asked != answered:  # a start kit's records were matched already
        shares = {n: overlap(answered, [q.id for q in other.queries]) for n, other in truth.alike(task).items()}
        if found := looks_like(overlap(answered, asked), shares):
            return f"its {len(answered):,} ids look like the ids of {found}, not like those of {truth.split}"
        known = sum(query in asked for query in answered)
        if 2 * known < len(answered):
            return f"{known:,} of its {len(answered):,} ids are queries of {truth.split}; {_ANOTHER}"
    named = {name for answers in prediction.lists.values() for name in answers}
    # One that is written with folder and ending is known, and told for each list how to write it.
    known = sum(gallery is None or name in gallery or PurePosixPath(name).stem in gallery for name in named)
    if 2 * known < len(named):
        return f"{known:,} of the {len(named):,} images it names are in the gallery of {truth.split}; {_ANOTHER}"
    return ""


def _of_queries(prediction: Prediction, task: Task, split: str) -> Iterator[Problem]:
    asked, answered = {q.id for q in task.queries}, prediction.lists.keys()
    missing, foreign = [q.id for q in task.queries if q.id not in answered], [i for i in answered if i not in asked]
    for query in missing:
        yield Problem(query, f"is missing; all {len(asked):,} queries must be answered")
    for query in foreign:
        yield Problem(query, f"is none of the {len(asked):,} queries of {split}; leave it out")


def _of_list(
    prediction: Prediction, query: Query, task: Task, gallery: Collection[str] | None, *, exact: bool
) -> Iterator[str]:
    answers, kind = prediction.lists[query.id], prediction.kind
    drop = drops(prediction, task)
    inside = query.subset if kind == "recall_subset" else gallery
    yield from _of_length(len(answers), kind, _most(inside, query.reference, drop=drop), exact=exact)
    yield from _repeated(answers)
    for name in dict.fromkeys(answers):
        if drop and name == query.reference:
            yield f"{name!r} is its own reference, which must not be in its list; take it out"
        elif gallery is not None and name not in gallery:
            yield f"{name!r} is not in the gallery of {len(gallery):,} images{_hint(name, gallery)}"
        elif inside is not None and name not in inside:
            yield f"{name!r} is not in the query's own set (img_set); name others of its members"
        elif kind == "circo" and not 1 <= int(name) < COCO_IDS:
            yield f"{name} is no image id; those of COCO are 1 or more and have at most 12 digits"


def _repeated(answers: Sequence[str]) -> Iterator[str]:
    for name, times in Counter(answers).items():
        if times > 1:
            places = " and ".join(str(n) for n, answer in enumerate(answers, start=1) if answer == name)
            yield f"{name!r} is at places {places}; an image is named once"


def _most(inside: Collection[str] | None, reference: str, *, drop: bool) -> int | None:
    """How many images a list can name, where that is known."""
    return None if inside is None else len(inside) - (drop and reference in inside)


def _of_length(length: int, kind: Kind, most: int | None, *, exact: bool) -> Iterator[str]:
    wanted = LENGTHS[kind] if most is None else min(LENGTHS[kind], most)  # less in a gallery drawn small
    if exact and length != wanted:
        yield f"{counted(length, 'answer')} instead of {wanted}"
    elif length == 0:
        yield "no answers; there must be one or more"


def _hint(name: str, gallery: Collection[str]) -> str:
    stem = PurePosixPath(name).stem
    return f"; write {stem!r}, without folder and ending" if stem in gallery else "; rank this split's own images"
