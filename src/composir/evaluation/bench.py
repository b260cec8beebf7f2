"""A whole benchmark: every task of a split by one method, with the baselines beside it and the protocol around it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

from composir.datasets.base import Dataset, Split
from composir.datasets.doctor.annotations import Annotations
from composir.datasets.files import FileDataset
from composir.errors import ComposirError, DataError
from composir.evaluation.gaps import Left, all_of, missing_images, needed_images, refuse, without
from composir.evaluation.passes import Embedded, Progress, embed
from composir.evaluation.protocol import protocol_of
from composir.evaluation.results import FORMAT, Result
from composir.evaluation.rows import stacked
from composir.evaluation.runs import MEMORY, ranked
from composir.evaluation.scoring import per_query
from composir.evaluation.standing import Standing, told, warnings
from composir.methods.base import Method
from composir.methods.baselines import ImageOnly, Sum, TextOnly
from composir.methods.slerp import ALPHA, DEFAULT_ALPHA, Slerp
from composir.plugins import nearest
from composir.types import Task


def evaluate(
    method: Method,
    dataset: Dataset,
    split: str | None = None,
    *,
    partial: bool = False,
    batch_size: int = 64,
    workers: int | None = None,
    memory: int = MEMORY,
    label: str | None = None,
    options: Mapping[str, Any] | None = None,
    progress: Progress = lambda *_: None,
    **controls: Any,
) -> Result:
    """Measure a method on all tasks of a split, beside image-only, text-only, sum and Slerp over its backbone.

    Args:
        method: Encodes and composes.
        dataset: Pictures, queries and protocols.
        split: One of the data set's, by its authors' name too; its `asked` if not given.
        partial: Evaluate without pictures that are missing or cannot be read, and stamp every number.
        batch_size: Of encoding and composing.
        workers: Decoding processes, see `pixel_batches`.
        memory: Bytes that ranking may take beside the embeddings.
        label: What the result calls the method; its plug-in name if not given.
        options: What the data set was opened with beside its folder, for the record.
        progress: Told (pictures done, pictures in all) after each batch.
        controls: For `compose`, e.g. alpha=0.8.

    Raises:
        DataError: Pictures are missing or unreadable and `partial` is not said, or nothing is left to be asked.
        ComposirError: The split does not exist or its truth is hidden, a control that the method does not take, or
            annotations that contradict each other.
    """
    split = dataset.split_called(split or dataset.asked)
    tasks = tasks_of(dataset, split, partial=partial)
    check_controls(method, controls)
    baselines = baselines_of(method, dataset.name)
    name = _unlike(label or method.name, baselines)
    methods = {name: method, **baselines}
    made, gone, left = _embedded(
        methods, dataset, split, tasks, partial,
        controls={name: controls}, batch_size=batch_size, workers=workers, progress=progress,
    )  # fmt: skip
    standings = {own: _standing(own, one, made, left, memory=memory, partial=partial) for own, one in methods.items()}
    missing = _missing(gone, left, tasks, dataset.unlisted(cast("Split", split)))
    asked, cut = [part.task for part in left], missing is not None
    scores = {own: told(standing, asked, dataset.averages, cut) for own, standing in standings.items()}
    where = {"data": dataset.title, "split": split, "controls": controls, "missing": missing}
    content = {
        "format": FORMAT,
        "method": name,
        "protocol": protocol_of(method, baselines, asked, **where),
        **scores[name],
        "baselines": {own: scores[own] for own in baselines},
        "warnings": [*warnings(standings, asked, missing), *dataset.notes(cast("Split", split))],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": _opened(dataset, split, options),
    }
    return Result(content, stacked([rows for standing in standings.values() for rows in standing.rows]))


def tasks_of(dataset: Dataset, split: str, *, partial: bool = False) -> list[Task]:
    """The tasks of a split, known to be answerable as far as annotations tell.

    Raises:
        UnknownNameError: The data set has no such split.
        DataError: The split asks nothing, or its truth is hidden; unless `partial`, its gallery is not known in full or
            an annotation points outside it.
    """
    if split not in dataset.splits:
        raise nearest(split, dataset.splits, f"split of {dataset.name}:")
    tasks = dataset.tasks(cast("Split", split))
    if not tasks:
        trains = [kind for kind in ("triplets", "pairs") if getattr(dataset, kind)(split)]
        holds = f"it holds {' and '.join(trains)} to train on" if trains else "it is empty"
        raise DataError(
            f"{dataset.name} {split} asks no queries ({holds}), so no method can be evaluated on it; name a split or a "
            "data set that does"
        )
    asking = [task for task in tasks if task.queries and task.gallery]
    if len(asking) < max(1, len(tasks)):
        empty = ", ".join(task.name for task in tasks if task not in asking) or "the split"
        raise DataError(f"{dataset.name} {split}: {empty} holds no queries or no gallery; nothing can be ranked")
    if any(task.hidden for task in tasks):
        raise DataError(
            f"the targets of {dataset.name} {split} are not public; evaluate another split (for cirr and circo "
            "`composir submit` writes the files that their servers score)"
        )
    if not partial:
        _refuse_gaps(dataset, cast("Split", split), tasks)
    return tasks


def _refuse_gaps(dataset: Dataset, split: Split, tasks: Sequence[Task]) -> None:
    """Refuse annotations that cannot all be asked; the doctor lists every one."""
    hint = "--partial (partial=True) evaluates what is left and stamps every number"
    if unlisted := dataset.unlisted(split):
        raise DataError(f"{dataset.name} {split}: {unlisted}; {hint}")
    astray = next(Annotations(split, tasks).astray(), None)
    if astray is not None:
        files = ", ".join(map(str, dataset.files_of(split))) if isinstance(dataset, FileDataset) else dataset.name
        query = next(q for task in tasks if task.name == astray.task for q in task.queries if q.id == astray.query)
        at = f"query {astray.query} of {astray.task!r} (reference {query.reference}, {query.captions[0][:60]!r})"
        check = f"composir data check {dataset.name} {getattr(dataset, 'root', 'ROOT')}"
        raise DataError(
            f"{files}: {at}: its {astray.role} {astray.image} {astray.why}; mend the annotations (`{check}`, with the "
            f"same options, lists all such), or {hint}"
        )


def check_controls(method: Method, controls: Mapping[str, Any]) -> None:
    """Refuse a control that the method does not take.

    Raises:
        ComposirError: It is named, with those that the method takes.
    """
    for name in controls:
        if name not in method.controls:
            taken = f"it takes {', '.join(method.controls)}" if method.controls else "it takes no control at all"
            raise ComposirError(f"method {method.name!r} takes no {name!r}; {taken}")


def baselines_of(method: Method, data: str) -> dict[str, Method]:
    """The four baselines over the method's backbone, where it is, without the one that the method itself is."""
    slerp = Slerp(method.backbone, ALPHA.get(data, DEFAULT_ALPHA))
    four: list[Method] = [ImageOnly(method.backbone), TextOnly(method.backbone), Sum(method.backbone), slerp]
    return {one.name: one.eval() for one in four if type(one) is not type(method)}


