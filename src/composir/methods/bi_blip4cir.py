"""Bi-BLIP4CIR: train each query backwards too, from its target with the same text to its reference.

Liu et al., "Bi-directional Training for Composed Image Retrieval via Text Prompt Learning", WACV 2024.
Differs from the paper: Eq. 2 as printed varies the image that is compared, while its prose, its ablation and the
authors' code vary the target that is composed; so does this, and `reverse_negatives = "references"` is the printed one.
Direction tokens are registered words with an embedding each, as the paper has it and the code has not. The Combiner's
B * B reversed pairs are never laid out at once and their dropout is drawn as `combiner` says. `paper_compat` is the
code's way in all of this. Pictures, weights and texts as in `clip4cir`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from composir.backbones.base import Backbone
from composir.errors import ComposirError
from composir.losses import batch_classification, classification, gathered
from composir.methods.base import Frozen, FrozenSide
from composir.methods.clip4cir import Clip4Cir
from composir.methods.combiner import CHUNK, sum_scores
from composir.plugins import nearest

FORWARD, BACKWARD = "[FORWARD]", "[BACKWARD]"
# The same pieces as the words give where they are not registered, also where they are.
PIECES = {FORWARD: "[ forward ]", BACKWARD: "[ backward ]"}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "reverse_negatives": ("targets", "references"),
    "direction_token": ("special", "wordpiece"),
    "direction_per_clause": ("false", "word_and", "official"),
    "direction_sides": ("both", "backward_only", "none"),
}


class Quirks(NamedTuple):
    """Where the authors' code does otherwise than their paper says; arguments of the method."""

    direction_token: str
    direction_per_clause: str
    separable_projection: bool
    target_pad: float


DIRECTED = ("direction_token", "direction_per_clause", "direction_sides")  # switches that say what a text becomes
PAPER = Quirks("special", "false", separable_projection=True, target_pad=0.0)
OFFICIAL = Quirks("wordpiece", "official", separable_projection=False, target_pad=1.25)
# The last linear layer of the text towers: CLIP's, BLIP's, SigLIP's.
PROJECTIONS = ("backbone.text.text_projection.", "backbone.text.text_proj.", "backbone.text.text_model.head.")


