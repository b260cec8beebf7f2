"""BLIP: our towers against transformers' own class, and each trap on the way there."""

from __future__ import annotations

import copy
import json
import math

import pytest
import torch
import torch.nn.functional as F
from transformers import BlipForImageTextRetrieval

from composir.backbones import load_backbone
from composir.backbones.blip import BlipBackbone, blip_config, blip_transform, interpolated
from composir.backbones.clip import TINY_CORPUS
from composir.backbones.tokenizer import DEC, ENC, TextTokenizer
from composir.errors import ComposirError

TEXTS = ["red", "is darker, has longer sleeves and a floral print", "", "the same in blue but shorter"]
# A wrong number of axes is seen by the shape checker first, where one is switched on.
REFUSED = (ComposirError, TypeError)
# of BlipBackbone.tiny()
SIZES = {
    "image_size": 32, "patch_size": 8, "image_width": 32, "image_layers": 3, "image_heads": 2, "text_width": 24,
    "text_layers": 2, "text_heads": 2, "dim": 16, "vocab_size": 640,
}  # fmt: skip


@pytest.fixture(scope="module")
def blip() -> BlipBackbone:
    return BlipBackbone.tiny()


@pytest.fixture(scope="module")
def theirs(blip, tmp_path_factory):
    """The same weights in transformers' own class; nothing of the folder is missing or left over."""
    folder = tmp_path_factory.mktemp("theirs")
    blip.save_pretrained(folder)
    model, report = BlipForImageTextRetrieval.from_pretrained(folder, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    return model.eval()


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def images(count: int = 4, side: int = 32) -> torch.Tensor:
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def padded(blip: BlipBackbone, texts=TEXTS) -> dict[str, torch.Tensor]:
    """What transformers' class takes, padded well beyond the longest."""
    rows = blip.tokenizer.frame(texts)[0]
    length = max(map(len, rows)) + 5
    return {
        "input_ids": torch.tensor([row + [blip.tokenizer.pad] * (length - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows]),
    }


# ---- the two towers, alone and together ----


def test_joint_space_equals_transformers(blip, theirs):
    expected = theirs(pixel_values=images(), **padded(blip), use_itm_head=False).itm_score
    ours = F.normalize(blip.embed_image(images()), dim=-1) @ F.normalize(blip.embed_text(TEXTS), dim=-1).T
    assert torch.allclose(ours, expected, atol=1e-6)
    for raw in (blip.embed_image(images()), blip.embed_text(TEXTS)):
        assert raw.shape == (4, blip.dim)
        assert not torch.allclose(raw.norm(dim=-1), torch.ones(4), atol=1e-2), "features are not normalised"


@pytest.mark.parametrize("enc", [False, True])
def test_matching_equals_transformers(blip, theirs, enc):
    """With [ENC] in front where the original has it; transformers leaves [CLS] there."""
    inputs = padded(blip)
    if enc:
        inputs["input_ids"][:, 0] = blip.tokenizer.core.token_to_id(ENC)
    expected = theirs(pixel_values=images(), **inputs, use_itm_head=True).itm_score
    assert blip.itm_enc_token
    made = copy.copy(blip)
    made.itm_enc_token = enc
    assert torch.allclose(made.match(TEXTS, blip.tokens(images())), expected, atol=1e-6)


def test_the_opening_token_of_matching_matters(blip, tmp_path):
    blip.save_pretrained(tmp_path)
    plain = BlipBackbone.from_pretrained(tmp_path, itm_enc_token=False)
    tokens = blip.tokens(images())
    assert (blip.match(TEXTS, tokens) - plain.match(TEXTS, tokens)).abs().max() > 1e-3
    assert torch.equal(blip.embed_text(TEXTS), plain.embed_text(TEXTS)), "text mode opens with [CLS] either way"


def test_tokens_and_patches_equal_transformers_hidden_states(blip, theirs):
    out = theirs.vision_model(pixel_values=images(), output_hidden_states=True)
    assert torch.allclose(blip.tokens(images()), out.last_hidden_state, atol=1e-6)
    assert torch.allclose(blip.project(out.last_hidden_state), blip.embed_image(images()), atol=1e-6)
    for layer in (*range(4), -1, -2, -4):
        got = blip.patches(images(), layer)
        assert got.shape == (4, 16, 32)
        assert torch.allclose(got, out.hidden_states[layer][:, 1:], atol=1e-6)
    for layer in (4, -5):
        with pytest.raises(ComposirError, match="-4 to 3"):
            blip.patches(images(), layer)


def test_the_final_norm_is_applied_once(blip, theirs):
    """The trap: transformers' `pooler_output` is normed twice."""
    twice = theirs.vision_model(pixel_values=images()).pooler_output
    with torch.random.fork_rng():
        torch.manual_seed(0)
        torch.nn.init.normal_(theirs.vision_model.post_layernorm.weight)  # a learnt gain: the second norm shows
        once = theirs.vision_model(pixel_values=images()).last_hidden_state[:, 0]
        twice = theirs.vision_model(pixel_values=images()).pooler_output
        assert (once - twice).abs().max() > 0.1
        ours = copy.deepcopy(blip)
        ours.image.vision_model.post_layernorm.weight.copy_(theirs.vision_model.post_layernorm.weight)
        torch.nn.init.ones_(theirs.vision_model.post_layernorm.weight)
    assert torch.allclose(ours.tokens(images())[:, 0], once, atol=1e-5)


def test_both_kernels_agree(blip):
    eager = BlipBackbone.from_scratch(TINY_CORPUS, **SIZES, attention="eager").eval()
    assert torch.allclose(eager.embed_image(images()), blip.embed_image(images()), atol=1e-6)
    assert torch.allclose(eager.embed_text(TEXTS), blip.embed_text(TEXTS), atol=1e-6)
    tokens = blip.tokens(images())
    assert torch.allclose(eager.match(TEXTS, tokens), blip.match(TEXTS, tokens), atol=1e-6)


# ---- texts ----


def test_a_text_does_not_depend_on_its_batch(blip):
    tokens = blip.tokens(images())
    for together, alone in (
        (blip.embed_text(TEXTS), [blip.embed_text([text]) for text in TEXTS]),
        (blip.match(TEXTS, tokens), [blip.match([t], tokens[i : i + 1]) for i, t in enumerate(TEXTS)]),
    ):
        assert torch.allclose(together, torch.cat(alone), atol=1e-6)
        assert torch.pdist(together).min() > 1e-3, "different texts differ"
    assert blip.embed_text([]).shape == (0, blip.dim)


def test_words_stand_between_before_and_the_text(blip):
    """Words that are a text's own embeddings read as that text, in both modes."""
    ids = torch.tensor(blip.tokenizer.encode(["short sleeves", "short sleeves"]))
    words, tokens = blip.text.words(ids), blip.tokens(images(2))
    tails, wholes = ["red", "a white print"], [f"a photo of short sleeves {tail}" for tail in ("red", "a white print")]
    got = blip.embed_text(tails, before="a photo of", words=words)
    assert torch.allclose(got, blip.embed_text(wholes), atol=1e-6)
    got = blip.match(tails, tokens, words, before="a photo of")
    assert torch.allclose(got, blip.match(wholes, tokens), atol=1e-6)


def test_words_may_be_read_twice_and_learnt(blip):
    """The trap: transformers adds positions in place to what it is given; a leaf that is learnt would raise."""
    with torch.enable_grad():
        words = torch.randn(2, 3, blip.word_dim, generator=torch.Generator().manual_seed(0)).requires_grad_()
        before, tokens = words.detach().clone(), blip.tokens(images(2))
        first = blip.embed_text(["that is red", ""], before="a photo of", words=words)
        assert torch.equal(first, blip.embed_text(["that is red", ""], before="a photo of", words=words))
        logits = blip.match(["", ""], tokens.detach(), words)
        assert torch.equal(logits, blip.match(["", ""], tokens.detach(), words))
        for total in (first.sum(), logits[:, 1].sum()):
            (gradient,) = torch.autograd.grad(total, words)
            assert (gradient.abs().sum(dim=-1) > 0).all()
    assert torch.equal(words, before)


def test_long_texts_are_cut_and_the_words_kept(blip):
    long = "red " * 100
    assert len(blip.tokenizer.frame([long])[0][0]) == blip.tokenizer.context == 77
    words = torch.zeros(1, 5, blip.word_dim)
    assert blip.embed_text([long], words=words).isfinite().all()
    with pytest.raises(ComposirError, match="shorten the former"):
        blip.embed_text([""], words=torch.zeros(1, 80, blip.word_dim))


def test_special_tokens_in_a_text_are_text(blip):
    tokenizer = blip.tokenizer
    special = {tokenizer.core.token_to_id(token) for token in (DEC, ENC, "[CLS]", "[SEP]", "[PAD]")}
    assert not special & set(tokenizer.encode(["[ENC] [DEC] [SEP] red [CLS] [PAD]"])[0])


@pytest.mark.parametrize("shape", [(4, 2, 23), (3, 2, 24), (2, 24)])
def test_words_of_another_shape_are_refused(blip, shape):
    with pytest.raises(REFUSED):
        blip.embed_text(TEXTS, words=torch.zeros(shape))


def test_matching_takes_pairs(blip):
    with pytest.raises(ComposirError, match="4 texts and 3 images"):
        blip.match(TEXTS, blip.tokens(images(3)))


@pytest.mark.parametrize("shape", [(2, 3, 32, 31), (2, 1, 32, 32), (3, 32, 32), (2, 3, 64, 64)])
def test_wrong_image_shape_is_refused(blip, shape):
    with pytest.raises(REFUSED):
        blip.tokens(torch.zeros(shape))


# ---- new words ----


def test_new_words_are_one_token_with_the_mean_embedding(blip, tmp_path):
    made = copy.deepcopy(blip)
    texts, rows = made.embed_text(TEXTS), made.text.words.num_embeddings
    tokens = made.tokens(images())
    matched, mean = made.match(TEXTS, tokens), made.text.words.weight.mean(dim=0)
    made.add_words(["[FORWARD]", "[BACKWARD]"])
    made.add_words(["[BACKWARD]", "[FORWARD]"])
    assert made.tokenizer.encode(["[FORWARD] red"])[0][0] == rows
    assert len(made.tokenizer.encode(["[BACKWARD]"])[0]) == 1
    assert len(made.tokenizer.encode(["[forward]"])[0]) > 1
    assert made.text.words.num_embeddings == rows + 2 == made.config.text_config.vocab_size
    assert torch.allclose(made.text.words.weight[rows:], mean.expand(2, -1), atol=1e-7)
    assert torch.equal(made.embed_text(TEXTS), texts)
    assert torch.equal(made.match(TEXTS, tokens), matched), "[ENC] is where it was"
    made.save_pretrained(tmp_path)
    again = load_backbone(str(tmp_path))
    assert torch.equal(again.embed_text(["[FORWARD] is red"]), made.embed_text(["is red"], before="[FORWARD]"))
    BlipForImageTextRetrieval.from_pretrained(tmp_path)


# ---- other sizes, folders, architecture ----


def test_resized_input_equals_transformers_interpolation(blip, theirs, tmp_path):
    blip.save_pretrained(tmp_path / "small")
    made = BlipBackbone.from_pretrained(tmp_path / "small", image_size=56)
    x = images(2, 56)
    expected = theirs.vision_model(pixel_values=x, interpolate_pos_encoding=True).last_hidden_state
    assert torch.allclose(made.tokens(x), expected, atol=1e-5)
    assert made.image_size == made.transform().size == made.transform().resize_to == 56
    made.save_pretrained(tmp_path / "large")
    again = load_backbone(str(tmp_path / "large"))
    assert torch.equal(again.tokens(x), made.tokens(x))
    with pytest.raises(ComposirError, match="image_size = 50 is not a multiple of patch_size = 8"):
        made.resize(50)


def test_interpolation_keeps_the_class_token_and_a_grid_of_its_own_size():
    positions = torch.randn(1, 17, 5, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(interpolated(positions, 4), positions, atol=1e-6)
    assert torch.equal(interpolated(positions, 7)[:, :1], positions[:, :1])
    # A grid that rises along its rows alone still does.
    ramp = torch.arange(14.0).repeat_interleave(14).view(1, 196, 1)
    larger = interpolated(torch.cat([ramp[:, :1], ramp], dim=1), 24)[0, 1:, 0].view(24, 24)
    assert torch.allclose(larger, larger[:, :1].expand(24, 24), atol=1e-4)
    assert (larger[1:, 0] > larger[:-1, 0]).all()


def test_the_scale_survives_saving(blip, tmp_path):
    assert math.isclose(float(blip.logit_scale.exp()), 1 / 0.07, rel_tol=1e-4), "BLIP begins at 0.07"
    made = copy.deepcopy(blip)
    made.logit_scale.fill_(3.3333333)
    made.save_pretrained(tmp_path, dtype=torch.float16)
    again = load_backbone(str(tmp_path))
    assert torch.equal(again.logit_scale, made.logit_scale)
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert torch.allclose(again.embed_text(TEXTS), made.embed_text(TEXTS), atol=2e-2)


def test_a_plain_bert_tokenizer_gets_the_two_tokens(blip, tmp_path):
    """What the hub's ITM repositories hold: BERT's tokens alone, a word table with two rows more."""
    blip.save_pretrained(tmp_path)
    vocabulary = blip.tokenizer.core.get_vocab(with_added_tokens=False)
    content = json.loads((tmp_path / "tokenizer.json").read_text("utf-8"))
    content["model"]["vocab"] = {token: i for token, i in vocabulary.items() if token not in (DEC, ENC)}
    content["added_tokens"] = [entry for entry in content["added_tokens"] if entry["content"] not in (DEC, ENC)]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    made = load_backbone(str(tmp_path))
    assert made.tokenizer.core.token_to_id(ENC) == vocabulary[ENC] == made.text.words.num_embeddings - 1
    assert made.tokenizer.core.token_to_id(DEC) == vocabulary[DEC] == made.config.text_config.bos_token_id
    assert torch.equal(made.embed_text(TEXTS), blip.embed_text(TEXTS))
    assert torch.equal(made.match(TEXTS, blip.tokens(images())), blip.match(TEXTS, blip.tokens(images())))


def test_parts_of_different_checkpoints_are_refused(blip, tmp_path):
    blip.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "preprocessor_config.json").read_text("utf-8"))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config | {"size": 24}), "utf-8")
    with pytest.raises(ComposirError, match="makes 24 pixels, the image tower reads 32"):
        load_backbone(str(tmp_path))
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(config), "utf-8")
    TextTokenizer.train_bert([*TINY_CORPUS, "quite another corpus, quite another"] * 2, 2000, 77).save(tmp_path)
    with pytest.raises(ComposirError, match=r"ids up to \d+, \[DEC\] and \[ENC\] included, the text tower knows"):
        load_backbone(str(tmp_path))
    load_backbone("clip-tiny").save_pretrained(tmp_path)
    with pytest.raises(ComposirError, match="'clip' is not 'blip'"):
        BlipBackbone.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"image_heads": 3}, "image_width = 32 is not a multiple of image_heads = 3"),
        ({"text_heads": 5}, "text_width = 24 is not a multiple of text_heads = 5"),
        ({"patch_size": 7}, "image_size = 32 is not a multiple of patch_size = 7"),
        ({"vocab_size": 100}, "vocab_size = 100 is too small"),
        ({"activation": "gelo"}, "did you mean"),
    ],
)
def test_impossible_sizes_are_refused(change, complaint):
    with pytest.raises(ComposirError, match=complaint):
        BlipBackbone.from_scratch(TINY_CORPUS, **(SIZES | change))


