"""The best and the worst queries as rows of pictures: reference, target, and the first answers."""

from __future__ import annotations

from collections.abc import Sequence

from composir.nouns import counted
from composir.reporting.leaderboard import PARTIAL
from composir.reporting.markup import Html, quoted, tag, text
from composir.reporting.picks import WORST_RULE, Pick, best, worst
from composir.reporting.pictures import Album
from composir.reporting.runs import Entry, Section

ANSWERS = 8
OPEN = 6  # rows shown at once; the rest unfolds


def query_grids(section: Section, album: Album, worst_count: int, best_count: int) -> Html:
    """Both lists of the section's first method, and what is wrong with its pictures if anything is."""
    entry = section.entries[0]
    album.open(section.data)
    good, rule = best(entry, best_count)
    made = [
        _list("Worst queries", WORST_RULE, worst(entry, worst_count), section, album) if worst_count else "",
        _list("Best queries", rule, good, section, album) if best_count else "",
    ]
    told = [tag("p", album.why, class_="notice")] if album.why else []
    if album.failed:
        first, why = next(iter(album.failed.items()))
        told.append(
            tag(
                "p",
                f"{counted(len(album.failed), 'picture')} cannot be read, so ids stand in their places. The first is ",
                quoted(first),
                ": ",
                quoted(why),
                class_="notice",
            )
        )
    return text([*told, *made])


def _list(title: str, rule: str, picks: Sequence[Pick], section: Section, album: Album) -> Html:
    entry = section.entries[0]
    cards = [_card(pick, entry, section, album) for pick in picks]
    more = len(cards) - OPEN
    rest = tag("details", tag("summary", f"Show {more} more"), cards[OPEN:], class_="more") if more > 0 else ""
    head = tag("h3", title, " ", tag("small", "of ", quoted(entry.label), " ", PARTIAL if entry.partial else ""))
    return text([head, tag("p", rule if cards else "There are none.", class_="quiet"), cards[:OPEN], rest])


def _card(pick: Pick, entry: Entry, section: Section, album: Album) -> Html:
    row = pick.row
    kept = len(row["top"])
    where = " among its own candidates" if pick.among is None else f" of {pick.among:,}"
    far = "" if pick.rank <= kept else f", not in the first {kept}"
    about = [tag("b", f"rank {pick.rank:,}"), where, far, " ", PARTIAL if entry.partial else ""]
    others = [
        tag("span", quoted(other.name), " ", tag("b", f"{other.tasks[pick.task].ranks[pick.place]:,}"), class_="whole")
        for other in section.entries[1:]
        if pick.task in other.tasks and other.tasks[pick.task].same(entry.tasks[pick.task])
    ]
    named = [quoted(pick.task), " · query ", quoted(row["query"])]
    if row["aspects"]:
        named += [" · ", quoted(", ".join(row["aspects"]))]
    # Of two orders of the captions, the first.
    if (link := album.link(row["reference"], row["text"].partition(" | ")[0])) is not None:
        named += [" · ", tag("a", "search", href=link, rel="noreferrer")]
    asked = [
        _figure(album, row["reference"], "reference", "reference"),
        _figure(album, pick.target, "target", _target_label(row["targets"])),
    ]
    answers = [
        _answer(album, answer, place, score, answer in row["targets"])
        for place, (answer, score) in enumerate(zip(row["top"][:ANSWERS], row["scores"], strict=False), 1)
    ]
    return tag(
        "article",
        tag("p", row["text"] or "no words", class_="words", dir="auto"),
        tag(
            "p",
            tag("span", about),
            tag("span", "elsewhere: ", [[", ", o] if i else o for i, o in enumerate(others)]) if others else "",
            tag("span", named),
            class_="rank",
        ),
        tag("div", tag("div", asked, class_="asked"), tag("ol", answers, class_="answers"), class_="row"),
        class_="query bare" if album.why else "query",
    )


def _target_label(targets: Sequence[str]) -> str:
    return "target" if len(targets) == 1 else f"1 of {len(targets)} targets"


def _figure(album: Album, image_id: str, kind: str, label: str) -> Html:
    return tag("figure", album.show(image_id, kind), tag("figcaption", label), class_=kind)


def _answer(album: Album, image_id: str, place: int, score: float, right: bool) -> Html:
    caption = tag("figcaption", tag("b", place), f" {score:.3f}", tag("em", "right") if right else "")
    picture = album.show(image_id, f"answer {place}, {'right' if right else 'not right'}")
    return tag("li", tag("figure", picture, caption, class_="right" if right else None))