class BiBlip4Cir(Clip4Cir):
    """L = L_F + a L_B: batch classification of f(R, [FORWARD] t) among targets, and of f(T, [BACKWARD] t) against R.

    Args:
        backbone: Its towers; the image tower stands still.
        stage: 1 fits the text tower under n(v + w), 2 the Combiner over the frozen one. A run of stage 2 names one of
            stage 1 as its `init`.
        bidirectional: False for the baseline BLIP4CIR: no reversed loss, no direction tokens.
        reverse_weight: a (the paper's alpha), 0 or more. FashionIQ 0.4 in stage 1 and 0.5 in stage 2, CIRR 0.1.
        reverse_negatives: "targets": row i of the reversed loss compares R_i to f(T_j, t_i) for all j; "references":
            R_j to f(T_i, t_i), which the paper's ablation found worse.
        stage1_reverse_target_normalised: Whether stage 1 composes backwards with targets of unit length, as the code
            does, though it composes forwards with raw references.
        direction_token: "special", one word with an embedding of its own for each direction, or "wordpiece", the plain
            text "[FORWARD]", three pieces. "special" if not given.
        direction_per_clause: Where it stands: false, once in front; "word_and", before every clause between words
            "and"; "official", likewise but splitting at the letters "and", be they inside a word. False if not given.
        direction_sides: "both"; "backward_only", forward texts as they are; "none", both alike.
        separable_projection: Whether dropout of the reversed pairs' projected features is drawn for a vector and not
            for a pair; see `combiner`. True if not given.
        projection_dim, hidden_dim, combiner_dropout, scale: As for CLIP4Cir.
        projection_lr_scale: Learning rate of the text tower's last layer in stage 1, in multiples of the run's; it
            stays constant.
        chunk: Reversed pairs composed at a time in stage 2: memory against overhead, no difference in the result.
        target_pad: As for CLIP4Cir; 0 if not given.
        paper_compat: Take what is not given from the authors' code: wordpiece, official, separable_projection false,
            target_pad 1.25.

    Raises:
        ComposirError: A value outside what is allowed, or one that `paper_compat` contradicts.
    """

    name: ClassVar[str] = "bi-blip4cir"

    def __init__(
        self,
        backbone: Backbone,
        stage: int = 1,
        *,
        bidirectional: bool = True,
        reverse_weight: float = 0.4,
        reverse_negatives: str = "targets",
        stage1_reverse_target_normalised: bool = True,
        direction_token: str | None = None,
        direction_per_clause: str | bool | None = None,
        direction_sides: str = "both",
        separable_projection: bool | None = None,
        projection_dim: int | None = None,
        hidden_dim: int | None = None,
        combiner_dropout: float = 0.5,
        scale: float = 100.0,
        projection_lr_scale: float = 100.0,
        chunk: int = CHUNK,
        target_pad: float | None = None,
        paper_compat: bool = False,
    ):
        clauses = "false" if direction_per_clause is False else direction_per_clause
        quirks = _chosen((direction_token, clauses, separable_projection, target_pad), paper_compat)
        _check_choices(
            reverse_negatives=reverse_negatives,
            direction_token=quirks.direction_token,
            direction_per_clause=quirks.direction_per_clause,
            direction_sides=direction_sides,
        )
        for argument, value, least in (("reverse_weight", reverse_weight, 0), ("chunk", chunk, 1)):
            if not value >= least:
                raise ComposirError(f"{argument} = {value} is below {least}")
        if not projection_lr_scale > 0:
            raise ComposirError(f"projection_lr_scale = {projection_lr_scale} is not above 0; the paper's is 100")
        if bidirectional and quirks.direction_token == "special" and direction_sides != "none":
            backbone.add_words([FORWARD, BACKWARD])
        super().__init__(
            backbone, stage, projection_dim=projection_dim, hidden_dim=hidden_dim, combiner_dropout=combiner_dropout,
            scale=scale, target_pad=quirks.target_pad,
        )  # fmt: skip
        if self.combiner is not None:
            self.combiner.separable = quirks.separable_projection
        self.direction_token, self.direction_per_clause, self.separable_projection, _ = quirks
        self.bidirectional, self.reverse_weight, self.chunk = bidirectional, reverse_weight, chunk
        self.reverse_negatives, self.direction_sides = reverse_negatives, direction_sides
        self.stage1_reverse_target_normalised = stage1_reverse_target_normalised
        self.projection_lr_scale, self.paper_compat = projection_lr_scale, paper_compat

    def first_stage(self) -> Mapping[str, Any]:
        """In stage 2, also what the text tower has learnt to read; only those switches that have an effect."""
        names = ["bidirectional"] if self.stage == 2 else []
        if names and self.bidirectional:
            names.append("direction_sides")
            names += ["direction_token", "direction_per_clause"] if self.direction_sides != "none" else []
        return {**super().first_stage(), **{name: getattr(self, name) for name in names}}

    def directed(self, texts: Sequence[str], direction: str) -> tuple[list[str], str]:
        """What the text tower reads in one direction, `FORWARD` or `BACKWARD`: the texts, and what stands in front."""
        sides = {"both": (FORWARD, BACKWARD), "backward_only": (BACKWARD,), "none": ()}[self.direction_sides]
        if not self.bidirectional or direction not in sides:
            return list(texts), ""
        token = direction if self.direction_token == "special" else PIECES[direction]
        if self.direction_per_clause == "false":
            return list(texts), token
        splits = r"\band\b" if self.direction_per_clause == "word_and" else "and"
        # No space behind a clause: "standing" becomes "stand [FORWARD] ing", as in the authors' code.
        return ["and".join(f" {token} {clause}" for clause in re.split(splits, text)) for text in texts], ""

    def unread(self, text: str) -> str:
        """The direction stands in front and takes places too."""
        (read,), before = self.directed([text], FORWARD)
        return self.backbone.unread(read, before)

    def frozen(self, side: FrozenSide) -> Frozen | None:
        """Texts as each direction reads them; the rest as for CLIP4Cir."""
        direction = {"text": FORWARD, "reversed_text": BACKWARD if self.bidirectional else None}.get(side)
        if direction is None:
            return super().frozen(side)
        # All that `directed` looks at.
        head = repr((direction, self.bidirectional, *(getattr(self, switch) for switch in DIRECTED)))
        return self._frozen_text(head, lambda texts: self.directed(texts, direction))

    def compose(self, reference: Float[Tensor, "B 1 D"], texts: Sequence[str]) -> Float[Tensor, "B 1 D"]:
        """Unit query vectors of the forward direction."""
        return self.joined(reference[:, 0], self.text_features(*self.directed(texts, FORWARD)))[:, None]

    def compose_reversed(self, reference: Float[Tensor, "B 1 D"], texts: Sequence[str]) -> Float[Tensor, "B 1 D"]:
        """Unit query vectors of the backward direction."""
        if not self.bidirectional:
            return super().compose_reversed(reference, texts)
        text = self.text_features(*self.directed(texts, BACKWARD))
        return self.joined(self._turned(reference[:, 0]), text)[:, None]

    def loss(self, batch: dict[str, object]) -> dict[str, Tensor]:
        """L_F + a L_B of {"reference", "target": raw features (B,D) or pixels, "texts", "reversed_texts", "weights"}.

        With "text" and "reversed_text", (B,D) raw features of directed texts, these are not read.

        Returns:
            "loss", and its parts "forward" and "reverse".
        """
        reference, target, weights = self._given(batch)
        targets = gathered(target)
        text = self._words(batch, "text", *self.directed(cast(Sequence[str], batch["texts"]), FORWARD))
        forward = self._forward_loss(reference, text, targets, weights)
        if not self.bidirectional:
            return {"loss": forward}
        read = self.directed(cast(Sequence[str], batch["reversed_texts"]), BACKWARD)
        text = self._words(batch, "reversed_text", *read)
        reverse = self._reversed_loss(reference, target, targets, text, weights)
        return {
            "loss": forward + self.reverse_weight * reverse,
            "forward": forward.detach(),
            "reverse": reverse.detach(),
        }

    def parameter_groups(self, weight_decay: float) -> list[dict[str, object]]:
        """In stage 1 the text tower's last layer has a higher learning rate, which stays constant."""
        groups = super().parameter_groups(weight_decay)
        if self.stage == 2:
            return groups
        last = {id(p) for name, p in self.named_parameters() if name.startswith(PROJECTIONS)}
        out = []
        for group in groups:
            params = cast("list[Tensor]", group["params"])
            out.append({**group, "params": [p for p in params if id(p) not in last]})
            faster = {"lr_scale": self.projection_lr_scale, "schedule": "constant"}
            out.append({**group, **faster, "params": [p for p in params if id(p) in last]})
        return out

    def reversed_scores(
        self, image: Float[Tensor, "N D"], text: Float[Tensor, "B D"], against: Float[Tensor, "B D"]
    ) -> Float[Tensor, "B N"]:
        """<f(image_j, text_i), against_i> of raw features and unit vectors: the cosines of the reversed loss."""
        if self.combiner is None:
            return sum_scores(self._turned(image), text, against)
        return self.combiner.scores(image, text, against, self.chunk)

    def _turned(self, image: Tensor) -> Tensor:
        """An image as it is composed in the reversed direction."""
        return F.normalize(image, dim=-1) if self.stage == 1 and self.stage1_reverse_target_normalised else image

    def _reversed_loss(
        self, reference: Tensor, target: Tensor, targets: Tensor, text: Tensor, weights: Tensor | None
    ) -> Tensor:
        """L_B; every process computes the rows of its own texts, and all of them the loss."""
        device = target.device.type
        if self.reverse_negatives == "references":
            query = gathered(self.joined(self._turned(target), text))
            with torch.autocast(device, enabled=False):
                return batch_classification(query, F.normalize(gathered(reference), dim=-1), self.scale, weights)
        cosines = gathered(self.reversed_scores(targets, text, F.normalize(reference, dim=-1)))
        with torch.autocast(device, enabled=False):
            return classification(self.scale * cosines, weights)


def _chosen(given: Sequence[Any], paper_compat: bool) -> Quirks:
    """What is given, the rest as the paper or the authors' code has it."""
    preset = OFFICIAL if paper_compat else PAPER
    for argument, value, official in zip(Quirks._fields, given, preset, strict=True):
        if paper_compat and value is not None and value != official:
            raise ComposirError(
                f"{argument} = {value!r} contradicts paper_compat, which stands for {official!r}; leave one of them out"
            )
    return Quirks._make(own if value is None else value for value, own in zip(given, preset, strict=True))


def _check_choices(**chosen: object) -> None:
    for argument, value in chosen.items():
        if value not in CHOICES[argument]:
            raise nearest(str(value), CHOICES[argument], f"value of {argument}:")
