"""Read Wardrobe's texts back into attribute values: an independent grammar, written from the texts, not from words.py.

The tests use it to show that texts are true and leave one right answer.
"""

from __future__ import annotations

import re
from dataclasses import replace

from composir.datasets.wardrobe.garment import ATTRIBUTES, Garment

KIND, COLOR, NECK = ("|".join(ATTRIBUTES[a]) for a in ("kind", "color", "neck"))
LOGO = "star|heart|circle|square"
PATTERNS = {
    "striped": "striped", "pinstriped": "pinstriped", "dotted": "dotted", "polka dot": "dotted", "checked": "checked",
    "plaid": "checked", "color-blocked": "color-blocked", "stripes": "striped", "pinstripes": "pinstriped",
    "dots": "dotted", "checks": "checked", "lower half": "color-blocked",
}  # fmt: skip
PATTERN = "striped|pinstriped|dotted|polka dot|checked|plaid|color-blocked"
NOUN = "stripes|pinstripes|dots|checks|lower half"

ABSOLUTE = [
    rf"is an? (?P<kind>{KIND})(?: instead of an? (?P<was_kind>{KIND}))?",
    rf"not an? (?P<was_kind>{KIND})",  # the rest of "is a shirt and not a polo"
    rf"is (?P<color>{COLOR})(?: instead of (?P<was_color>{COLOR})| in color)?",
    rf"has an? (?P<color>{COLOR}) color",
    rf"is (?P<pattern>{PATTERN})(?: with (?P<accent>{COLOR})| instead of (?P<was_pattern>{PATTERN}))?",
    rf"has an? (?P<pattern>{PATTERN}) pattern",
    rf"has (?:an? )?(?P<accent>{COLOR}) (?P<pattern>{NOUN})(?: instead of (?P<was_accent>{COLOR}))?",
    r"has (?P<sleeve>no|short|long) sleeves",
    r"is (?P<sleeve>short|long) sleeved",
    rf"has an? (?P<neck>{NECK}) neck(?:line)?(?: instead of an? (?P<was_neck>{NECK}) one)?",
    r"is (?P<length>short|long)",
    r"is (?P<length>regular) length",
    r"has (?P<logo>no) logo",
    rf"has an? (?P<logo>{LOGO}) (?:logo|on it)",
    rf"has an? (?P<logo>{LOGO}) instead of an? (?P<was_logo>{LOGO})",
]
FIXED = {
    "is plain": {"pattern": "plain", "accent": "none"},
    "has no pattern": {"pattern": "plain", "accent": "none"},
    "is a solid color": {"pattern": "plain", "accent": "none"},
    "is sleeveless": {"sleeve": "no"},
}
RELATIVE = {
    "has longer sleeves": ("sleeve", {"short": "long"}),
    "has shorter sleeves": ("sleeve", {"long": "short"}),
    "is longer": ("length", {"regular": "long"}),
    "is shorter": ("length", {"regular": "short"}),
}


def read_phrase(phrase: str, reference: Garment) -> dict[str, str]:
    """The values that one phrase names; what it says of the reference ("instead of a polo") must be true."""
    found: list[dict[str, str]] = []
    if phrase in FIXED:
        found.append(FIXED[phrase])
    if phrase in RELATIVE:
        attribute, steps = RELATIVE[phrase]
        found.append({attribute: steps[getattr(reference, attribute)]})
    if match := re.fullmatch(rf"has no (?P<was_logo>{LOGO}) on it", phrase):
        assert match["was_logo"] == reference.logo, phrase
        found.append({"logo": "no"})
    for rule in ABSOLUTE:
        if match := re.fullmatch(rule, phrase):
            values = {a: PATTERNS.get(v, v) for a, v in match.groupdict().items() if v}
            was = {a.removeprefix("was_"): v for a, v in values.items() if a.startswith("was_")}
            assert all(getattr(reference, a) == v for a, v in was.items()), (phrase, reference)
            found.append({a: v for a, v in values.items() if not a.startswith("was_")})
    assert len(found) == 1, f"{phrase!r} can be read in {len(found)} ways"
    return found[0]


def read_edits(texts: tuple[str, ...] | list[str], reference: Garment) -> dict[str, str]:
    """The values that edit texts name together; they must not contradict each other."""
    values: dict[str, str] = {}
    for text in texts:
        for phrase in text.split(" and "):
            for attribute, value in read_phrase(phrase, reference).items():
                assert values.setdefault(attribute, value) == value, f"{texts} say two things of {attribute}"
    return values


def edited_by(texts: tuple[str, ...] | list[str], reference: Garment) -> Garment:
    """The one garment that is the reference but for what the texts say."""
    return replace(reference, **read_edits(texts, reference))


DETAILS = [
    r"(?P<sleeve>no|short|long) sleeves",
    rf"an? (?P<neck>{NECK}) neck(?:line)?",
    r"(?P<logo>no) logo",
    rf"an? (?P<logo>{LOGO}) (?:logo|on it)",
    rf"(?:an? )?(?P<accent>{COLOR}) (?P<pattern>{NOUN})",
]
HEAD = (
    rf"(?:this is an? |an? )?(?:(?P<length>short|long|regular)(?: length)? ?\b)?(?:(?P<color>{COLOR}) ?\b)?"
    rf"(?:(?P<pattern>plain|{PATTERN}) ?\b)?(?:(?P<kind>{KIND})|garment|piece|item|)"
)


def read_caption(caption: str) -> dict[str, str]:
    """The values that a caption or a shared concept names."""
    head, _, rest = caption.partition(" with ")
    if not rest:
        head, _, rest = caption.partition(", ")
    match = re.fullmatch(HEAD, head)
    assert match, caption
    values = {a: PATTERNS.get(v, v) for a, v in match.groupdict().items() if v}
    for detail in re.split(r", | and ", rest) if rest else ():
        told = [m.groupdict() for rule in DETAILS if (m := re.fullmatch(rule, detail))]
        assert len(told) == 1, f"{detail!r} of {caption!r} can be read in {len(told)} ways"
        for attribute, value in told[0].items():
            value = PATTERNS.get(value, value)
            assert values.setdefault(attribute, value) == value, caption
    return values


def fits(garment: Garment, values: dict[str, str]) -> bool:
    """Whether a garment has all of these values."""
    return all(getattr(garment, attribute) == value for attribute, value in values.items())
