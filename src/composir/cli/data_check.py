"""`composir data check`: what is wrong with a data set on disk, by name, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from composir import nouns

if TYPE_CHECKING:
    from composir.datasets.doctor import Astray, Blame, Cost, Diagnosis, Repeated, Twins, Wordless

LISTED = 20  # of each kind on the screen; --json has all


def check(
    name: Annotated[str, typer.Argument(help="The data set, e.g. fashioniq, cirr, circo, captions, jsonl.")],
    root: Annotated[Path, typer.Argument(help="Its folder.")],
    *,
    split: Annotated[
        list[str] | None, typer.Option(help="train, val or test; may be given again. All splits, if not given.")
    ] = None,
    decode: Annotated[
        bool, typer.Option("--decode/--no-decode", help="Open every picture, or only see that its file is there.")
    ] = True,
    sample: Annotated[int | None, typer.Option(min=1, help="Open only so many, spread evenly.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="key=value, an option of the data set; may be given again.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=0, help="Processes that open pictures; one a core, 8 at most, if not given; 0: none."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
) -> None:
    """Name every missing, unreadable, double or foreign picture and every annotation that points nowhere.

    For each it says what it costs: queries that cannot be asked, galleries that shrink. Exit code 1 if there is any.
    `composir eval` refuses a set that is not complete; double and foreign pictures take nothing away and are warnings.
    """
    from composir.cli.eval import parsed
    from composir.cli.progress import counted
    from composir.datasets.doctor import examine
    from composir.evaluation.opening import open_dataset

    dataset = open_dataset(name, root, parsed(option or []))
    try:
        with counted("opening") as progress:
            found = examine(dataset, split, decode=decode, sample=sample, workers=workers, progress=progress)
    except KeyboardInterrupt:
        typer.echo("\nStopped.", err=True)
        raise typer.Exit(130) from None
    typer.echo(_as_json(found, root) if json else _as_text(found, root))
    if found.problems or found.warnings:
        raise typer.Exit(1)


def _as_json(found: Diagnosis, root: Path) -> str:
    from dataclasses import asdict
    from json import dumps

    whole = {"name": found.name, "root": str(root)}
    counts = {"complete": found.complete, "problems": found.problems, "warnings": found.warnings}
    counts["oddities"] = found.oddities
    return dumps({**whole, **counts, **asdict(found)}, indent=1, ensure_ascii=False)


def _as_text(found: Diagnosis, root: Path) -> str:
    blame = found.blame
    lines = [
        f"{found.name} at {root}: {', '.join(found.splits)}; "
        f"{nouns.counted(found.named, 'picture')} named, {found.opened:,} opened"
    ]
    lines += _kind("annotations that cannot be read", [f"{fault.split}: {fault.why}" for fault in found.faults])
    lines += _kind("missing", [f"{image}  {_blamed(blame[image])}" for image in found.missing])
    unreadable = [f"{u.image}  {u.reason}; {_blamed(blame[u.image])}\n    {u.detail}" for u in found.unreadable]
    lines += _kind("unreadable", unreadable)
    lines += _kind("annotations that point nowhere", [_pointer(astray) for astray in found.astray])
    copies = [f"{double.image}  {double.used} is used, not {', '.join(double.others)}" for double in found.copies]
    lines += _kind("several files for one picture", copies)
    lines += _kind("the same bytes under several names", [_twins(own) for own in found.same])
    lines += _kind("foreign: pictures that no annotation names", list(found.foreign))
    lines += _kind("queries with a caption of no words", [_wordless(own) for own in found.wordless])
    lines += _kind("queries that stand more than once", [_repeated(own) for own in found.repeated])
    lines += _kind("queries that cannot be asked", _queries(found, lambda cost: cost.lost))
    lines += _kind("queries with fewer targets", _queries(found, lambda cost: cost.fewer_targets))
    lines += _kind("queries with a smaller subset", _queries(found, lambda cost: cost.fewer_members))
    lines += ["", "what there is, and what is lost of it", *(f"  {_cost(cost)}" for cost in found.costs)]
    if found.notes:
        lines += ["", *(f"note: {note}" for note in found.notes)]
    return "\n".join([*lines, "", _verdict(found)])


def _verdict(found: Diagnosis) -> str:
    """The last line."""
    first = "complete" if found.complete else nouns.counted(found.problems, "problem")
    rest = (found.warnings, "warning", "warnings"), (found.oddities, "oddity", "oddities")
    return "; ".join([first, *(nouns.counted(*own) for own in rest if own[0])])


def _kind(title: str, items: Sequence[str]) -> list[str]:
    """A heading with the count, and the first of them."""
    if not items:
        return []
    lines = ["", f"{title}: {len(items):,}", *(f"  {item}" for item in items[:LISTED])]
    return lines + [f"  … and {len(items) - LISTED:,} more; --json has all"] * (len(items) > LISTED)


def _queries(found: Diagnosis, ids: Callable[[Cost], Sequence[str]]) -> list[str]:
    """Queries of all tasks by place and id."""
    return [f"{cost.split} {cost.name} {query}" for cost in found.costs if cost.kind == "task" for query in ids(cost)]


def _twins(own: Twins) -> str:
    """Equal pictures, and what they cost."""
    tied = nouns.counted(len(own.tied), "query has a target tied", "queries have a target tied")
    told = [tied] * bool(own.tied) + [f"counted more than once in the gallery of {', '.join(own.galleries)}"] * bool(
        own.galleries
    )
    return f"{' = '.join(own.images)}  {'; '.join(told) or 'costs nothing'}"


def _wordless(own: Wordless) -> str:
    some = f"{own.wordless} of its {own.captions} captions is blank, and asked like that"
    return f"{own.split} {own.task} {own.query}  {some if own.wordless < own.captions else 'its text asks nothing'}"


def _repeated(own: Repeated) -> str:
    return f"{own.split} {own.task} {' = '.join(own.queries)}  one query, counted {len(own.queries)} times"


def _pointer(astray: Astray) -> str:
    return f"{astray.split} {astray.task}: query {astray.query}: {astray.role} {astray.image} {astray.why}"


def _blamed(blame: Blame) -> str:
    """What one picture costs."""
    kinds = {
        ("query cannot be asked", "queries cannot be asked"): blame.lost,
        ("query has one target less", "queries have one target less"): blame.fewer_targets,
        ("query has a smaller subset", "queries have a smaller subset"): blame.fewer_members,
        ("triplet or pair cannot be trained on", "triplets or pairs cannot be trained on"): blame.training,
    }
    told = [nouns.counted(len(places), *what) for what, places in kinds.items() if places]
    told += [f"gone from the gallery of {', '.join(blame.galleries)}"] * bool(blame.galleries)
    return "; ".join(told) or "costs nothing"


def _cost(cost: Cost) -> str:
    """What one part of a split holds and loses."""
    if cost.kind == "task":
        which = f" ({cost.gallery_name})" if cost.gallery_name else ""
        asked = nouns.counted(cost.queries, "query", "queries")
        there = f"{cost.split} {cost.name}: {asked} over {nouns.counted(cost.gallery, 'picture')}{which}"
    else:
        there = f"{cost.split}: {nouns.counted(cost.queries, cost.kind.removesuffix('s'))}"
    unusable = ("lacks its picture", "lack their picture") if cost.kind == "pairs" else 2 * ("cannot be asked",)
    kinds = {
        unusable: cost.lost,
        ("has fewer targets", "have fewer targets"): cost.fewer_targets,
        ("has a smaller subset", "have a smaller subset"): cost.fewer_members,
        ("picture is gone", "pictures are gone"): cost.gallery_lost,
    }
    return "; ".join([there, *(nouns.counted(len(ids), *what) for what, ids in kinds.items() if ids)])
