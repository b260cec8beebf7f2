"""CLIP and SigLIP: our towers against transformers' models, and folders written by one and read by the other."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from composir.backbones import load_backbone
from composir.backbones.clip import TINY_CORPUS, ClipBackbone
from composir.backbones.transform import Transform
from composir.backbones.weights import write_json
from composir.errors import ComposirError, UnknownNameError

TEXTS = ["red", "is darker, has longer sleeves and a floral print", "", "the same in blue but shorter"]
MODELS = {"clip": CLIPModel, "siglip": SiglipModel}
# A wrong number of axes is seen by the shape checker first, where one is switched on.
REFUSED = (ComposirError, TypeError)
# of ClipBackbone.tiny()
SIZES = {
    "image_size": 32, "patch_size": 8, "image_width": 32, "image_layers": 3, "image_heads": 2, "text_width": 24,
    "text_layers": 2, "text_heads": 2, "dim": 16, "vocab_size": 640,
}  # fmt: skip


@pytest.fixture(scope="module", params=["clip", "siglip"])
def backbone(request) -> ClipBackbone:
    return ClipBackbone.tiny(family=request.param)


@pytest.fixture(scope="module")
def clip() -> ClipBackbone:
    return ClipBackbone.tiny()


@pytest.fixture(scope="module")
def theirs(backbone, tmp_path_factory):
    """The same weights in transformers' own class."""
    folder = tmp_path_factory.mktemp("theirs")
    backbone.save_pretrained(folder)
    return MODELS[backbone.family].from_pretrained(folder).eval()


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def images(backbone: ClipBackbone, count: int = 5) -> torch.Tensor:
    return torch.randn(count, 3, backbone.image_size, backbone.image_size, generator=torch.Generator().manual_seed(1))


def padded(backbone: ClipBackbone) -> torch.Tensor:
    """The ids of TEXTS, each filled up to the length that the text tower takes at most."""
    rows, _ = backbone.tokenizer.frame(TEXTS)
    return torch.tensor([row + [backbone.tokenizer.pad] * (backbone.tokenizer.context - len(row)) for row in rows])


def test_images_equal_transformers(backbone, theirs):
    x = images(backbone)
    ours = backbone.embed_image(x)
    assert ours.shape == (5, backbone.dim)
    assert torch.allclose(ours, theirs.get_image_features(pixel_values=x).pooler_output, atol=1e-6)
    assert torch.allclose(ours, torch.cat([backbone.embed_image(row[None]) for row in x]), atol=1e-6)
    assert not torch.allclose(ours.norm(dim=-1), torch.ones(5), atol=1e-2), "features are not normalised"


def test_patches_equal_transformers_hidden_states(backbone, theirs):
    x = images(backbone)
    states = theirs.vision_model(pixel_values=x, output_hidden_states=True).hidden_states
    skip = 1 if backbone.family == "clip" else 0
    for layer in (*range(len(states)), -1, -2, -len(states)):
        got = backbone.patches(x, layer)
        assert got.shape == (5, 16, 32)
        assert torch.allclose(got, states[layer][:, skip:], atol=1e-6)
    with pytest.raises(ComposirError, match="-4 to 3"):
        backbone.patches(x, 4)
    with pytest.raises(ComposirError, match="-4 to 3"):
        backbone.patches(x, -5)


def test_patches_come_row_by_row(backbone):
    """A change in the top right corner of the picture reaches exactly patch 3 of the first layer's input."""
    x = images(backbone, 1)
    changed = x.clone()
    changed[:, :, :8, -8:] += 1
    difference = (backbone.patches(x, 0) - backbone.patches(changed, 0)).abs().amax(dim=(0, 2))
    assert difference.nonzero().flatten().tolist() == [3]


@pytest.mark.parametrize("shape", [(2, 3, 32, 31), (2, 1, 32, 32), (3, 32, 32), (2, 3, 64, 64)])
def test_wrong_image_shape_is_refused(backbone, shape):
    with pytest.raises(REFUSED):
        backbone.embed_image(torch.zeros(shape))


def test_texts_equal_transformers_padded_to_the_limit(backbone, theirs):
    expected = theirs.get_text_features(input_ids=padded(backbone)).pooler_output
    assert torch.allclose(backbone.embed_text(TEXTS), expected, atol=1e-6)


def test_a_text_does_not_depend_on_its_batch(backbone):
    together = backbone.embed_text(TEXTS)
    alone = torch.cat([backbone.embed_text([text]) for text in TEXTS])
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.pdist(together).min() > 1e-3, "different texts differ"


