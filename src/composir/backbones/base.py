"""What every backbone offers: an image tower and a text tower into one joint space."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, cast, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from composir.backbones.tokenizer import TextTokenizer
from composir.backbones.transform import Transform
from composir.errors import ComposirError
from composir.plugins import nearest

Attention = Literal["sdpa", "eager"]


def check_kernel(kernel: str) -> None:
    """Raise a ComposirError that names the kernels unless `kernel` is one."""
    if kernel not in get_args(Attention):
        raise nearest(kernel, get_args(Attention), "attention kernel")


@dataclass(frozen=True, slots=True)
class Source:
    """Where a backbone's weights came from: a hub repository or folder name, and its pinned revision."""

    name: str
    repo: str
    revision: str


class Backbone(nn.Module):
    """An image tower and a text tower.

    Features are projected into the joint space and **not** normalised: methods decide (Bi-BLIP4CIR sums raw ones).

    Attributes:
        image: The image tower, projection included; all its tensors are named `image.*`.
        text: The text tower, projection included; `text.*`.
        dim: D, width of the joint space.
        word_dim: W, width of one word embedding.
        image_size: Side of the square input, in pixels.
        source: Where the weights came from.
        logit_scale: ln of the learnt inverse temperature, or None.
    """

    image: nn.Module
    text: nn.Module
    dim: int
    word_dim: int
    image_size: int
    source: Source
    logit_scale: nn.Parameter | None

    @abstractmethod
    def transform(self, train: bool = False) -> Transform:
        """The picture -> pixels map of this checkpoint; `train` adds the light augmentation."""

    @abstractmethod
    def embed_image(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Joint-space features of images, not normalised."""

    @abstractmethod
    def patches(self, pixels: Float[Tensor, "B 3 H W"], layer: int = -1) -> Float[Tensor, "B P V"]:
        """Patch features (no class token) after a layer; -1 is the last block, -2 the one before it."""

    @abstractmethod
    def embed_text(
        self, texts: Sequence[str], *, before: str = "", words: Float[Tensor, "B R W"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Joint-space features of texts, not normalised. The sequence read is `before`, then `words`, then the text.

        Args:
            texts: B texts; one longer than the tower's limit is cut at the end, the closing token kept.
            before: A text put in front of each (direction tokens, "a photo of").
            words: Pseudo-word embeddings put between `before` and each text.
        """

    def add_words(self, words: Sequence[str]) -> None:
        """Make each word one token of its own, e.g. "[FORWARD]"; words that are tokens already stay as they are.

        The embedding of a new one is the mean of the old ones. It is trained with the word table and saved with it.

        Raises:
            ComposirError: A word is empty or has a space at an end, or the backbone takes no new words.
        """
        raise ComposirError(f"backbone {self.source.name!r} takes no new words, {', '.join(map(repr, words))}")

    def use_attention(self, kernel: Attention) -> None:
        """Compute attention by another kernel from now on; features stay the same but for rounding.

        Raises:
            ComposirError: No such kernel, or the backbone has one alone.
        """
        raise ComposirError(
            f"backbone {self.source.name!r} has one attention kernel alone; {kernel!r} cannot be chosen"
        )

    def unread(self, text: str, before: str = "") -> str:  # noqa: ARG002  (for who overrides it)
        """The end of a text, behind `before`, that is too long for the text tower and cut; "" where all is read."""
        return ""

    def vocabulary(self) -> Mapping[int, str]:
        """What each id of the text tower stands for, words that were added included; {} where that is not told."""
        return {}

    def reading(self) -> str:
        """What, beside the tensors of `text`, a text's feature depends on: how words become ids; "" if not told."""
        return ""

    @abstractmethod
    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write the folder that `from_pretrained` of this class and of transformers both read.

        Args:
            folder: Made if absent.
            dtype: Storage type of the weights; as they are by default. They load as float32 whatever it was.
        """


class _ImageTower(Protocol):
    def blocks(self, pixels: Tensor, layer: int) -> Tensor: ...


class _TextTower(Protocol):
    @property
    def words(self) -> nn.Embedding: ...

    def grow(self, ids: Sequence[int]) -> None: ...


class TransformersBackbone(Backbone):
    """What CLIP, SigLIP and BLIP over transformers' modules have in common.

    Attributes:
        config: As transformers writes it.
        tokenizer: From texts to ids.
    """

    config: Any
    tokenizer: TextTokenizer
    _transform: Transform

    def transform(self, train: bool = False) -> Transform:
        """The checkpoint's own map; `train` looks at a random window of 80 to 100 % of the area first.

        No mirroring: texts say "on the left".
        """
        return self._transform.augmented(0.8) if train else self._transform

    def patches(self, pixels: Float[Tensor, "B 3 H W"], layer: int = -1) -> Float[Tensor, "B P V"]:
        """Patch features (no class token), row by row, as a block leaves them: no final norm, no projection.

        Args:
            pixels: Normalised images.
            layer: As in transformers' hidden_states: 0 is the input of the first block, i the output of block i,
                -1 that of the last one, -2 that of the one before.
        """
        self._check_pixels(pixels)
        return cast("_ImageTower", self.image).blocks(pixels, layer)

    def add_words(self, words: Sequence[str]) -> None:
        """Make each word one token of its own; see `Backbone.add_words`."""
        text = cast("_TextTower", self.text)
        text.grow(self.tokenizer.add_words(words))
        self.config.text_config.vocab_size = text.words.num_embeddings

    def unread(self, text: str, before: str = "") -> str:
        """Told by the tokenizer."""
        return self.tokenizer.unread(text, before)

    def vocabulary(self) -> Mapping[int, str]:
        """Of the tokenizer, by id."""
        return {index: token for token, index in self.tokenizer.core.get_vocab().items()}

    def reading(self) -> str:
        """Of the tokenizer."""
        return self.tokenizer.spec

    def _check_pixels(self, pixels: Tensor) -> None:
        wanted = (3, self.image_size, self.image_size)
        if pixels.ndim != 4 or tuple(pixels.shape[1:]) != wanted:
            raise ComposirError(
                f"images have shape {tuple(pixels.shape)}; (B, {', '.join(map(str, wanted))}) is needed, "
                "as `transform()` of this backbone makes them"
            )

    def _count_words(self, words: Tensor | None, texts: Sequence[str]) -> int:
        """How many pseudo-words stand in each text; their shape is checked."""
        if words is None:
            return 0
        if words.ndim != 3 or words.shape[0] != len(texts) or words.shape[2] != self.word_dim:
            wanted = f"({len(texts)} texts, any number, {self.word_dim})"
            raise ComposirError(f"words have shape {tuple(words.shape)}; {wanted} is needed")
        return words.shape[1]