def test_unknown_kernel_is_refused():
    # The annotation says so too, where annotations are checked.
    with pytest.raises((ComposirError, TypeError), match="flash"):
        BlipBackbone.from_scratch(TINY_CORPUS, **SIZES, attention="flash")


def full_size(width: int, layers: int, heads: int, side: int, **device) -> BlipBackbone:
    """BLIP as published, random: ViT-B/16 or ViT-L/16 with BERT-base."""
    tokenizer = TextTokenizer.train_bert(TINY_CORPUS, 640, 77)
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    vision = {
        "hidden_size": width, "intermediate_size": 4 * width, "num_hidden_layers": layers, "num_attention_heads": heads,
        "image_size": side, "patch_size": 16, "initializer_range": 0.02,
    }  # fmt: skip
    config = blip_config({**text, "vocab_size": 30524, "max_position_embeddings": 512}, vision, tokenizer, dim=256)
    with torch.device(device.get("device", "cpu")):
        return BlipBackbone.from_config(config, tokenizer, blip_transform(side)).eval()


@pytest.mark.parametrize(
    ("width", "layers", "heads", "side", "millions"), [(768, 12, 12, 384, 223.7), (1024, 24, 16, 384, 446.1)]
)
def test_full_size_shapes_without_memory(width, layers, heads, side, millions):
    """Base and large on torch's meta device, where only shapes are computed."""
    made = full_size(width, layers, heads, side, device="meta")
    assert sum(p.numel() for p in made.parameters()) / 1e6 == pytest.approx(millions, abs=0.1)
    x = torch.zeros(2, 3, side, side, device="meta")
    assert made.embed_image(x).shape == made.embed_text(["a", "b"]).shape == (2, 256)
    assert made.tokens(x).shape == (2, 1 + (side // 16) ** 2, width)
    assert made.match(["a", "b"], made.tokens(x)).shape == (2, 2)


@pytest.mark.slow
@pytest.mark.parametrize("side", [224, 384])
@pytest.mark.parametrize(("width", "layers", "heads"), [(768, 12, 12), (1024, 24, 16)])
def test_full_size_runs(width, layers, heads, side):
    made = full_size(width, layers, heads, side)
    x = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    tokens = made.tokens(x)
    assert tokens.shape == (1, 1 + (side // 16) ** 2, width)
    for out in (made.project(tokens), made.embed_text(["is red and longer"]), made.match(["is red"], tokens)):
        assert out.isfinite().all()
