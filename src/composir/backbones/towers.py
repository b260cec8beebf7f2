"""The towers of CLIP and SigLIP as modules that give plain tensors; their inner names stay transformers' own.

Differs from transformers: CLIP's text tower reads its feature at the place of the closing token it is told, so that
pseudo-words (embeddings without an id) may stand in the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPVisionModel, SiglipTextModel, SiglipVisionModel
from transformers.masking_utils import create_causal_mask

from composir.errors import ComposirError


class ImageTower(nn.Module):
    """A vision transformer and, for CLIP, its projection."""

    def __init__(self, vision_model: CLIPVisionModel | SiglipVisionModel, visual_projection: nn.Linear | None = None):
        super().__init__()
        self.vision_model = vision_model
        self.visual_projection = visual_projection

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Projected feature of each image, not normalised."""
        pooled = self.vision_model(pixel_values=pixels).pooler_output
        return pooled if self.visual_projection is None else self.visual_projection(pooled)

    def blocks(self, pixels: Float[Tensor, "B 3 H W"], layer: int) -> Float[Tensor, "B P V"]:
        """Patch rows after `layer` blocks (negative counts from the last: -1 is all of them)."""
        layers = self.vision_model.encoder.layers
        count = layer if layer >= 0 else len(layers) + 1 + layer
        if not 0 <= count <= len(layers):
            raise ComposirError(f"layer {layer} does not exist; {-len(layers) - 1} to {len(layers)} are allowed")
        model = self.vision_model
        hidden: Tensor = model.embeddings(pixels)
        if isinstance(model, CLIPVisionModel):
            hidden = model.pre_layrnorm(hidden)
        for block in layers[:count]:
            hidden = block(hidden, None)
        return hidden[:, 1:] if isinstance(model, CLIPVisionModel) else hidden  # only CLIP has a class token


class ClipText(nn.Module):
    """CLIP's causal text transformer and its projection."""

    def __init__(self, text_model: CLIPTextModel, text_projection: nn.Linear):
        super().__init__()
        self.text_model = text_model
        self.text_projection = text_projection

    @property
    def words(self) -> nn.Embedding:
        """The table of word embeddings, (vocabulary, W)."""
        return self.text_model.embeddings.token_embedding

    def grow(self, ids: Sequence[int]) -> None:
        """Give the word table rows for new ids; see `grown`."""
        self.text_model.embeddings.token_embedding = grown(self.words, ids)

    def forward(
        self, ids: Int[Tensor, "B L"], ends: Int[Tensor, " B"], words: Float[Tensor, "B R W"] | None, place: int
    ) -> Float[Tensor, "B D"]:
        """Projected feature at the closing token, not normalised.

        Args:
            ids: Padded on the right; what stands behind the closing token cannot be seen from it.
            ends: Place of the closing token in `ids`.
            words: Put in front of `ids[:, place]`; the closing token moves on by R.
            place: See `words`.
        """
        model = self.text_model
        hidden = self.words(ids)
        if words is not None:
            hidden = torch.cat([hidden[:, :place], words.to(hidden), hidden[:, place:]], dim=1)
            ends = ends + words.shape[1]
        hidden = model.embeddings(inputs_embeds=hidden)
        mask = create_causal_mask(config=model.config, inputs_embeds=hidden, attention_mask=None, cache=None)
        hidden = model.encoder(inputs_embeds=hidden, attention_mask=mask, is_causal=True).last_hidden_state
        rows = torch.arange(len(hidden), device=hidden.device)
        return self.text_projection(model.final_layer_norm(hidden[rows, ends]))


class SiglipText(nn.Module):
    """SigLIP's text transformer: every place sees every other, padding included, and the last place is read."""

    def __init__(self, text_model: SiglipTextModel):
        super().__init__()
        self.text_model = text_model

    @property
    def words(self) -> nn.Embedding:
        """The table of word embeddings, (vocabulary, W)."""
        return self.text_model.embeddings.token_embedding

    def grow(self, ids: Sequence[int]) -> None:
        """Give the word table rows for new ids; see `grown`."""
        self.text_model.embeddings.token_embedding = grown(self.words, ids)

    def forward(self, ids: Int[Tensor, "B L"]) -> Float[Tensor, "B D"]:
        """Projected feature, not normalised; `ids` are padded to the tower's full length, as it was trained."""
        return self.text_model(input_ids=ids).pooler_output


def grown(table: nn.Embedding, ids: Sequence[int]) -> nn.Embedding:
    """The table with rows for new ids, as far as it lacks them; each of these rows is the mean of the old ones."""
    rows, width = table.weight.shape
    old = table.weight.detach()
    more = max(0, max(ids, default=-1) + 1 - rows)
    weight = torch.cat([old, old.new_zeros(more, width)])
    weight[list(ids)] = old.mean(dim=0)
    made = nn.Embedding(rows + more, width, padding_idx=table.padding_idx, _weight=weight)
    made.weight.requires_grad_(table.weight.requires_grad)
    return made
