"""Bi-BLIP4CIR: the reversed loss against a naive double loop, every switch, the direction tokens, the preset."""

from __future__ import annotations

import functools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from composir.backbones import load_backbone
from composir.errors import ComposirError
from composir.methods import load_method
from composir.methods.bi_blip4cir import BACKWARD, FORWARD, PIECES, BiBlip4Cir
from composir.methods.clip4cir import Clip4Cir
from composir.testing import check_method
from composir.training import fit

TEXTS = ["is red", "has longer sleeves and a floral print", "standing and sandy", "darker"]
BACK = ["a floral print and has longer sleeves", "is red", "darker", "standing"]
SMALL = {"projection_dim": 24, "hidden_dim": 32}
READ_OTHERWISE = (
    {},
    {"direction_token": "wordpiece"},
    {"direction_per_clause": "word_and"},
    {"direction_sides": "backward_only"},
)


def made(name: str = "clip-tiny", **arguments) -> BiBlip4Cir:
    # The Combiner's weights are drawn.
    torch.manual_seed(0)
    arguments = {"stage": 2} | arguments
    arguments = (SMALL if arguments["stage"] == 2 else {}) | arguments
    method = load_method("bi-blip4cir", load_backbone(name), **arguments)
    assert isinstance(method, BiBlip4Cir)
    return method


def batch(count: int = 4, dim: int = 16, seed: int = 0) -> dict:
    """Raw features of lengths far from 1."""
    generator = torch.Generator().manual_seed(seed)
    reference, target = 3 * torch.randn(2, count, dim, generator=generator)
    return {
        "ids": list("abcdefgh")[:count],
        "texts": TEXTS[:count],
        "reversed_texts": BACK[:count],
        "weights": torch.ones(count),
        "reference": reference,
        "target": target,
    }


def cross_entropy(logits: list[list[float]]) -> float:
    total = 0.0
    for i, row in enumerate(logits):
        top = max(row)
        total += top + math.log(sum(math.exp(x - top) for x in row)) - row[i]
    return total / len(logits)


def composed(method: BiBlip4Cir, image: torch.Tensor, text: torch.Tensor) -> torch.Tensor:
    """f of one image and one text, by its stage."""
    if method.combiner is None:
        return F.normalize(image + text, dim=-1)
    return method.combiner(image[None], text[None])[0]


@torch.no_grad()
def slow_losses(method: BiBlip4Cir, b: dict) -> tuple[float, float]:
    """(L_F, L_B) pair by pair: in the reversed loss the target that is composed varies, text and reference stay."""
    texts, before = method.directed(b["texts"], FORWARD)
    text = method.backbone.embed_text(texts, before=before)
    texts, before = method.directed(b["reversed_texts"], BACKWARD)
    back = method.backbone.embed_text(texts, before=before)
    unit_target, unit_reference = F.normalize(b["target"], dim=-1), F.normalize(b["reference"], dim=-1)
    turned = unit_target if method.stage == 1 and method.stage1_reverse_target_normalised else b["target"]
    rows = range(len(text))
    forward = [[100 * float(composed(method, b["reference"][i], text[i]) @ unit_target[j]) for j in rows] for i in rows]
    if method.reverse_negatives == "targets":
        reverse = [[100 * float(composed(method, turned[j], back[i]) @ unit_reference[i]) for j in rows] for i in rows]
    else:
        reverse = [[100 * float(composed(method, turned[i], back[i]) @ unit_reference[j]) for j in rows] for i in rows]
    return cross_entropy(forward), cross_entropy(reverse)


