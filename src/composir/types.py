"""The values that travel between layers: frozen, comparable, free of torch.

Shape legend used all over the house:
B batch, Q queries, N gallery images, T vectors per item, D embedding width, P patches, L text length,
W word width, R rows of an encoded reference, C its width, K cut-off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Join = Literal["and", "both orders", "reversed", "comma and"]


@dataclass(frozen=True, slots=True)
class Query:
    """One composed query as it was annotated: a reference image and a text that says what should differ.

    Attributes:
        id: Unique within its task.
        reference: Image id of the reference.
        captions: The annotators' texts, one or more, in file order.
        targets: Image ids that answer it, the single annotated target first; empty where the truth is hidden.
        subset: Image ids of CIRR's small set (reference included) or of GeneCIS's own gallery, or empty.
        weight: Training weight, 0 or more.
        shared_concept: What reference and targets have in common (CIRCO), or "".
        aspects: Kinds that the query belongs to, by which scores are also told (CIRCO's semantic aspects), or empty.
    """

    id: str
    reference: str
    captions: tuple[str, ...]
    targets: tuple[str, ...] = ()
    subset: tuple[str, ...] = ()
    weight: float = 1.0
    shared_concept: str = ""
    aspects: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """All captions joined by " and ", each stripped of surrounding blanks and closing punctuation."""
        return " and ".join(caption.strip(" .?,") for caption in self.captions)


@dataclass(frozen=True, slots=True)
class Pair:
    """An image and the captions that describe it (image-text pre-training, TAT)."""

    id: str
    image: str
    captions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wording:
    """How a query's captions become what a method reads.

    Attributes:
        join: Of several captions: "and" ("A and b", CLIP4Cir), "both orders" ("a and b" and "b and a", whose composed
            embeddings are averaged, SEARLE), "reversed" ("b and a", Pic2Word), "comma and" ("a, and b", BGE-VL).
        template: Around the joined captions; holds {text}, and {shared_concept} where the data set has one.
    """

    join: Join = "and"
    template: str = "{text}"

    def texts(self, query: Query) -> tuple[str, ...]:
        """What is read: one text, or two for "both orders"; the embeddings of two are averaged and made unit length."""
        first, *rest = captions = [caption.strip(" .?,") for caption in query.captions]
        if not rest:
            joined = [query.captions[0]]
        elif self.join == "both orders":
            joined = [" and ".join(captions), " and ".join(captions[::-1])]
        elif self.join == "reversed":
            joined = [" and ".join(captions[::-1])]
        elif self.join == "comma and":
            joined = [", and ".join(captions)]
        else:
            joined = [" and ".join([first.capitalize(), *rest])]
        filled = {"shared_concept": query.shared_concept}
        return tuple(self.template.format(text=text, **filled) for text in joined)


@dataclass(frozen=True, slots=True)
class Task:
    """One ranking problem with its protocol: FashionIQ has three, CIRR and CIRCO one.

    Attributes:
        name: As printed in tables, e.g. "dress".
        gallery: Image ids to rank, in a fixed order.
        queries: What is asked.
        metrics: Names as metrics.py spells them, e.g. "R@10".
        drop_reference: Whether a query's own reference is taken out of its ranking.
        hidden: True where the targets are not public.
        own_candidates: Whether each query is ranked against its own `subset` alone (GeneCIS); `gallery` is their union.
        wording: How captions become texts.
        gallery_name: Which gallery of several a benchmark has, e.g. "original split" of FashionIQ.
    """

    name: str
    gallery: tuple[str, ...]
    queries: tuple[Query, ...]
    metrics: tuple[str, ...]
    drop_reference: bool
    hidden: bool = False
    own_candidates: bool = False
    wording: Wording = Wording()
    gallery_name: str = ""

    def drops(self, query: Query) -> str | None:
        """The picture that cannot be a target of the query: its reference, where that is taken out of a ranking.

        Within subsets it always is.
        """
        return query.reference if self.drop_reference or query.subset else None


@dataclass(frozen=True, slots=True)
class Item:
    """One gallery image: an opaque id (of its content) and its path relative to the indexed folder, POSIX style."""

    id: str
    path: str


@dataclass(frozen=True, slots=True)
class Hit:
    """One answer of a search. `rank` counts from 1; `score` is higher for better."""

    rank: int
    id: str
    path: str
    score: float
