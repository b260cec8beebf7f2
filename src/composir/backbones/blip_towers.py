"""The towers of BLIP as modules that give plain tensors; their inner names stay transformers' own.

Paper: Li et al., "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and
Generation", ICML 2022.
Differs from transformers: attention runs in torch's fused kernel (transformers' BLIP has none), the final norm is
applied once (its `pooler_output` has it twice), and pseudo-words may stand among the texts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from transformers import BlipTextModel, BlipVisionModel

from composir.backbones.base import Attention
from composir.backbones.towers import grown
from composir.errors import ComposirError


def attend(
    query: Float[Tensor, "B H L C"],
    key: Float[Tensor, "B H K C"],
    value: Float[Tensor, "B H K C"],
    mask: Bool[Tensor, "B 1 1 K"] | None,
    kernel: Attention,
) -> Float[Tensor, "B L HC"]:
    """Scaled dot-product attention over H heads, joined again; `mask` is true where a key may be seen."""
    if kernel == "sdpa":
        seen = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    else:
        scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        seen = scores.softmax(dim=-1).to(value.dtype) @ value
    return seen.transpose(1, 2).flatten(2)


class ImageAttention(nn.Module):
    """Stands in for transformers' BlipAttention, with its tensors."""

    def __init__(self, given: Any, kernel: Attention):
        super().__init__()
        self.qkv, self.projection = given.qkv, given.projection
        self.heads: int = given.num_heads
        self.kernel: Attention = kernel

    def forward(self, hidden_states: Float[Tensor, "B L V"], **_: object) -> tuple[Float[Tensor, "B L V"], None]:
        """(attended rows, no weights)."""
        query, key, value = self.qkv(hidden_states).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return self.projection(attend(query, key, value, None, self.kernel)), None


class TextAttention(nn.Module):
    """Stands in for transformers' BlipTextSelfAttention, with its tensors: to the text itself or to an image."""

    def __init__(self, given: Any, kernel: Attention):
        super().__init__()
        self.query, self.key, self.value = given.query, given.key, given.value
        self.heads: int = given.num_attention_heads
        self.kernel: Attention = kernel

    def forward(
        self,
        hidden_states: Float[Tensor, "B L W"],
        attention_mask: Bool[Tensor, "B 1 1 L"] | None = None,
        encoder_hidden_states: Float[Tensor, "B P V"] | None = None,
        **_: object,
    ) -> tuple[Float[Tensor, "B L W"], None]:
        """(attended rows, no weights); image rows are never padding, so they need no mask."""
        across = encoder_hidden_states is not None
        read = encoder_hidden_states if across else hidden_states
        query, key, value = (
            rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for rows in (self.query(hidden_states), self.key(read), self.value(read))
        )
        return attend(query, key, value, None if across else attention_mask, self.kernel), None


class BlipImage(nn.Module):
    """BLIP's vision transformer and its projection into the joint space."""

    def __init__(self, vision_model: BlipVisionModel, vision_proj: nn.Linear, kernel: Attention):
        super().__init__()
        self.vision_model = vision_model
        self.vision_proj = vision_proj
        for block in vision_model.encoder.layers:
            block.self_attn = ImageAttention(block.self_attn, kernel)

    def forward(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T V"]:
        """All rows after the final norm, T = 1 + patches, the class token first."""
        return self.vision_model.post_layernorm(self._hidden(pixels, len(self.vision_model.encoder.layers)))

    def project(self, tokens: Float[Tensor, "B T V"]) -> Float[Tensor, "B D"]:
        """Joint-space feature of each image, not normalised: its class token, projected."""
        return self.vision_proj(tokens[:, 0])

    def blocks(self, pixels: Float[Tensor, "B 3 H W"], layer: int) -> Float[Tensor, "B P V"]:
        """Patch rows after `layer` blocks (negative counts from the last: -1 is all of them)."""
        layers = len(self.vision_model.encoder.layers)
        count = layer if layer >= 0 else layers + 1 + layer
        if not 0 <= count <= layers:
            raise ComposirError(f"layer {layer} does not exist; {-layers - 1} to {layers} are allowed")
        return self._hidden(pixels, count)[:, 1:]

    def _hidden(self, pixels: Float[Tensor, "B 3 H W"], count: int) -> Float[Tensor, "B T V"]:
        hidden: Tensor = self.vision_model.embeddings(pixels)
        for block in self.vision_model.encoder.layers[:count]:
            hidden = block(hidden)
        return hidden


class BlipText(nn.Module):
    """BLIP's BERT, read in two ways: alone (text mode) and looking at an image (matching mode)."""

    def __init__(self, text_encoder: BlipTextModel, text_proj: nn.Linear, itm_head: nn.Linear, kernel: Attention):
        super().__init__()
        self.text_encoder = text_encoder
        self.text_proj = text_proj
        self.itm_head = itm_head
        for layer in cast(Any, text_encoder.encoder.layer):
            for attention in (layer.attention, layer.crossattention):
                attention.self = TextAttention(attention.self, kernel)

    @property
    def words(self) -> nn.Embedding:
        """The table of word embeddings, (vocabulary, W)."""
        return cast("nn.Embedding", self.text_encoder.embeddings.word_embeddings)

    def grow(self, ids: Sequence[int]) -> None:
        """Give the word table rows for new ids; see `grown`."""
        self.text_encoder.embeddings.word_embeddings = grown(self.words, ids)

    def project(self, hidden: Float[Tensor, "B L W"]) -> Float[Tensor, "B D"]:
        """Joint-space feature of each text, not normalised: its first row, projected."""
        return self.text_proj(hidden[:, 0])

    def match(self, hidden: Float[Tensor, "B L W"]) -> Float[Tensor, "B 2"]:
        """Logits [no, yes] of rows that have looked at an image."""
        return self.itm_head(hidden[:, 0])

    def forward(
        self,
        ids: Int[Tensor, "B L"],
        lengths: Int[Tensor, " B"],
        words: Float[Tensor, "B R W"] | None = None,
        place: int = 1,
        image: Float[Tensor, "B T V"] | None = None,
    ) -> Float[Tensor, "B M W"]:
        """Rows after the last layer, M = L + R.

        Args:
            ids: Padded on the right.
            lengths: Tokens of each text that are none of the padding.
            words: Put in front of `ids[:, place]`.
            place: See `words`.
            image: Rows of the image each text looks at; none in text mode, where cross-attention is left out.
        """
        hidden = self.words(ids)
        if words is not None:
            hidden = torch.cat([hidden[:, :place], words.to(hidden), hidden[:, place:]], dim=1)
            lengths = lengths + words.shape[1]
        mask = torch.arange(hidden.shape[1], device=ids.device) < lengths[:, None]
        # transformers adds the positions in place: never hand it the caller's own rows (here they are copied by `cat`).
        hidden = self.text_encoder.embeddings(inputs_embeds=hidden)
        for layer in self.text_encoder.encoder.layer:
            hidden = layer(hidden, image, attention_mask=mask[:, None, None])
        return hidden