def test_clip_pads_to_the_longest_only(clip, monkeypatch):
    seen = []
    forward = clip.text.forward
    monkeypatch.setattr(clip.text, "forward", lambda ids, *rest: seen.append(ids.shape) or forward(ids, *rest))
    clip.embed_text(["red", "a red dress"])
    length = max(len(row) for row in clip.tokenizer.frame(["red", "a red dress"])[0])
    assert seen == [(2, length)]
    assert length < clip.tokenizer.context


def test_before_is_read_in_front(backbone):
    assert torch.allclose(
        backbone.embed_text(["red dress", "short sleeves"], before="a photo of"),
        backbone.embed_text(["a photo of red dress", "a photo of short sleeves"]),
        atol=1e-6,
    )


def test_no_texts_give_no_rows(backbone):
    assert backbone.embed_text([]).shape == (0, backbone.dim)


def test_words_that_are_embedding_rows_equal_the_tokens(clip):
    sentence = ["a photo of", "red", "with short sleeves"]
    words = clip.text.words(torch.tensor(clip.tokenizer.encode(sentence[1:2])))
    whole = clip.embed_text([" ".join(sentence)])
    assert words.shape[1] > 1
    assert torch.allclose(clip.embed_text(sentence[2:], before=sentence[0], words=words), whole, atol=1e-5)
    # nothing in front, nothing behind
    assert torch.allclose(clip.embed_text(["dress"], words=words), clip.embed_text(["red dress"]), atol=1e-5)
    assert torch.allclose(clip.embed_text([""], words=words), clip.embed_text(["red"]), atol=1e-5)
    none = torch.zeros(1, 0, clip.word_dim)
    assert torch.allclose(clip.embed_text(["red"], words=none), clip.embed_text(["red"]), atol=1e-6)


def test_words_of_a_batch_stay_with_their_texts(clip):
    words = torch.randn(4, 3, clip.word_dim, generator=torch.Generator().manual_seed(2))
    together = clip.embed_text(TEXTS, before="a photo of", words=words)
    alone = [clip.embed_text(TEXTS[i : i + 1], before="a photo of", words=words[i : i + 1]) for i in range(4)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)
    assert torch.pdist(clip.embed_text(["red"] * 4, words=words)).min() > 1e-3


@torch.enable_grad()
def test_words_get_gradients_and_are_not_changed(clip):
    words = torch.randn(2, 3, clip.word_dim, requires_grad=True)
    before = words.detach().clone()
    clip.embed_text(["red", "blue with long sleeves"], words=words).sum().backward()
    assert words.grad is not None
    assert (words.grad.abs().sum(dim=-1) > 0).all()
    assert torch.equal(words.detach(), before)


@pytest.mark.parametrize("shape", [(1, 3, 24), (2, 3, 23), (2, 24)])
def test_wrong_words_are_refused(clip, shape):
    with pytest.raises(REFUSED):
        clip.embed_text(["red", "blue"], words=torch.zeros(shape))


def test_siglip_takes_no_words():
    siglip = ClipBackbone.tiny(family="siglip")
    with pytest.raises(ComposirError, match="CLIP backbone"):
        siglip.embed_text(["red"], words=torch.zeros(1, 1, siglip.word_dim))


def test_long_texts_are_cut_and_keep_the_closing_token(backbone, theirs):
    long = "has a wider skirt and " * 60
    rows, _ = backbone.tokenizer.frame([long])
    assert len(rows[0]) == backbone.tokenizer.context
    assert rows[0][-1] == backbone.tokenizer.end
    expected = theirs.get_text_features(input_ids=torch.tensor(rows)).pooler_output
    assert torch.allclose(backbone.embed_text([long]), expected, atol=1e-6)
    assert torch.equal(backbone.embed_text([long]), backbone.embed_text([long + "and is red"]))


def test_words_survive_when_the_text_is_cut(clip):
    long = ["has a wider skirt and " * 60]
    one, other = torch.randn(2, 1, 5, clip.word_dim, generator=torch.Generator().manual_seed(4))
    assert not torch.allclose(clip.embed_text(long, words=one), clip.embed_text(long, words=other), atol=1e-4)
    with pytest.raises(ComposirError, match="75 pseudo-words do not fit"):
        clip.embed_text(["red"], before="a", words=torch.zeros(1, 75, clip.word_dim))


def test_typed_special_tokens_are_text(clip):
    assert not torch.allclose(
        clip.embed_text(["red <|endoftext|> dress"]), clip.embed_text(["red <|endoftext|> shirt"]), atol=1e-4
    )
    copied = copy.deepcopy(clip)
    text = ["red <|endoftext|> dress"]
    assert torch.equal(copied.embed_text(text), clip.embed_text(text))


