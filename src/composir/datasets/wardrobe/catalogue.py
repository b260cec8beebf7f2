"""The catalogue of one split: families of six look-alikes, and the queries asked over them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np

from composir.datasets.wardrobe import words
from composir.datasets.wardrobe.garment import (
    ATTRIBUTES,
    EDITABLE,
    Garment,
    differences,
    edited,
    random_garment,
    split_of,
)
from composir.types import Query

FAMILY = 6
# Of 438,341, 52,950 and 53,029 designs (a test marked long counts them): families want free neighbours, and without
# any the drawing of lots never ends.
LARGEST = {"train": 320_000, "val": 40_000, "test": 40_000}
CONCEPT_ATTRIBUTES = ("kind", "color", "pattern", "sleeve", "neck", "length", "logo")
CONCEPT_TARGETS = (2, 14)


def families(split: str, count: int, seed: int) -> list[list[Garment]]:
    """Draw `count` families: one garment and five that differ from it by one or two edits.

    All garments are of the split and no two are equal, so reference and text leave exactly one right target.
    """
    rng = random.Random(f"wardrobe/families/{split}/{seed}")
    seen: set[Garment] = set()
    made = []
    while len(made) < count:
        family = _family(split, seen, rng)
        if family:
            seen.update(family)
            made.append(family)
    return made


def _family(split: str, seen: set[Garment], rng: random.Random) -> list[Garment] | None:
    """One family, or None where the base has too few free neighbours in its split."""
    base = random_garment(rng)
    if split_of(base) != split or base in seen:
        return None
    family = [base]
    for _ in range(1000):
        near: Garment | None = base
        for attribute in rng.sample(EDITABLE, rng.choice((1, 1, 2))):
            near = edited(near, attribute, rng) or near
        if near not in seen and near not in family and split_of(near) == split and differences(base, near):
            family.append(near)
            if len(family) == FAMILY:
                return family
    return None


def name(split: str, family: int, member: int) -> str:
    """The image id of a catalogue garment."""
    return f"{split}-{family:05d}-{member}"


def family_queries(split: str, made: Sequence[Sequence[Garment]], per_family: int, seed: int) -> Iterator[Query]:
    """Triplets within families, one or two edits apart; the family is the subset, as in CIRR."""
    for number, family in enumerate(made):
        rng = random.Random(f"wardrobe/queries/{split}/{seed}/{number}")
        close = [
            (r, t)
            for r in range(FAMILY)
            for t in range(FAMILY)
            if r != t and len(differences(family[r], family[t])) <= 2
        ]
        subset = tuple(name(split, number, m) for m in range(FAMILY))
        for reference, target in rng.sample(close, min(per_family, len(close))):
            yield Query(
                id=f"{split}-{number:05d}-{reference}{target}",
                reference=subset[reference],
                captions=words.edit_texts(family[reference], family[target], rng),
                targets=(subset[target],),
                subset=subset,
            )


def concept_queries(split: str, made: Sequence[Sequence[Garment]], count: int, seed: int) -> list[Query]:
    """CIRCO-like queries: what reference and targets share is named, the text says the rest, several targets fit.

    The targets are all garments of the catalogue that have the shared and the edited attributes, reference excluded.
    """
    rng = random.Random(f"wardrobe/concepts/{split}/{seed}")
    garments = [g for family in made for g in family]
    ids = [name(split, f, m) for f in range(len(made)) for m in range(FAMILY)]
    columns = {a: np.array([getattr(g, a) for g in garments]) for a in ATTRIBUTES}
    queries: list[Query] = []
    for _ in range(200 * count):
        if len(queries) == count:
            break
        row = rng.randrange(len(garments))
        chosen = rng.sample(CONCEPT_ATTRIBUTES, rng.choice((3, 4)))
        shared, changed = chosen[:2], chosen[2:]
        wanted = garments[row]
        for attribute in changed:
            wanted = edited(wanted, attribute, rng) or wanted
        fits = np.ones(len(garments), bool)
        for attribute in chosen:
            fits &= columns[attribute] == getattr(wanted, attribute)
        fits[row] = False
        targets = [ids[i] for i in np.flatnonzero(fits)]
        if not CONCEPT_TARGETS[0] <= len(targets) <= CONCEPT_TARGETS[1]:
            continue
        # A new pattern's accent is not part of the truth, so the text must not name it.
        texts = [_plain_edit(wanted, a) for a in changed]
        queries.append(
            Query(
                id=str(len(queries)),
                reference=ids[row],
                captions=(" and ".join(texts),),
                targets=tuple(targets),
                shared_concept=words.concept(garments[row], shared),
            )
        )
    return queries


def _plain_edit(wanted: Garment, attribute: str) -> str:
    value = getattr(wanted, attribute)
    match attribute:
        case "kind":
            return f"is a {value}"
        case "sleeve":
            return f"has {value} sleeves"
        case "neck":
            return f"has a {value} neck"
        case "logo":
            return "has no logo" if value == "no" else f"has a {value} logo"
        case "length":
            return f"is {value} length" if value == "regular" else f"is {value}"
        case _:
            return f"is {value}"
