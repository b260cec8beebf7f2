"""The values that travel between layers: frozen, comparable, free of torch.

Shape legend used all over the house:
B batch, Q queries, N gallery images, T vectors per item, D embedding width, P patches, L text length,
W word width, R rows of an encoded reference, C its width, K cut-off.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """One composed query as it was annotated: a reference image and a text that says what should differ.

    Attributes:
        id: Unique within its task.
        reference: Image id of the reference.
        captions: The annotators' texts, one or more, in file order.
        targets: Image ids that answer it, the single annotated target first; empty where the truth is hidden.
        subset: Image ids of CIRR's small set (reference included), or empty.
        weight: Training weight, 0 or more.
        shared_concept: What reference and targets have in common (CIRCO), or "".
        aspects: CIRCO's semantic aspects, or empty.
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
class Task:
    """One ranking problem with its protocol: FashionIQ has three, CIRR and CIRCO one.

    Attributes:
        name: As printed in tables, e.g. "dress".
        gallery: Image ids to rank, in a fixed order.
        queries: What is asked.
        metrics: Names as metrics.py spells them, e.g. "R@10".
        drop_reference: Whether a query's own reference is taken out of its ranking.
        hidden: True where the targets are not public.
    """

    name: str
    gallery: tuple[str, ...]
    queries: tuple[Query, ...]
    metrics: tuple[str, ...]
    drop_reference: bool
    hidden: bool = False


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