@torch.enable_grad()
def test_works_under_bf16_autocast(backbone):
    x = images(backbone)
    with torch.autocast("cpu", torch.bfloat16):
        image, text, patches = backbone.embed_image(x), backbone.embed_text(TEXTS), backbone.patches(x, -2)
        if backbone.family == "clip":
            text = backbone.embed_text(TEXTS, words=torch.randn(4, 2, backbone.word_dim))
        (image.float().sum() + text.float().sum() + patches.float().sum()).backward()
    cosine = torch.cosine_similarity(image.float(), backbone.embed_image(x))
    assert cosine.min() > 0.999
    assert all(p.grad.isfinite().all() for p in backbone.parameters() if p.grad is not None)
    backbone.zero_grad()


def test_tensor_names_are_unique_and_say_the_tower(backbone):
    state = backbone.state_dict()
    own = {"logit_scale"} | ({"logit_bias"} if backbone.family == "siglip" else set())
    assert {name for name in state if not name.startswith(("image.", "text."))} == own
    assert len({tensor.data_ptr() for tensor in state.values()}) == len(state)
    assert len(list(backbone.parameters())) == len(state)
    probe = copy.deepcopy(backbone)
    with torch.enable_grad():
        probe.embed_image(images(probe)).sum().backward()
        assert all(p.grad is None for n, p in probe.named_parameters() if not n.startswith("image."))
        probe.zero_grad()
        probe.embed_text(TEXTS).sum().backward()
        assert all(p.grad is None for n, p in probe.named_parameters() if not n.startswith("text."))


def test_copies_are_equal_and_independent(backbone):
    copied = copy.deepcopy(backbone)
    assert torch.equal(copied.embed_text(TEXTS), backbone.embed_text(TEXTS))
    for parameter in copied.parameters():
        parameter.mul_(0)
    assert backbone.embed_image(images(backbone)).abs().max() > 0


def test_seed_fixes_the_weights_and_leaves_the_callers_randomness_alone(backbone):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    same = ClipBackbone.tiny(family=backbone.family)
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(a, b) for a, b in zip(same.parameters(), backbone.parameters(), strict=True))
    other = ClipBackbone.tiny(seed=1, family=backbone.family)
    assert not torch.equal(other.embed_text(TEXTS), backbone.embed_text(TEXTS))


def test_eager_attention_gives_the_same_features(clip):
    eager = ClipBackbone.from_scratch(TINY_CORPUS, **SIZES, attention="eager")
    assert torch.allclose(eager.embed_text(TEXTS), clip.embed_text(TEXTS), atol=1e-5)
    assert torch.allclose(eager.embed_image(images(clip)), clip.embed_image(images(clip)), atol=1e-5)


def test_folder_is_read_by_both_sides(backbone, theirs, tmp_path):
    backbone.save_pretrained(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json",
    }  # fmt: skip
    again = ClipBackbone.from_pretrained(tmp_path)
    assert {name: tensor.shape for name, tensor in again.state_dict().items()} == {
        name: tensor.shape for name, tensor in backbone.state_dict().items()
    }
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), backbone.parameters(), strict=True))
    assert torch.equal(again.embed_text(TEXTS), backbone.embed_text(TEXTS))
    assert again.transform() == backbone.transform()
    assert not again.training
    assert set(theirs.state_dict()) == {
        name.removeprefix("image.").removeprefix("text.") for name in again.state_dict()
    }


def test_folder_that_transformers_wrote_is_read(backbone, theirs, tmp_path):
    backbone.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "config.json").unlink()
    theirs.save_pretrained(tmp_path)
    again = load_backbone(str(tmp_path))
    assert torch.equal(again.embed_image(images(backbone)), backbone.embed_image(images(backbone)))


def test_half_precision_storage_loads_as_float32(backbone, tmp_path):
    backbone.save_pretrained(tmp_path / "full")
    backbone.save_pretrained(tmp_path / "half", dtype=torch.float16)
    again = ClipBackbone.from_pretrained(tmp_path / "half")
    assert {p.dtype for p in again.parameters()} == {torch.float32}
    assert all(torch.equal(a, b.half().float()) for a, b in zip(again.parameters(), backbone.parameters(), strict=True))
    assert backbone.config.dtype != torch.float16, "saving leaves the backbone as it was"
    theirs = MODELS[backbone.family].from_pretrained(tmp_path / "half", dtype=torch.float32)
    expected = theirs.get_image_features(pixel_values=images(backbone)).pooler_output
    assert torch.allclose(again.embed_image(images(backbone)), expected, atol=1e-6)
    sizes = [(tmp_path / kind / "model.safetensors").stat().st_size for kind in ("half", "full")]
    assert sizes[0] < 0.65 * sizes[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"patch_size": 7}, "image_size = 32 is not a multiple of patch_size = 7"),
        ({"image_heads": 3}, "image_width = 32 is not a multiple of image_heads = 3"),
        ({"text_heads": 5}, "text_width = 24 is not a multiple of text_heads = 5"),
        ({"vocab_size": 513}, "vocab_size = 513 is too small"),
    ],
)
def test_impossible_sizes_are_refused(change, message):
    with pytest.raises(ComposirError, match=message):
        ClipBackbone.from_scratch(TINY_CORPUS, **SIZES | change)


