"""Pictures of one side to vectors, and references with texts to queries, by one method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from composir.datasets.base import Dataset
from composir.loading import pixel_batches
from composir.methods.base import Method, Side


@torch.inference_mode()
def encode(
    method: Method,
    dataset: Dataset,
    ids: Sequence[str],
    side: Side,
    *,
    batch_size: int = 128,
    workers: int | None = None,
) -> Tensor:
    """Encode pictures for one side, in the order of `ids`: (N, T, D) for "gallery", (N, R, C) for "reference".

    Raises:
        DataError: A picture is missing or cannot be read; nothing is silently left out of a gallery.
    """
    method.eval()
    transform = method.transform(side)
    run = method.encode_gallery if side == "gallery" else method.encode_reference
    device = next(method.parameters()).device
    parts = [
        run(transform.normalise(batch.pixels.to(device))).cpu()
        for batch in pixel_batches(dataset.image, ids, transform, batch_size, workers=workers)
    ]
    return torch.cat(parts)


@torch.inference_mode()
def composed(
    method: Method, references: Float[Tensor, "B R C"], texts: Sequence[tuple[str, ...]], **controls: Any
) -> Float[Tensor, "B S D"]:
    """Query vectors; where a query has two texts, the unit vector of the mean of both.

    Args:
        method: Composes.
        references: As `encode_reference` gives them.
        texts: One text, or two, for each; see `Wording.texts`.
        controls: For `compose`.
    """
    vectors = method.compose(references, [both[0] for both in texts], **controls)
    twice = [place for place, both in enumerate(texts) if len(both) > 1]
    if twice:
        second = method.compose(references[twice], [texts[place][1] for place in twice], **controls)
        vectors = vectors.clone()
        vectors[twice] = F.normalize(vectors[twice] + second, dim=-1)
    return vectors