SWITCHES = [
    {"stage": 1},
    {"stage": 1, "stage1_reverse_target_normalised": False},
    {"stage": 1, "reverse_negatives": "references"},
    {"stage": 1, "paper_compat": True},
    {"stage": 2},
    {"stage": 2, "chunk": 3},
    {"stage": 2, "reverse_negatives": "references"},
    {"stage": 2, "paper_compat": True, "chunk": 5},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("name", ["clip-tiny", "blip-tiny"])
def test_loss_is_the_naive_double_loop(name, switches):
    method = made(name, reverse_weight=0.3, **switches).eval()
    b = batch()
    losses = method.loss(b)
    forward, reverse = slow_losses(method, b)
    # Logits up to 100 in single precision.
    assert losses["forward"].item() == pytest.approx(forward, abs=1e-4, rel=1e-5)
    assert losses["reverse"].item() == pytest.approx(reverse, abs=1e-4, rel=1e-5)
    assert losses["loss"].item() == pytest.approx(forward + 0.3 * reverse, abs=2e-4, rel=1e-5)


@given(st.integers(0, 50))
def test_targets_and_references_as_negatives_are_not_the_same(seed):
    b = batch(seed=seed)
    for stage in (1, 2):
        one, other = (cached(stage, kind).loss(b)["reverse"] for kind in ("targets", "references"))
        assert one != other


@functools.cache
def cached(stage: int, negatives: str) -> BiBlip4Cir:
    return made(stage=stage, reverse_negatives=negatives).eval()


@pytest.mark.parametrize("stage", [1, 2])
def test_gradients_are_those_of_the_naive_form(stage):
    """In double precision, with respect to everything that trains and to the features."""
    method = made(stage=stage, chunk=3).double().eval()
    text = torch.randn(4, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    target, reference = (batch()[side].double().requires_grad_() for side in ("target", "reference"))
    text.requires_grad_()
    against = F.normalize(reference, dim=-1)
    got = method.reversed_scores(target, text, against)
    turned = F.normalize(target, dim=-1) if stage == 1 else target
    wanted = torch.stack(
        [torch.stack([composed(method, turned[j], text[i]) @ against[i] for j in range(4)]) for i in range(4)]
    )
    inputs = [target, reference, text, *(method.combiner.parameters() if method.combiner else [])]
    losses = [F.cross_entropy(100 * cosines, torch.arange(4)) for cosines in (got, wanted)]
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-12)
    for mine, theirs in zip(*(torch.autograd.grad(one, inputs, retain_graph=True) for one in losses), strict=True):
        assert torch.allclose(mine, theirs, atol=1e-10, rtol=0)


@pytest.mark.parametrize("stage", [1, 2])
def test_chunks_do_not_change_the_loss(stage):
    whole, parts = (made(stage=stage, chunk=chunk).eval().loss(batch())["loss"] for chunk in (10_000, 2))
    assert whole.item() == pytest.approx(parts.item(), rel=1e-6)


@pytest.mark.parametrize("stage", [1, 2])
def test_without_reversal_it_is_clip4cir(stage):
    sizes = SMALL if stage == 2 else {}
    torch.manual_seed(0)
    plain = load_method("clip4cir", load_backbone("clip-tiny"), stage=stage, **sizes).eval()
    assert isinstance(plain, Clip4Cir)
    baseline = made(stage=stage, bidirectional=False).eval()
    weightless = made(stage=stage, reverse_weight=0.0, direction_sides="none").eval()
    wanted = plain.loss(batch())["loss"].item()
    assert baseline.loss(batch())["loss"].item() == wanted
    assert weightless.loss(batch())["loss"].item() == wanted
    assert set(baseline.loss(batch())) == {"loss"}
    assert baseline.state_dict().keys() == plain.state_dict().keys()


def test_weights_of_queries_count_in_both_directions():
    method = made(stage=1).eval()
    b = batch()
    b["weights"] = torch.tensor([0.0, 0.0, 0.0, 5.0])
    losses = method.loss(b)
    scores = 100 * method.reversed_scores(
        b["target"], method.text_features(*method.directed(BACK, BACKWARD)), F.normalize(b["reference"], dim=-1)
    )
    assert losses["reverse"].item() == pytest.approx(F.cross_entropy(scores[3:], torch.tensor([3])).item(), rel=1e-5)


# ---- direction tokens ----


def pieces(method: BiBlip4Cir, text: str, direction: str) -> list[str]:
    """Tokens of what is read, in front and behind."""
    texts, before = method.directed([text], direction)
    tokenizer = method.backbone.tokenizer
    ids = [*(tokenizer.encode([before])[0] if before else []), *tokenizer.encode(texts)[0]]
    return [tokenizer.core.id_to_token(i).removesuffix("</w>") for i in ids]


@pytest.mark.parametrize("name", ["clip-tiny", "blip-tiny"])
def test_special_tokens_are_one_piece_and_begin_as_the_mean(name):
    plain = load_backbone(name)
    words = plain.text.words.weight.detach().clone()
    method = made(name, stage=1)
    seen = {direction: pieces(method, "is red", direction) for direction in (FORWARD, BACKWARD)}
    assert [tokens[0] for tokens in seen.values()] == [FORWARD, BACKWARD]
    assert seen[FORWARD][1:] == seen[BACKWARD][1:] == pieces(made(name, bidirectional=False), "is red", FORWARD)
    table = method.backbone.text.words.weight
    ids = [method.backbone.tokenizer.core.token_to_id(token) for token in (FORWARD, BACKWARD)]
    assert torch.allclose(table[ids], words.mean(0).expand(2, -1), atol=1e-6)
    assert torch.equal(table[: len(words)][: min(ids)], words[: min(ids)])


@pytest.mark.parametrize("name", ["clip-tiny", "blip-tiny"])
def test_wordpieces_are_several_pieces_and_add_no_word(name):
    method = made(name, stage=1, direction_token="wordpiece")
    assert method.backbone.text.words.weight.shape == load_backbone(name).text.words.weight.shape
    tokens = pieces(method, "is red", FORWARD)
    assert tokens[0] == "["
    assert "".join(token.removeprefix("##") for token in tokens).startswith("[forward]")
    literal = load_backbone(name).tokenizer.encode(["[FORWARD] is red"])[0]
    assert load_backbone(name).tokenizer.encode([f"{PIECES[FORWARD]} is red"])[0] == literal


def test_berts_own_vocabulary_splits_the_literal_token_in_three():
    from composir.backbones.tokenizer import TextTokenizer

    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[", "]", "forward", "backward", "red", "is"]
    tokenizer = TextTokenizer.bert(vocabulary, context=77)
    names = [[tokenizer.core.id_to_token(i) for i in ids] for ids in tokenizer.encode(list(PIECES))]
    assert names == [["[", "forward", "]"], ["[", "backward", "]"]]


@pytest.mark.parametrize(
    ("clauses", "text", "wanted"),
    [
        (False, "is red and standing", "[F] is red and standing"),
        ("word_and", "is red and standing", " [F] is red and [F]  standing"),
        ("word_and", "standing", " [F] standing"),
        ("official", "is red and standing", " [F] is red and [F]  stand [F] ing"),
        ("official", "sandy", " [F] sand [F] y"),
        ("word_and", "", " [F] "),
    ],
)
def test_where_the_token_stands(clauses, text, wanted):
    method = made(direction_per_clause=clauses)
    for direction in (FORWARD, BACKWARD):
        (read,), before = method.directed([text], direction)
        assert (f"{before} {read}" if before else read) == wanted.replace("[F]", direction)
        token = [token for token in pieces(method, text, direction) if token == direction]
        assert len(token) == wanted.count("[F]")


@pytest.mark.parametrize("clauses", ["false", "word_and"])
def test_the_direction_takes_places_of_the_text(clauses):
    """What is told to be unread is what another end of the text would not change."""
    method = made("clip-tiny", direction_per_clause=clauses)
    read = " ".join(["red"] * 200)
    rest = method.unread(read)
    assert rest
    assert len(rest) > len(method.backbone.unread(read))
    kept = read[: len(read) - len(rest)]
    image = torch.randn(1, 1, method.backbone.dim)
    assert torch.equal(method.compose(image, [f"{kept}{rest}"]), method.compose(image, [f"{kept}blue sleeves"]))
    assert method.unread("is red") == ""


def test_sides():
    read = {
        sides: [made(direction_sides=sides).directed(["is red"], direction)[1] for direction in (FORWARD, BACKWARD)]
        for sides in ("both", "backward_only", "none")
    }
    assert read == {"both": [FORWARD, BACKWARD], "backward_only": ["", BACKWARD], "none": ["", ""]}
    assert made(bidirectional=False).directed(["is red"], BACKWARD) == (["is red"], "")


def test_the_directions_learn_to_differ():
    """Features of one text are equal at first only where nothing tells the directions apart."""
    method = made(stage=1)
    with torch.no_grad():
        one, other = (method.text_features(*method.directed(TEXTS, d)) for d in (FORWARD, BACKWARD))
    assert torch.allclose(one, other, atol=1e-5)  # both tokens begin as the mean
    for _ in fit(method, [batch()] * 3, steps=3, lr=1e-3):
        pass
    with torch.no_grad():
        one, other = (method.text_features(*method.directed(TEXTS, d)) for d in (FORWARD, BACKWARD))
    assert (one - other).abs().max() > 1e-3


@torch.no_grad()
@pytest.mark.parametrize("name", ["clip-tiny", "blip-tiny"])
@pytest.mark.parametrize("switches", [*READ_OTHERWISE, {"paper_compat": True}], ids=str)
def test_features_of_frozen_texts_give_the_loss_of_the_texts(name, switches):
    method, b = made(name, **switches).eval(), batch()
    kept = {side: method.frozen(side).run(b[f"{side}s"]) for side in ("text", "reversed_text")}
    plain, cached = method.loss(b), method.loss({**b, **kept})
    for part in ("forward", "reverse"):
        # Each text alone, or with padding; logits up to 100.
        assert cached[part].item() == pytest.approx(plain[part].item(), abs=1e-4)
    method.backbone.embed_text = None  # it must not be called
    method.loss({**b, **kept})


def test_each_way_of_reading_a_text_has_its_own_cache():
    sides = ("text", "reversed_text")
    keys = [made(**switches).frozen(side).key for side in sides for switches in READ_OTHERWISE]
    assert len(set(keys)) == 8
    assert made(bidirectional=False).frozen("text").key not in keys
    assert made(bidirectional=False).frozen("reversed_text") is None
    assert made(hidden_dim=8, scale=50.0).frozen("text").key == keys[0], "the text tower and the direction are all"
    assert made(stage=1).frozen("text") is made(stage=1).frozen("reversed_text") is None


# ---- search, training, settings ----


@pytest.mark.parametrize("stage", [1, 2])
def test_search_reads_forwards_and_reverse_search_backwards(stage):
    method = made(stage=stage).eval()
    rows = batch()["target"]
    with torch.no_grad():
        method.backbone.text.words.weight[-1] += 1  # [BACKWARD]
        forward, reverse = method.compose(rows[:, None], TEXTS), method.compose_reversed(rows[:, None], TEXTS)
        text = method.backbone.embed_text(TEXTS, before=FORWARD)
        back = method.backbone.embed_text(TEXTS, before=BACKWARD)
        turned = F.normalize(rows, dim=-1) if stage == 1 else rows
        for i in range(4):
            assert torch.allclose(forward[i, 0], composed(method, rows[i], text[i]), atol=1e-6)
            assert torch.allclose(reverse[i, 0], composed(method, turned[i], back[i]), atol=1e-6)
    forwards_only = made(stage=stage, bidirectional=False)
    with pytest.raises(ComposirError, match="has not learnt the way back"):
        forwards_only.compose_reversed(torch.zeros(1, 1, forwards_only.backbone.dim), ["is red"])


@pytest.mark.parametrize("name", ["clip-tiny", "blip-tiny"])
@pytest.mark.parametrize("stage", [1, 2])
def test_contract(name, stage):
    # Wide enough to learn a batch by heart in a few steps, dropout and all.
    method = made(name, stage=stage, projection_lr_scale=2.0, projection_dim=None, hidden_dim=None)
    fresh = load_method("bi-blip4cir", load_backbone(name, "seed-1"), stage=stage)
    check_method(method, fresh=fresh, batches=[batch(dim=method.backbone.dim)])


@pytest.mark.parametrize("name", ["clip-tiny", "siglip-tiny", "blip-tiny"])
def test_the_projection_learns_faster_at_a_constant_rate(name):
    method = made(name, stage=1)
    groups = method.parameter_groups(0.05)
    fast = [p for group in groups if group.get("schedule") == "constant" for p in group["params"]]
    names = {id(p): n for n, p in method.named_parameters()}
    assert {names[id(p)].split(".")[2] for p in fast} <= {"text_projection", "text_proj", "text_model"}
    assert fast
    assert all(p.shape[0] == method.backbone.dim for p in fast)
    assert {group["lr_scale"] for group in groups if "schedule" in group} == {100.0}
    assert len(fast) < len([p for group in groups for p in group["params"]])
    assert not any("schedule" in group for group in made(name, stage=2).parameter_groups(0.05))


def test_one_process_reads_no_pixel_of_a_cached_picture():
    method = made(stage=2).train()
    method.backbone.image.forward = None  # it must not be called
    losses = method.loss(batch())
    losses["loss"].backward()
    assert all(p.grad is not None for p in method.combiner.parameters())
    assert all(p.grad is None for p in method.backbone.parameters())


def test_compat_preset_is_the_authors_code():
    method = made(paper_compat=True)
    assert (method.direction_token, method.direction_per_clause) == ("wordpiece", "official")
    assert not method.separable_projection
    assert not method.combiner.separable
    assert method.target_pad == 1.25
    assert method.stage1_reverse_target_normalised
    again = made(
        paper_compat=True, direction_token="wordpiece", direction_per_clause="official", separable_projection=False,
        target_pad=1.25,
    )  # fmt: skip
    assert again.directed(TEXTS, FORWARD) == method.directed(TEXTS, FORWARD)


def test_arguments_are_kept_under_their_names():
    """So that a checkpoint can tell them."""
    arguments = {
        "stage": 2, "bidirectional": True, "reverse_weight": 0.1, "reverse_negatives": "references",
        "stage1_reverse_target_normalised": False, "direction_token": "wordpiece", "direction_per_clause": "word_and",
        "direction_sides": "backward_only", "separable_projection": False, "projection_dim": 8, "hidden_dim": 12,
        "combiner_dropout": 0.25, "scale": 50.0, "projection_lr_scale": 3.0, "chunk": 7, "target_pad": 1.5,
        "paper_compat": False,
    }  # fmt: skip
    method = made(**arguments)
    assert {name: getattr(method, name) for name in arguments} == arguments
    assert method.combiner.dropout == 0.25


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"stage": 0}, "stage = 0 does not exist"),
        ({"reverse_negatives": "target"}, "did you mean 'targets'"),
        ({"direction_token": "word"}, "value of direction_token"),
        ({"direction_per_clause": "word"}, "did you mean 'word_and'"),
        ({"direction_per_clause": True}, "unknown value of direction_per_clause"),
        ({"direction_sides": "forward"}, "value of direction_sides"),
        ({"reverse_weight": -1.0}, r"reverse_weight = -1\.0 is below 0"),
        ({"reverse_weight": float("nan")}, "reverse_weight = nan"),
        ({"chunk": 0}, "chunk = 0 is below 1"),
        ({"projection_lr_scale": 0.0}, "projection_lr_scale"),
        ({"paper_compat": True, "direction_token": "special"}, "'special' contradicts paper_compat"),
        ({"paper_compat": True, "separable_projection": True}, "True contradicts paper_compat"),
        ({"alpha": 0.4}, "unknown argument of method 'bi-blip4cir': 'alpha'"),
    ],
)
def test_wrong_arguments_are_refused(arguments, told):
    with pytest.raises(ComposirError, match=told):
        made(**arguments)
