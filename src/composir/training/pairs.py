"""Image-caption pairs as training batches."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch

from composir.config import TrainConfig
from composir.features import Features
from composir.methods.base import Method
from composir.training.augment import Moves
from composir.training.batches import ALONE, Batches, Share
from composir.training.pictures import Pictures, Source
from composir.types import Pair


class PairBatches(Batches[Pair]):
    """Batches of pairs, one caption of each drawn anew every time.

    A batch is {"ids": B strings, "texts": B strings, "pixels": uint8 (B, 3, S, S)}; where the method's picture side is
    frozen it has "image", (B, ...), instead of "pixels", and where its text side is, "text", (B, ...), beside "texts".

    Args:
        pairs: The training pairs, in catalogue order.
        pictures: Theirs.
        config: See `Batches`.
        texts: Features of all captions of all pairs, one after the other.
        share: See `Batches`.
    """

    what = "pairs"

    def __init__(
        self,
        pairs: Sequence[Pair],
        pictures: Pictures,
        config: TrainConfig,
        *,
        texts: Features | None = None,
        share: Share = ALONE,
    ):
        super().__init__(pairs, config, share)
        self.pictures, self.texts = pictures, texts
        self._first = list(accumulate((len(pair.captions) for pair in pairs), initial=0)) if texts is not None else []

    def batch(self, chosen: Sequence[int], mine: slice, generator: torch.Generator) -> dict[str, Any]:
        """See the class; `generator` draws captions, then moves."""
        c = self.config
        draws = torch.rand(len(chosen), generator=generator).tolist()[mine]
        moves = Moves.draw(len(chosen), c.shift, c.flip, generator).of(mine)
        pairs = [self.items[i] for i in chosen[mine]]
        places = [int(u * len(pair.captions)) for u, pair in zip(draws, pairs, strict=True)]
        taken = self.pictures.take([pair.image for pair in pairs], moves)
        made: dict[str, Any] = {
            "ids": [pair.id for pair in pairs],
            "texts": [pair.captions[place] for pair, place in zip(pairs, places, strict=True)],
            **({"pixels": taken} if taken.dtype == torch.uint8 else {"image": taken}),
        }
        if self.texts is not None:
            rows = [self._first[i] + place for i, place in zip(chosen[mine], places, strict=True)]
            made["text"] = self.texts.take(torch.tensor(rows))
        return made


def pair_batches(method: Method, pairs: Sequence[Pair], source: Source, share: Share = ALONE) -> PairBatches:
    """Decode or compute what a method on pairs reads of its training data; the method is left in eval mode.

    Raises:
        ComposirError: A picture cannot be read and is not to be skipped, or a batch is larger than the data.
    """
    method.eval()
    pictures = source.pictures([pair.image for pair in pairs], method.transform("gallery"), method.frozen("image"))
    if pictures.failed:
        pairs = [pair for pair in pairs if pair.image not in pictures.failed]
    frozen = method.frozen("text")
    texts = None if frozen is None else source.texts([text for pair in pairs for text in pair.captions], frozen)
    made = PairBatches(pairs, pictures, source.config, texts=texts, share=share)
    made.failed.update(pictures.failed)
    return made
