"""BLIP: an image tower, and one BERT that reads texts alone or looking at an image.

Paper: Li et al., "BLIP: Bootstrapping Language-Image Pre-training for Unified Vision-Language Understanding and
Generation", ICML 2022; transformers' `BlipForImageTextRetrieval` is where the tensors come from.
Differs from the paper: no captioning decoder, no momentum copies, no queues: retrieval needs none of them. The learnt
temperature is kept as ln of its inverse (0.07 where a checkpoint does not say). Differs from transformers' class: the
matching mode opens with [ENC], as the original does; texts are padded to the longest of the batch only.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from transformers import BlipConfig, BlipForImageTextRetrieval
from transformers.activations import ACT2FN

from composir.backbones import hub, weights
from composir.backbones.base import Attention, Source, TransformersBackbone, check_kernel
from composir.backbones.blip_towers import BlipImage, BlipText, ImageAttention, TextAttention
from composir.backbones.clip import BICUBIC, TINY_CORPUS, hub_name
from composir.backbones.preprocessor import CLIP_MEAN, CLIP_STD
from composir.backbones.tokenizer import DEC, ENC, TextTokenizer
from composir.backbones.transform import Transform
from composir.errors import ComposirError
from composir.plugins import nearest

CONTEXT = 77


class BlipBackbone(TransformersBackbone):
    """BLIP behind the backbone contract; see `Backbone` for the calls.

    Build one by `from_pretrained`, `from_scratch`, `from_config` or `tiny`.

    Attributes:
        itm_enc_token: Whether the matching mode opens with [ENC] (as BLIP was trained) or [CLS] (as transformers does).
    """

    def __init__(
        self, model: Any, tokenizer: TextTokenizer, transform: Transform, source: Source,
        *, itm_enc_token: bool = True, attention: Attention = "sdpa",
    ):  # fmt: skip
        super().__init__()
        self.config: Any = model.config
        vision, text = model.config.vision_config, model.config.text_config
        check_kernel(attention)
        if transform.size != vision.image_size:
            raise ComposirError(
                f"{source.name}: preprocessor_config.json makes {transform.size} pixels, the image tower reads "
                f"{vision.image_size}; take both from one checkpoint"
            )
        tokenizer.add_special([DEC, ENC])
        if tokenizer.highest >= text.vocab_size:
            raise ComposirError(
                f"{source.name}: the tokenizer has ids up to {tokenizer.highest}, [DEC] and [ENC] included, the text "
                f"tower knows {text.vocab_size}; take both from one checkpoint"
            )
        self.image = BlipImage(model.vision_model, model.vision_proj, attention)
        self.text = BlipText(model.text_encoder, model.text_proj, model.itm_head, attention)
        self.logit_scale = nn.Parameter(torch.tensor(float(model.config.logit_scale_init_value)))
        self.dim = int(model.config.image_text_hidden_size)
        self.word_dim = int(text.hidden_size)
        self.image_size = int(vision.image_size)
        self.tokenizer, self.source, self._transform = tokenizer, source, transform
        self.itm_enc_token = itm_enc_token

    @classmethod
    def from_pretrained(
        cls, name: str | Path, revision: str | None = None,
        *, image_size: int | None = None, context: int = CONTEXT, itm_enc_token: bool = True,
    ) -> BlipBackbone:  # fmt: skip
        """Load a folder or a hub repository; weights become float32, the module is in eval mode.

        Args:
            name: Folder, or "org/repo".
            revision: Hub commit, tag or branch.
            image_size: Side of the input, if not the checkpoint's own: the table of positions is interpolated.
            context: Longest text in tokens, start and end included; at most the positions of the checkpoint.
            itm_enc_token: As in the class.

        Raises:
            ComposirError: Something is missing, pickled, broken or of another kind; the message has the remedy.
        """
        folder = hub.find_folder(str(name), revision or "main")
        kind = weights.read_json(folder / "config.json").get("model_type")
        if kind != "blip":
            raise ComposirError(f"{folder}: model_type {kind!r} is not 'blip'")
        transform = Transform.from_preprocessor(weights.read_json(folder / "preprocessor_config.json"))
        model = weights.load_model(BlipForImageTextRetrieval, folder, attention="eager")
        context = min(context, int(model.config.text_config.max_position_embeddings))
        tokenizer = TextTokenizer.from_folder(folder, context, opens=True)
        source = Source(str(name), str(name), revision or "main")
        made = cls(model, tokenizer, transform, source, itm_enc_token=itm_enc_token)
        if image_size is not None:
            made.resize(image_size)
        return made.eval()

    @classmethod
    def from_config(
        cls, config: BlipConfig, tokenizer: TextTokenizer, transform: Transform,
        *, seed: int = 0, name: str = "random", attention: Attention = "sdpa",
    ) -> BlipBackbone:  # fmt: skip
        """Random weights of the given architecture, fixed by the seed; the caller's random state stays as it was."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = BlipForImageTextRetrieval(config)
        return cls(model, tokenizer, transform, Source(name, name, f"seed-{seed}"), attention=attention)

    @classmethod
    def from_scratch(
        cls, corpus_texts: Sequence[str], *, image_size: int, patch_size: int, image_width: int, image_layers: int,
        image_heads: int, text_width: int, text_layers: int, text_heads: int, dim: int, context: int = CONTEXT,
        vocab_size: int = 8192, activation: str = "gelu", attention: Attention = "sdpa", seed: int = 0,
        name: str = "scratch",
    ) -> BlipBackbone:  # fmt: skip
        """A fresh BLIP to be trained, with a WordPiece tokenizer learnt from the corpus.

        Args:
            corpus_texts: What the tokenizer learns from.
            image_size: Side of the square input, in pixels; a multiple of `patch_size`.
            patch_size: In pixels.
            image_width: Width of the image tower; a multiple of `image_heads`.
            image_layers: Blocks of the image tower.
            image_heads: Attention heads of the image tower.
            text_width: Width of the text tower and of a word; a multiple of `text_heads`.
            text_layers: Blocks of the text tower, each with cross-attention.
            text_heads: Attention heads of the text tower.
            dim: Width of the joint space.
            context: Longest text in tokens, start and end included.
            vocab_size: Upper bound of the vocabulary.
            activation: As transformers names it.
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
        tokenizer = TextTokenizer.train_bert(corpus_texts, vocab_size, context)
        config = blip_config(
            text={
                **_sizes(text_width, text_layers, text_heads, activation),
                "vocab_size": tokenizer.highest + 1,
                "max_position_embeddings": context,
            },
            vision={
                **_sizes(image_width, image_layers, image_heads, activation),
                "image_size": image_size,
                "patch_size": patch_size,
            },
            tokenizer=tokenizer,
            dim=dim,
        )
        return cls.from_config(config, tokenizer, blip_transform(image_size), seed=seed, name=name, attention=attention)

    @classmethod
    def tiny(cls, seed: int = 0) -> BlipBackbone:
        """A random backbone of a few hundred kilobytes that needs no download; in eval mode."""
        made = cls.from_scratch(
            TINY_CORPUS, image_size=32, patch_size=8, image_width=32, image_layers=3, image_heads=2, text_width=24,
            text_layers=2, text_heads=2, dim=16, vocab_size=640, seed=seed, name="blip-tiny",
        )  # fmt: skip
        return made.eval()

    def embed_image(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Joint-space features of images, not normalised: the class token of `tokens`, projected."""
        return self.project(self.tokens(pixels))

    def tokens(self, pixels: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B T V"]:
        """All rows of the image tower after its final norm, the class token first: what the matching mode looks at."""
        self._check_pixels(pixels)
        return self.image(pixels)

    def project(self, tokens: Float[Tensor, "B T V"]) -> Float[Tensor, "B D"]:
        """The joint-space features of images whose `tokens` are there already."""
        return cast("BlipImage", self.image).project(tokens)

    def embed_text(
        self, texts: Sequence[str], *, before: str = "", words: Float[Tensor, "B R W"] | None = None
    ) -> Float[Tensor, "B D"]:
        """Joint-space features of texts, not normalised; see `Backbone.embed_text`.

        Raises:
            ComposirError: `words` has the wrong shape or does not fit the context.
        """
        text = cast("BlipText", self.text)
        return text.project(text(*self._read(texts, before, words, self.tokenizer.start)))

    def match(
        self, texts: Sequence[str], image_tokens: Float[Tensor, "B T V"], words: Float[Tensor, "B R W"] | None = None,
        *, before: str = "",
    ) -> Float[Tensor, "B 2"]:  # fmt: skip
        """Logits [no, yes] of the matching head, whether each text tells of its image.

        Args:
            texts: B texts, as in `embed_text`.
            image_tokens: `tokens` of B images.
            words: As in `embed_text`.
            before: As in `embed_text`.

        Raises:
            ComposirError: Not one image for each text, or `words` as in `embed_text`.
        """
        if len(image_tokens) != len(texts):
            raise ComposirError(f"{len(texts)} texts and {len(image_tokens)} images; matching takes pairs")
        opening = self.tokenizer.core.token_to_id(ENC) if self.itm_enc_token else self.tokenizer.start
        text = cast("BlipText", self.text)
        return text.match(text(*self._read(texts, before, words, opening), image_tokens))

    def resize(self, image_size: int) -> None:
        """Read images of another side from now on: positions are interpolated (bicubic), as BLIP does it 224 -> 384.

        Raises:
            ComposirError: Not a multiple of the patch size.
        """
        vision = self.config.vision_config
        if image_size < 1 or image_size % vision.patch_size:
            raise ComposirError(f"image_size = {image_size} is not a multiple of patch_size = {vision.patch_size}")
        embeddings: Any = cast("BlipImage", self.image).vision_model.embeddings
        old = embeddings.position_embedding
        made = interpolated(old.detach(), image_size // vision.patch_size)
        embeddings.position_embedding = nn.Parameter(made, requires_grad=old.requires_grad)
        embeddings.image_size = vision.image_size = self.image_size = image_size
        embeddings.num_patches, embeddings.num_positions = made.shape[1] - 1, made.shape[1]
        self._transform = self._transform.resized(image_size)

    def use_attention(self, kernel: Attention) -> None:
        """Of both towers; see `Backbone.use_attention`."""
        check_kernel(kernel)
        for module in self.modules():
            if isinstance(module, ImageAttention | TextAttention):
                module.kernel = kernel

    def save_pretrained(self, folder: Path | str, dtype: torch.dtype | None = None) -> None:
        """Write config.json, model.safetensors, tokenizer files and preprocessor_config.json.

        The learnt scale goes into config.json ("logit_scale_init_value"): transformers' class has no tensor for it.

        Args:
            folder: Made if absent.
            dtype: Storage type, e.g. torch.float16 for half the size; as it is by default. Loading gives float32 again.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {hub_name(key): value for key, value in self.state_dict().items() if key != "logit_scale"}
        config = copy.deepcopy(self.config)
        config.architectures = [BlipForImageTextRetrieval.__name__]
        assert self.logit_scale is not None  # set by the constructor
        config.logit_scale_init_value = float(self.logit_scale.detach())
        weights.save_model(folder, tensors, config, dtype)
        self.tokenizer.save(folder)
        preprocessor = self._transform.to_preprocessor("BlipImageProcessor")
        weights.write_json(folder / "preprocessor_config.json", preprocessor)

    def _read(
        self, texts: Sequence[str], before: str, words: Tensor | None, opening: int | None
    ) -> tuple[Tensor, Tensor, Tensor | None, int]:
        """(padded ids, lengths, words, their place), as the text tower takes them."""
        rows, place = self.tokenizer.frame(texts, before, self._count_words(words, texts))
        device = next(self.text.parameters()).device
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.long, device=device)
        longest, pad = max(map(len, rows), default=1), self.tokenizer.pad
        padded = [[opening, *row[1:], *[pad] * (longest - len(row))] for row in rows]
        ids = torch.tensor(padded, dtype=torch.long, device=device).view(len(rows), longest)
        return ids, lengths, words, place


def interpolated(positions: Float[Tensor, "1 T V"], side: int) -> Float[Tensor, "1 S V"]:
    """Position embeddings of a grid `side` patches wide, from those of another square grid; the class token's stays."""
    old = round((positions.shape[1] - 1) ** 0.5)
    grid = positions[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    new = F.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], new.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


def blip_transform(image_size: int) -> Transform:
    """BLIP's own: both sides to `image_size`, bicubic, CLIP's mean and deviation."""
    return Transform(image_size, "exact", image_size, BICUBIC, CLIP_MEAN, CLIP_STD)


def blip_config(
    text: Mapping[str, object], vision: Mapping[str, object], tokenizer: TextTokenizer, dim: int
) -> BlipConfig:
    """The architecture in transformers' words, with the ids of this tokenizer."""
    return BlipConfig(
        text_config={
            **text,
            "projection_dim": dim,
            "bos_token_id": tokenizer.core.token_to_id(DEC),
            "eos_token_id": tokenizer.end,
            "sep_token_id": tokenizer.end,
            "pad_token_id": tokenizer.pad,
        },
        vision_config={**vision, "projection_dim": dim},
        projection_dim=dim,
        image_text_hidden_size=dim,
    )


def _sizes(width: int, layers: int, heads: int, activation: str) -> dict[str, object]:
    """What both towers have, in transformers' spelling; the usual four-fold hidden layer."""
    return {
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "hidden_act": activation,
        # BERT's 0.02 at its width of 768; the same at a smaller one would leave a fresh tower all but deaf.
        "initializer_range": 0.02 * (768 / width) ** 0.5,
    }
