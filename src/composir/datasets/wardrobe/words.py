"""The words of Wardrobe: captions of one garment, and the texts that lead from one garment to another.

Edit texts follow FashionIQ's wording ("is red and has longer sleeves"); two are written for each pair.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from composir.datasets.wardrobe.garment import Garment, differences

NOUNS = {
    "striped": "stripes",
    "pinstriped": "pinstripes",
    "dotted": "dots",
    "checked": "checks",
    "color-blocked": "lower half",
}
ADJECTIVES = {"dotted": ("dotted", "polka dot"), "checked": ("checked", "plaid")}


def second_color(garment: Garment) -> str:
    """The accent in words: "white stripes", "a white lower half"."""
    article = "a " if garment.pattern == "color-blocked" else ""
    return f"{article}{garment.accent} {NOUNS[garment.pattern]}"


def _details(garment: Garment, rng: random.Random) -> dict[str, str]:
    """One phrase for each attribute that is told after "with"."""
    logos = (f"a {garment.logo} logo", f"a {garment.logo} on it")
    details = {
        "sleeve": f"{garment.sleeve} sleeves",
        "neck": rng.choice((f"a {garment.neck} neck", f"a {garment.neck} neckline")),
        "logo": "no logo" if garment.logo == "no" else rng.choice(logos),
    }
    if garment.pattern != "plain":
        details["accent"] = second_color(garment)
    return details


def _listed(parts: Sequence[str]) -> str:
    """The parts as in "a, b and c"."""
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def caption(garment: Garment, rng: random.Random, keep: float = 1.0) -> str:
    """Describe a garment.

    Args:
        garment: What to describe.
        rng: Chooses the wording, the order and what is left out.
        keep: Probability of telling each attribute, 0..1; at 1 the caption is full: it fits no other garment.
    """
    told = {a: keep >= 1 or rng.random() < keep for a in ("kind", "color", "pattern", "length")}
    if not any(told.values()):
        told["color"] = True  # "a garment" alone would caption every picture
    pattern = rng.choice(ADJECTIVES.get(garment.pattern, (garment.pattern,)))
    length = f"{garment.length} length" if garment.length == "regular" else garment.length
    adjectives = [w for a, w in (("length", length), ("color", garment.color), ("pattern", pattern)) if told[a]]
    noun = garment.kind if told["kind"] else rng.choice(("garment", "piece", "item"))
    details = [w for w in _details(garment, rng).values() if keep >= 1 or rng.random() < keep]
    rng.shuffle(details)
    if sum(told.values()) == 1 and told["color"] and rng.random() < 0.5:
        return f"{garment.color}, {_listed(details)}" if details else garment.color
    head = " ".join([*adjectives, noun])
    article = rng.choice(("a ", "a ", "this is a ", ""))
    return f"{article}{head}" + (f" with {_listed(details)}" if details else "")


def _edit_options(before: Garment, after: Garment, attribute: str) -> tuple[str, ...]:  # noqa: PLR0911  (a table)
    """All wordings of one edit; each fixes the new value given the old one."""
    old, new = getattr(before, attribute), getattr(after, attribute)
    match attribute:
        case "kind":
            return (f"is a {new}", f"is a {new} instead of a {old}", f"is a {new} and not a {old}")
        case "color":
            return (f"is {new}", f"is {new} instead of {old}", f"is {new} in color", f"has a {new} color")
        case "pattern" if new == "plain":
            return ("is plain", "has no pattern", "is a solid color")
        case "pattern" if old == "plain":
            accent = second_color(after)
            return (f"is {new} with {after.accent}", f"has {accent}", f"is {new} and has {accent}")
        case "pattern":
            adjectives = ADJECTIVES.get(new, (new,))
            return (*(f"is {a}" for a in adjectives), f"is {new} instead of {old}", f"has a {new} pattern")
        case "accent":
            return (f"has {second_color(after)}", f"has {second_color(after)} instead of {old}")
        case "sleeve" if new == "no":
            return ("has no sleeves", "is sleeveless")
        case "sleeve":
            comparative = {("short", "long"): ("has longer sleeves",), ("long", "short"): ("has shorter sleeves",)}
            return (f"has {new} sleeves", f"is {new} sleeved", *comparative.get((old, new), ()))
        case "neck":
            return (f"has a {new} neck", f"has a {new} neckline", f"has a {new} neck instead of a {old} one")
        case "length":
            # "longer" and "shorter" are said only from the middle, where they leave one value.
            comparative = {("regular", "long"): ("is longer",), ("regular", "short"): ("is shorter",)}
            plainly = "is regular length" if new == "regular" else f"is {new}"
            return (plainly, *comparative.get((old, new), ()))
        case _:
            if new == "no":
                return ("has no logo", f"has no {old} on it")
            swap = () if old == "no" else (f"has a {new} instead of a {old}",)
            return (f"has a {new} logo", f"has a {new} on it", *swap)


def _shuffled_edits(before: Garment, after: Garment, rng: random.Random) -> list[str]:
    edits = list(differences(before, after))
    if not edits:
        raise ValueError(f"the two garments are equal, so there is nothing to tell: {before}")
    rng.shuffle(edits)
    return edits


def edit_text(before: Garment, after: Garment, rng: random.Random) -> str:
    """One text for a pair that tells every edit once, for data sets with a single text a pair.

    Raises:
        ValueError: The garments are equal.
    """
    edits = _shuffled_edits(before, after, rng)
    return " and ".join(rng.choice(_edit_options(before, after, attribute)) for attribute in edits)


def edit_texts(before: Garment, after: Garment, rng: random.Random) -> tuple[str, str]:
    """Two annotators' texts for one pair; together they tell every edit, each alone may tell only one of two.

    Raises:
        ValueError: The garments are equal.
    """
    edits = _shuffled_edits(before, after, rng)
    first = [rng.choice(_edit_options(before, after, a)) for a in edits]
    second = []
    for attribute, said in zip(edits, first, strict=True):
        others = [w for w in _edit_options(before, after, attribute) if w != said]
        second.append(rng.choice(others or [said]))
    if len(edits) == 1:
        return first[0], second[0]
    layout = rng.choice(("one each", "both then one", "one then both"))
    if layout == "one each":
        return first[0], " and ".join(second[1:])
    both = " and ".join(first)
    return (both, second[-1]) if layout == "both then one" else (second[-1], both)


def concept(garment: Garment, attributes: Sequence[str]) -> str:
    """The shared concept of a CIRCO-like query, e.g. "a striped dress"; `attributes` may name all but the accent."""
    adjectives = [getattr(garment, a) for a in ("length", "color", "pattern") if a in attributes]
    noun = garment.kind if "kind" in attributes else "garment"
    details = []
    if "sleeve" in attributes:
        details.append(f"{garment.sleeve} sleeves")
    if "neck" in attributes:
        details.append(f"a {garment.neck} neck")
    if "logo" in attributes:
        details.append("no logo" if garment.logo == "no" else f"a {garment.logo} logo")
    return "a " + " ".join([*adjectives, noun]) + (f" with {_listed(details)}" if details else "")
