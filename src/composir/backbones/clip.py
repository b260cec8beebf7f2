"""CLIP and SigLIP: two towers into one space, on transformers' modules.

Papers: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021;
Zhai et al., "Sigmoid Loss for Language Image Pre-Training", ICCV 2023.
Differs from the papers: nothing in the arithmetic. Differs from transformers' classes: features come out as plain
tensors; CLIP's texts are padded to the longest of the batch only, and pseudo-words may stand among them.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel
from transformers.activations import ACT2FN

from composir.backbones import hub, weights
from composir.backbones.base import Attention, Source, TransformersBackbone, check_kernel
from composir.backbones.catalog import VARIANTS
from composir.backbones.preprocessor import CLIP_MEAN, CLIP_STD, HALF
from composir.backbones.tokenizer import TextTokenizer
from composir.backbones.towers import ClipText, ImageTower, SiglipText
from composir.backbones.transform import Transform
from composir.errors import ComposirError
from composir.plugins import nearest

__all__ = ["VARIANTS", "ClipBackbone"]

CLASSES: dict[str, Any] = {"clip": CLIPModel, "siglip": SiglipModel}
PROCESSORS = {"clip": "CLIPImageProcessor", "siglip": "SiglipImageProcessor"}
BICUBIC = 3
# The random variants learn their few merges from this.
TINY_CORPUS = (
    "the same dress but in red with short sleeves and a round neck",
    "a photo of a black shirt with long sleeves and white buttons",
    "is darker and longer, has a floral print and no sleeves",
    "shows two dogs on the green grass instead of one cat on a blue sofa",
    "make it more formal, less colorful, with a wider skirt and thinner straps",
)


class ClipBackbone(TransformersBackbone):
    """CLIP or SigLIP behind the backbone contract; see `Backbone` for the calls.

    Build one by `from_pretrained`, `from_scratch`, `from_config` or `tiny`.

    Attributes:
        family: "clip" or "siglip".
        logit_bias: SigLIP's learnt bias, or None.
    """

    def __init__(self, model: Any, tokenizer: TextTokenizer, transform: Transform, source: Source):
        super().__init__()
        self.config = model.config
        self.family: str = model.config.model_type
        vision, text = model.config.vision_config, model.config.text_config
        if tokenizer.size > text.vocab_size:
            raise ComposirError(
                f"{source.name}: the tokenizer has {tokenizer.size} tokens, the text tower knows {text.vocab_size}; "
                "take both from one checkpoint"
            )
        if transform.size != vision.image_size:
            raise ComposirError(
                f"{source.name}: preprocessor_config.json makes {transform.size} pixels, the image tower reads "
                f"{vision.image_size}; take both from one checkpoint"
            )
        if self.family == "clip":
            self.image = ImageTower(model.vision_model, model.visual_projection)
            self.text = ClipText(model.text_model, model.text_projection)
        else:
            self.image = ImageTower(model.vision_model)
            self.text = SiglipText(model.text_model)
        self.logit_scale = model.logit_scale
        self.logit_bias = model.logit_bias if self.family == "siglip" else None
        self.dim: int = model.config.projection_dim if self.family == "clip" else text.projection_size
        self.word_dim: int = text.hidden_size
        self.image_size: int = vision.image_size
        self.tokenizer, self.source, self._transform = tokenizer, source, transform

    @classmethod
    def from_pretrained(cls, name: str | Path, revision: str | None = None) -> ClipBackbone:
        """Load a folder or a hub repository; weights become float32, the module is in eval mode.

        Raises:
            ComposirError: Something is missing, pickled, broken or of another kind; the message has the remedy.
        """
        folder = hub.find_folder(str(name), revision or "main")
        family = str(weights.read_json(folder / "config.json").get("model_type"))
        if family not in CLASSES:
            raise ComposirError(f"{folder}: model_type {family!r} is not one of {', '.join(CLASSES)}")
        transform = Transform.from_preprocessor(weights.read_json(folder / "preprocessor_config.json"))
        model = weights.load_model(CLASSES[family], folder)
        context = model.config.text_config.max_position_embeddings
        tokenizer = TextTokenizer.from_folder(folder, context, opens=family == "clip")
        return cls(model, tokenizer, transform, Source(str(name), str(name), revision or "main")).eval()

    @classmethod
    def from_config(
        cls, config: CLIPConfig | SiglipConfig, tokenizer: TextTokenizer, transform: Transform,
        *, seed: int = 0, name: str = "random", attention: Attention = "sdpa",
    ) -> ClipBackbone:  # fmt: skip
        """Random weights of the given architecture, fixed by the seed; the caller's random state stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = CLASSES[config.model_type](config)
        check_kernel(attention)
        model.set_attn_implementation(attention)
        return cls(model, tokenizer, transform, Source(name, name, f"seed-{seed}"))

    @classmethod
    def from_scratch(
        cls, corpus_texts: Sequence[str], *, image_size: int, patch_size: int, image_width: int, image_layers: int,
        image_heads: int, text_width: int, text_layers: int, text_heads: int, dim: int, context: int = 77,
        vocab_size: int = 8192, activation: str = "gelu", attention: Attention = "sdpa", seed: int = 0,
        name: str = "scratch",
    ) -> ClipBackbone:  # fmt: skip
        """A fresh CLIP to be trained, with a tokenizer learnt from the corpus.

        Args:
            corpus_texts: What the tokenizer learns from.
            image_size: Side of the square input, in pixels; a multiple of `patch_size`.
            patch_size: In pixels.
            image_width: Width of the image tower; a multiple of `image_heads`.
            image_layers: Blocks of the image tower.
            image_heads: Attention heads of the image tower.
            text_width: Width of the text tower and of a word; a multiple of `text_heads`.
            text_layers: Blocks of the text tower.
            text_heads: Attention heads of the text tower.
            dim: Width of the joint space.
            context: Longest text in tokens, start and end included.
            vocab_size: Upper bound of the vocabulary, 514 or more.
            activation: As transformers names it: "gelu", or OpenAI's "quick_gelu" (cheaper in compiled
                training).
            attention: Kernel to train with: "sdpa", or "eager", which compiles to faster training on a CPU.
            seed: Fixes the weights; the tokenizer depends on the corpus alone.
            name: Goes into `source`.
        """
        for what, width, heads in (("image", image_width, image_heads), ("text", text_width, text_heads)):
            if width % heads:
                raise ComposirError(f"{what}_width = {width} is not a multiple of {what}_heads = {heads}")
        if activation not in ACT2FN:
            raise nearest(activation, ACT2FN, "activation")
        if image_size % patch_size:
            raise ComposirError(f"image_size = {image_size} is not a multiple of patch_size = {patch_size}")
        tokenizer = TextTokenizer.train_clip(corpus_texts, vocab_size, context)
        config = CLIPConfig(
            text_config={
                **_sizes(text_width, text_layers, text_heads, activation),
                "projection_dim": dim,
                "vocab_size": tokenizer.size,
                "max_position_embeddings": context,
                "bos_token_id": tokenizer.start,
                "eos_token_id": tokenizer.end,
                "pad_token_id": tokenizer.pad,
            },
            vision_config={
                **_sizes(image_width, image_layers, image_heads, activation),
                "projection_dim": dim,
                "image_size": image_size,
                "patch_size": patch_size,
            },
            projection_dim=dim,
        )
        transform = Transform(image_size, "shortest", image_size, BICUBIC, CLIP_MEAN, CLIP_STD)
        return cls.from_config(config, tokenizer, transform, seed=seed, name=name, attention=attention)

    @classmethod
    def tiny(cls, seed: int = 0, family: str = "clip") -> ClipBackbone:
        """A random backbone of a few hundred kilobytes that needs no download; in eval mode."""
        if family == "clip":
            made = cls.from_scratch(
                TINY_CORPUS, image_size=32, patch_size=8, image_width=32, image_layers=3, image_heads=2, text_width=24,
                text_layers=2, text_heads=2, dim=16, vocab_size=640, seed=seed, name="clip-tiny",
            )  # fmt: skip
            return made.eval()
        tokenizer = TextTokenizer.train_clip(TINY_CORPUS, 640, context=64).without_start()
        sizes = _sizes(width=32, layers=3, heads=2, activation="gelu_pytorch_tanh")
        config = SiglipConfig(
            text_config={
                **sizes,
                "vocab_size": tokenizer.size,
                "max_position_embeddings": 64,
                "bos_token_id": None,
                "eos_token_id": tokenizer.end,
                "pad_token_id": tokenizer.pad,
            },
            vision_config={**sizes, "image_size": 32, "patch_size": 8},
        )
        transform = Transform(32, "exact", 32, BICUBIC, HALF, HALF)
        return cls.from_config(config, tokenizer, transform, seed=seed, name="siglip-tiny").eval()

    def embed_image(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Joint-space features of images, not normalised."""
        self._check_pixels(pixels)
        return self.image(pixels)

    def embed_text(
        self, texts: Sequence[str], *, before: str = "", words: Float[Tensor, "B R W"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Joint-space features of texts, not normalised; see `Backbone.embed_text`.

        Raises:
            ComposirError: `words` has the wrong shape, does not fit the context, or the family is SigLIP, which has no
                causal order to put words into.
        """
        if words is not None and self.family == "siglip":
            raise ComposirError("SigLIP takes no pseudo-words; use a CLIP backbone for methods that need them")
        rows, place = self.tokenizer.frame(texts, before, self._count_words(words, texts))
        device = next(self.text.parameters()).device
        if not rows:
            return torch.zeros(0, self.dim, device=device)
        # CLIP reads at the closing token and looks back only: padding behind it changes nothing. SigLIP was trained
        # on full-length padding and sees it.
        length = self.tokenizer.context if self.family == "siglip" else max(map(len, rows))
        pad = self.tokenizer.pad
        ids = torch.tensor([row + [pad] * (length - len(row)) for row in rows], device=device)
        if self.family == "siglip":
            return self.text(ids)
        ends = torch.tensor([len(row) - 1 for row in rows], device=device)
        return self.text(ids, ends, words, place)

    def use_attention(self, kernel: Attention) -> None:
        """Of both towers; see `Backbone.use_attention`."""
        check_kernel(kernel)
        for tower in (cast(Any, self.image).vision_model, cast(Any, self.text).text_model):
            tower.set_attn_implementation(kernel)

    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write config.json, model.safetensors, tokenizer files and preprocessor_config.json.

        Args:
            folder: Made if absent.
            dtype: Storage type, e.g. torch.float16 for half the size; as it is by default. Loading gives float32 again.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {hub_name(key): value for key, value in self.state_dict().items()}
        config = copy.deepcopy(self.config)
        config.architectures = [CLASSES[self.family].__name__]
        weights.save_model(folder, tensors, config, dtype)
        self.tokenizer.save(folder)
        preprocessor = self._transform.to_preprocessor(PROCESSORS[self.family])
        weights.write_json(folder / "preprocessor_config.json", preprocessor)


def hub_name(key: str) -> str:
    """The name transformers gives one of our tensors: the tower's prefix is ours, the rest is theirs."""
    return key.removeprefix("image.").removeprefix("text.")


def _sizes(width: int, layers: int, heads: int, activation: str) -> dict[str, object]:
    """What both towers of both families have, in transformers' spelling; the usual four-fold hidden layer."""
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": activation,
    }