def _embedded(
    methods: Mapping[str, Method], dataset: Dataset, split: str, tasks: list[Task], partial: bool, **options: Any
) -> tuple[Embedded, dict[str, str], list[Left]]:
    """Vectors, the pictures that are gone with the reason, and what that leaves of the tasks."""
    needed = len(needed_images(tasks))
    gone: dict[str, str] = dict.fromkeys(missing_images(dataset, tasks), "no file")
    if not partial:
        refuse(dataset, split, gone, needed)
    left = _left(tasks, gone, partial)  # refuses before the work what would be refused after it
    made = embed(methods, dataset, tasks, absent=frozenset(gone), partial=partial, **options)
    gone |= {image_id: failure.detail or failure.reason for image_id, failure in made.failed.items()}
    if not partial:
        refuse(dataset, split, gone, needed)
    return made, gone, _left(tasks, gone, partial) if made.failed else left


def _left(tasks: Sequence[Task], gone: Mapping[str, str], partial: bool) -> list[Left]:
    return [without(task, gone) if partial else all_of(task) for task in tasks]


def _standing(
    name: str, method: Method, made: Embedded, left: Sequence[Left], *, memory: int, partial: bool
) -> Standing:
    standing, start = Standing(name), 0
    for part in left:
        rows = [made.rows[image_id] for image_id in part.task.gallery]
        gallery = made.galleries[method.gallery_key()]
        whole = rows == list(range(len(gallery)))
        query = made.queries[name][[start + place for place in part.places]]
        run = ranked(query, gallery if whole else gallery[rows], part.task, memory=memory, partial=partial)
        standing.add(part.task, run, per_query(run, part.task))
        start += part.asked
    return standing


def _missing(
    gone: Mapping[str, str], left: Sequence[Left], tasks: Sequence[Task], unlisted: str
) -> dict[str, Any] | None:
    """What a result leaves out, or None where it is whole."""
    if not unlisted and all(part.whole for part in left):
        return None
    out = {}
    for part, task in zip(left, tasks, strict=True):
        kept = set(part.places)
        out[task.name] = [query.id for place, query in enumerate(task.queries) if place not in kept]
    count = sum(len(ids) for ids in out.values())
    ids = {"image_ids": dict(gone), "query_ids": out}
    return {"images": len(gone), "queries": count, **ids, "unlisted": unlisted}


def _unlike(name: str, taken: Mapping[str, Method]) -> str:
    return f"{name} (evaluated)" if name in taken else name


def _opened(dataset: Dataset, split: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    root = getattr(dataset, "root", None)
    where = None if root is None else str(Path(root).expanduser().resolve())
    return {"name": dataset.name, "root": where, "split": split, "arguments": dict(options or {})}
