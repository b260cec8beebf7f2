"""Triplets (reference, text, target) as training batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from composir.config import TrainConfig
from composir.errors import DataError
from composir.features import Features
from composir.methods.base import Method
from composir.training.augment import Moves
from composir.training.batches import ALONE, Batches, Share
from composir.training.pictures import Pictures, Source
from composir.types import Query, Wording

Captions = Literal["shuffle", "and"]


def drawn_text(query: Query, how: Captions, draw: float) -> str:
    """A training query's text.

    One caption is read as it stands. Of two, "shuffle" reads "A and b", "B and a", "A" or "B", each stripped of
    surrounding ".", "?", "," and blanks (Bi-BLIP4CIR, from CLIP4Cir); more are all joined, in a drawn order.

    Args:
        query: With its captions.
        how: "and" reads what evaluation does, "A and b".
        draw: 0 <= draw < 1 decides.
    """
    if how == "and" or len(query.captions) == 1:
        return Wording().texts(query)[0]
    left = [caption.strip(".?, ") for caption in query.captions]
    taken: list[str] = []
    while left:  # the digits of `draw` in a falling base number the orders
        draw *= len(left)
        taken.append(left.pop(int(draw)))
        draw -= int(draw)
    # What is left of `draw` is uniform again; of two it decides whether one is enough.
    chosen = taken[:1] if len(taken) == 2 and draw < 0.5 else taken
    return " and ".join([chosen[0].capitalize(), *chosen[1:]])


class Kept(NamedTuple):
    """Features of texts, and where each lies."""

    features: Features
    row: Mapping[str, int]

    def take(self, texts: Sequence[str]) -> Tensor:
        """Those of some of them, (B, ...)."""
        return self.features.take(torch.tensor([self.row[text] for text in texts]))


class TripletBatches(Batches[Query]):
    """Batches of triplets: text orders, and one target of several, are drawn anew every time.

    A batch is {"ids", "texts", "reversed_texts": B strings each, "weights": (B,), "reference", "target"}; a side is
    uint8 pixels (B, 3, S, S), or (B, ...) features where the method's side is frozen. `reversed_texts` are drawn apart
    from `texts`. Where the method's text side is frozen, "text" and "reversed_text", (B, ...), stand beside them.
    Mirroring, where it is asked for, mirrors both pictures of a triplet.

    Args:
        triplets: The training queries, in the data set's order, with one target or more each.
        references: Their pictures.
        targets: Likewise.
        config: See `Batches`.
        share: See `Batches`.

    Attributes:
        kept: "text" or "reversed_text" -> features of all the texts that batches of this run have there.
    """

    what = "triplets"

    def __init__(
        self,
        triplets: Sequence[Query],
        references: Pictures,
        targets: Pictures,
        config: TrainConfig,
        *,
        share: Share = ALONE,
    ):
        super().__init__(triplets, config, share)
        self.references, self.targets = references, targets
        self.kept: dict[Literal["text", "reversed_text"], Kept] = {}

    def batch(self, chosen: Sequence[int], mine: slice, generator: torch.Generator) -> dict[str, Any]:
        """See the class; `generator` draws texts, reversed texts, targets, then moves of references and targets."""
        c = self.config
        draws = _draws(len(chosen), generator)
        first, second = (Moves.draw(len(chosen), c.shift, c.flip, generator) for _ in range(2))
        second = Moves(second.down, second.right, first.mirrored)
        queries = [self.items[i] for i in chosen[mine]]
        forward, backward, which = draws[:, mine].tolist()
        targets = [query.targets[int(u * len(query.targets))] for query, u in zip(queries, which, strict=True)]
        made = {
            "ids": [query.id for query in queries],
            "texts": [drawn_text(query, c.captions, u) for query, u in zip(queries, forward, strict=True)],
            "reversed_texts": [drawn_text(query, c.captions, u) for query, u in zip(queries, backward, strict=True)],
            "weights": torch.tensor([query.weight for query in queries]),
            "reference": self.references.take([query.reference for query in queries], first.of(mine)),
            "target": self.targets.take(targets, second.of(mine)),
        }
        return made | {side: kept.take(made[f"{side}s"]) for side, kept in self.kept.items()}

    def texts(self, side: Literal["text", "reversed_text"]) -> list[str]:
        """What all epochs read there, each text once, in the order in which they come to it."""
        found: dict[str, None] = {}
        for number in range(self.config.epochs):
            for chosen, generator in self.drawn(number):
                draws = _draws(len(chosen), generator)[0 if side == "text" else 1].tolist()
                found.update(
                    (drawn_text(self.items[i], self.config.captions, u), None)
                    for i, u in zip(chosen, draws, strict=True)
                )
        return list(found)


def triplet_batches(method: Method, triplets: Sequence[Query], source: Source, share: Share = ALONE) -> TripletBatches:
    """Decode or compute what a method on triplets reads of its training data; the method is left in eval mode.

    Raises:
        DataError: A triplet without a target, or a picture that cannot be read and is not to be skipped.
        ComposirError: A batch larger than the data.
    """
    method.eval()
    for query in triplets:
        if not query.targets:
            raise DataError(f"training query {query.id} has no target; train on a split whose truth is public")
    references = [query.reference for query in triplets]
    targets = [target for query in triplets for target in query.targets]
    ways = [
        (method.transform("reference"), method.frozen("reference")),
        (method.transform("gallery"), method.frozen("target")),
    ]
    names = [transform.spec if frozen is None else frozen.key for transform, frozen in ways]
    if names[0] == names[1]:  # each picture once for both
        first = second = source.pictures([*references, *targets], *ways[0])
    else:
        first, second = (source.pictures(ids, *way) for ids, way in zip((references, targets), ways, strict=True))
    whole = [_without(query, first, second) for query in triplets] if first.failed or second.failed else triplets
    kept = [query for query in whole if query is not None]
    made = TripletBatches(kept, first, second, source.config, share=share)
    made.failed.update({**first.failed, **second.failed})
    for side in ("text", "reversed_text"):
        frozen = method.frozen(side)
        if frozen is not None:
            texts = made.texts(side)
            made.kept[side] = Kept(source.texts(texts, frozen), {text: row for row, text in enumerate(texts)})
    return made


def _draws(count: int, generator: torch.Generator) -> Tensor:
    """What decides texts, reversed texts and targets of a batch, (3, count), 0..1."""
    return torch.rand(3, count, generator=generator, dtype=torch.float64)


def _without(query: Query, references: Pictures, targets: Pictures) -> Query | None:
    """The query without targets that cannot be read; None if its reference or all of them cannot."""
    left = tuple(target for target in query.targets if target not in targets.failed)
    if query.reference in references.failed or not left:
        return None
    return replace(query, targets=left)
