"""Own tokenizers against those of transformers; and what a learnt vocabulary of byte-level BPE must guarantee."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, BertTokenizerFast, CLIPTokenizerFast

from composir.backbones.clip import TINY_CORPUS
from composir.backbones.tokenizer import END, START, SUFFIX, TextTokenizer
from composir.errors import ComposirError

NASTY = [
    "", " ", "Is RED,  with\tlonger\nsleeves!!", "it's the user's; they'll've 100% 3.5x", "naïve café, façade, Ærø",
    "e\u0301galite\u0301", "中文 衣服", "👗👠 zwj 👩‍👩‍👧", "a" * 300,
    "\u200b\ufeff\x00\x1f", "don't-stop_the(music)[now]",
    "ﬁ ligature ½ ²", "ПРИВЕТ İstanbul ß ẞ", "</w> <unk> ##ing", "\U0010ffff",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train_clip(TINY_CORPUS, 640, 77)


@pytest.mark.parametrize(
    ("make", "kind", "model_type", "ends"),
    [
        (TextTokenizer.train_clip, AutoTokenizer, "clip", ("bos_token_id", "eos_token_id")),
        (TextTokenizer.train_clip, CLIPTokenizerFast, "clip", ("bos_token_id", "eos_token_id")),
        (TextTokenizer.train_bert, AutoTokenizer, "blip", ("cls_token_id", "sep_token_id")),
        (TextTokenizer.train_bert, BertTokenizerFast, "blip", ("cls_token_id", "sep_token_id")),
    ],
)
def test_transformers_loads_it_with_equal_ids(make, kind, model_type, ends, tmp_path):
    """BPE and WordPiece alike, on whatever people and machines may write."""
    tokenizer = make(TINY_CORPUS, 640, 77)
    tokenizer.save(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    theirs = kind.from_pretrained(tmp_path)
    for text in [*NASTY, *TINY_CORPUS]:
        expected = theirs(text, truncation=True, max_length=77)["input_ids"]
        assert tokenizer.frame([text])[0] == [expected], text
    assert [getattr(theirs, end) for end in ends] == [tokenizer.start, tokenizer.end]
    assert (theirs.pad_token_id, theirs.model_max_length) == (tokenizer.pad, 77)


def test_vocabulary_is_laid_out_as_clips(tokenizer):
    vocab = tokenizer.core.get_vocab()
    by_id = sorted(vocab, key=vocab.__getitem__)
    assert [vocab[token] for token in by_id] == list(range(len(by_id)))
    assert by_id[0] == "!"
    assert by_id[256] == "!" + SUFFIX
    assert by_id[-2:] == [START, END]
    assert all(token.endswith(SUFFIX) for token in by_id[256:512])
    assert not any(token.endswith(SUFFIX) for token in by_id[:256])
    assert tokenizer.size == len(vocab) == tokenizer.end + 1


def test_order_of_the_corpus_and_of_equal_counts_does_not_matter():
    texts = [f"{a}{b} {b}{a}" for a in "abcdefgh" for b in "ijklmnop"] * 2
    one = TextTokenizer.train_clip(texts, 600, 77)
    other = TextTokenizer.train_clip(reversed(texts), 600, 77)
    assert one.size == 600
    assert one.core.to_str() == other.core.to_str()


def test_vocab_size_is_an_upper_bound():
    assert TextTokenizer.train_clip([], 1000, 77).size == 514
    assert TextTokenizer.train_clip(TINY_CORPUS, 514, 77).size == 514
    assert TextTokenizer.train_clip(TINY_CORPUS * 9, 520, 77).size == 520


@given(st.text())
def test_every_text_is_spelt_without_unknown_or_special_tokens(text):
    tokenizer = TextTokenizer.clip([("a", "b"), ("ab", "c</w>")], 77)
    ids = tokenizer.encode([text])[0]
    assert all(index < tokenizer.start for index in ids)
    spelt = tokenizer.core.decode(ids).replace(SUFFIX, "")
    expected = unicodedata.normalize("NFC", text)
    wanted = "".join(expected.split()).lower().replace("</w>", "")
    # Unicode versions of Python and Rust may disagree on exotic letters; bytes of ordinary ones must come back
    if expected.isascii():
        assert "".join(spelt.split()) == wanted


def test_frame_cuts_the_text_not_what_stands_around_it(tokenizer):
    rows, place = tokenizer.frame(["red dress", "x " * 200], before="a photo of", gap=6)
    head = tokenizer.frame(["a photo of"])[0][0][:-1]
    for row in rows:
        assert row[:place] == head
        assert row[-1] == tokenizer.end
    assert len(rows[1]) + 6 == 77
    assert len(rows[0]) < 20
    with pytest.raises(ComposirError, match="77 places"):
        tokenizer.frame(["red"], before="x " * 80)


def test_siglip_texts_lose_punctuation_and_capitals(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = json.loads(path.read_text()) | {"tokenizer_class": "SiglipTokenizer", "model_max_length": 64}
    path.write_text(json.dumps(config))
    siglip = TextTokenizer.from_folder(tmp_path, 64, opens=False)
    assert siglip.start is None
    assert siglip.encode(["Red/blue, <NEW>!"]) == tokenizer.encode(["redblue new"])
    assert siglip.frame(["red"])[0] == [[*tokenizer.encode(["red"])[0], tokenizer.end]]


@pytest.mark.parametrize("key", ["bos_token", "eos_token", "pad_token"])
def test_special_token_that_is_none_of_the_tokens_is_refused(tokenizer, tmp_path, key):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: "<|nowhere|>"}))
    with pytest.raises(ComposirError, match=key):
        TextTokenizer.from_folder(tmp_path, 77, opens=True)


def test_special_tokens_may_be_written_as_objects(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    entry = {"__type": "AddedToken", "content": END, "lstrip": False}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": entry}))
    assert TextTokenizer.from_folder(tmp_path, 77, opens=True).end == tokenizer.end


def test_broken_file_is_named(tokenizer, tmp_path):
    tokenizer.save(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(ComposirError, match=r"tokenizer\.json cannot be read"):
        TextTokenizer.from_folder(tmp_path, 77, opens=True)