def test_unknown_activation_names_the_nearest():
    with pytest.raises(UnknownNameError, match="quick_gelu"):
        ClipBackbone.from_scratch(TINY_CORPUS, **SIZES, activation="quickgelu")


B32 = {
    "text_config": {"hidden_size": 512, "intermediate_size": 2048, "num_attention_heads": 8},
    "vision_config": {"hidden_size": 768, "patch_size": 32},
}
L14 = {
    "projection_dim": 768,
    "text_config": {
        "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "projection_dim": 768,
    },
    "vision_config": {
        "hidden_size": 1024, "intermediate_size": 4096, "num_attention_heads": 16, "num_hidden_layers": 24,
        "patch_size": 14, "projection_dim": 768,
    },
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "parameters", "patches"),
    [
        pytest.param(CLIPConfig(**B32), 151_277_313, 49, id="clip-vit-b-32"),
        pytest.param(CLIPConfig(**L14), 427_616_513, 256, id="clip-vit-l-14"),
        pytest.param(
            SiglipConfig(text_config={"bos_token_id": None, "eos_token_id": 1}, vision_config={}),
            203_155_970, 196, id="siglip-base-patch16-224",
        ),
    ],
)  # fmt: skip
def test_full_size_folders_load(config, parameters, patches, tmp_path):
    """Random weights in the published architecture, written by transformers and read by us."""
    tiny = ClipBackbone.tiny(family=config.model_type)
    tiny.save_pretrained(tmp_path)  # for its tokenizer
    config = copy.deepcopy(config)
    config.text_config.eos_token_id = tiny.tokenizer.end  # where transformers' CLIP reads a text
    transform = Transform(224, "exact", 224, 3, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    write_json(tmp_path / "preprocessor_config.json", transform.to_preprocessor("SiglipImageProcessor"))
    theirs = MODELS[config.model_type](config).eval()
    theirs.save_pretrained(tmp_path)

    ours = load_backbone(str(tmp_path))
    assert sum(p.numel() for p in ours.parameters()) == parameters
    assert ours.image_size == 224
    x = images(ours, 2)
    assert torch.allclose(ours.embed_image(x), theirs.get_image_features(pixel_values=x).pooler_output, atol=1e-4)
    assert ours.patches(x, -2).shape == (2, patches, config.vision_config.hidden_size)
    texts, expected = ours.embed_text(TEXTS), theirs.get_text_features(input_ids=padded(ours)).pooler_output
    assert texts.shape == (4, ours.dim)
    assert torch.allclose(texts, expected, atol=1e-4)
    assert torch.pdist(expected).min() > 1e-1, "the texts differ by far more than the tolerance"
    assert ours.transform() == transform


def test_new_words_are_one_token_with_the_mean_embedding(backbone, tmp_path):
    made = copy.deepcopy(backbone)
    texts, rows, mean = made.embed_text(TEXTS), made.text.words.num_embeddings, made.text.words.weight.mean(dim=0)
    made.add_words(["[FORWARD]", "[BACKWARD]"])
    made.add_words(["[FORWARD]"])
    assert made.text.words.num_embeddings == rows + 2 == made.config.text_config.vocab_size
    assert torch.allclose(made.text.words.weight[rows:], mean.expand(2, -1), atol=1e-7)
    assert torch.equal(made.embed_text(TEXTS), texts)
    assert [len(ids) for ids in made.tokenizer.encode(["[FORWARD]", "[BACKWARD]"])] == [1, 1]
    made.save_pretrained(tmp_path)
    again = load_backbone(str(tmp_path))
    assert torch.equal(again.text.words.weight, made.text.words.weight)
    read, put = again.embed_text(["[FORWARD] is red"]), made.embed_text(["is red"], before="[FORWARD]")
    assert torch.allclose(
        read, put, atol=1e-6
    )  # weights that lie in a file are aligned otherwise: sums in another order
    assert not torch.allclose(made.embed_text(["[FORWARD] is red"]), made.embed_text(["is red"]), atol=1e-3)


def test_a_row_that_no_token_had_is_used_first(clip):
    """A word table may be longer than the tokenizer: the new word takes a row that is there."""
    made = copy.deepcopy(clip)
    made.text.grow([made.text.words.num_embeddings + 3])
    rows = made.text.words.num_embeddings
    made.text.words.weight.requires_grad_(False)
    made.add_words(["[FORWARD]"])
    assert made.text.words.num_embeddings == rows
    assert not made.text.words.weight.requires_grad
