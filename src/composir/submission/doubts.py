"""What makes the score of a prediction file less than it seems; none of it is an error."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence

from composir.submission.formats import Prediction, drops
from composir.submission.truth import gallery_of
from composir.types import Task

FEW = 20  # queries below which nothing is read out of a pattern
LONG = 10  # answers a list, likewise
SURE = 10  # images of a kind that chance would have named, below which their absence says nothing


def doubts(task: Task, predictions: Sequence[Prediction]) -> list[str]:
    """Every warning that belongs beside the score of a task."""
    return [warning for prediction in predictions for warning in _doubts(task, prediction)]


def _doubts(task: Task, prediction: Prediction) -> Iterator[str]:
    if gallery_of(task) is None:
        yield f"{task.name}: the list of its gallery is not at hand, so no image id could be checked"
    yield from _bounded(task, prediction)
    lists = [prediction.lists[query.id] for query in task.queries]
    if len(lists) < FEW:
        return
    if prediction.kind == "recall_subset":
        yield from _constant_within_subsets(task, prediction)
        return
    yield from _constant(task, prediction)
    if sum(map(len, lists)) < LONG * len(lists):
        return
    yield from _smaller_gallery(task, {name for answers in lists for name in answers})
    if not drops(prediction, task) and not any(q.reference in prediction.lists[q.id] for q in task.queries):
        yield f"{task.name}: no list names its own reference; if they were taken out, the protocol keeps them"


def _smaller_gallery(task: Task, named: Collection[str]) -> Iterator[str]:
    """Lists made of references and targets alone, though chance would have brought in others."""
    asked = {name for query in task.queries for name in (query.reference, *query.targets)}
    others = set(task.gallery) - asked
    expected = len(named) * len(others) / len(task.gallery)
    if expected >= SURE and not others.intersection(named) and gallery_of(task) is not None:
        yield (
            f"{task.name}: no list names any of the {len(others):,} gallery images that are neither reference nor "
            f"target; if they were not ranked, this is not comparable with the gallery of all {len(task.gallery):,}"
        )


def _bounded(task: Task, prediction: Prediction) -> Iterator[str]:
    """Metrics whose K is more than a list holds, though there was more to name."""
    subset, gallery = prediction.kind == "recall_subset", gallery_of(task)
    cutoffs = {name: int(name.partition("@")[2].partition("/")[0]) for name in task.metrics}
    short: Counter[str] = Counter()
    for query in task.queries:
        inside = query.subset if subset else gallery
        most = sys.maxsize if inside is None else len(inside) - (drops(prediction, task) and query.reference in inside)
        length = len(prediction.lists[query.id])
        short.update(n for n, k in cutoffs.items() if n.startswith("Rs@") == subset and length < min(most, k))
    for name, count in short.items():
        yield f"{task.name}: {name} is a lower bound: {count:,} of {len(task.queries):,} lists are shorter than that"


def _constant(task: Task, prediction: Prediction) -> Iterator[str]:
    """A ranking that is one for all queries, but for references taken out."""
    begins = {prediction.lists[query.id][0] for query in task.queries}
    if len(begins) <= 2 < len({query.targets[:1] for query in task.queries}):
        yield f"{task.name}: all lists begin with {' or '.join(map(repr, sorted(begins)))}, whatever is asked"


def _constant_within_subsets(task: Task, prediction: Prediction) -> Iterator[str]:
    """Members of each small set in one order, whichever query of the set is asked."""
    before: set[tuple[frozenset[str], str, str]] = set()
    targets = defaultdict[frozenset[str], list[str]](list)
    for query in task.queries:
        members, answers = frozenset(query.subset), prediction.lists[query.id]
        targets[members] += query.targets[:1]
        unnamed = members.difference(answers, (query.reference,))
        for place, name in enumerate(answers):
            before.update((members, name, other) for other in (*answers[place + 1 :], *unnamed))
    told_apart = sum(len(asked) for asked in targets.values() if len(set(asked)) > 1)
    if told_apart >= FEW and not any((members, other, name) in before for members, name, other in before):
        yield f"{task.name}: the images of each set (img_set) are always in one order, whatever is asked"
