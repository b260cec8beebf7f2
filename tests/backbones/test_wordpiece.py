"""BERT's WordPiece against the greedy rule, word by word; against transformers: see test_tokenizer.py."""

from __future__ import annotations

import copy
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.backbones.clip import TINY_CORPUS
from composir.backbones.tokenizer import BERT, DEC, ENC, TextTokenizer
from composir.errors import ComposirError


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer.train_bert(TINY_CORPUS, 640, 77)


def test_layout_is_that_of_blip(tokenizer):
    """BERT's special tokens somewhere before, [DEC] and [ENC] behind everything: 30522 and 30523 in the original."""
    vocab = tokenizer.core.get_vocab()
    assert [vocab[token] for token in BERT] == [0, 1, 2, 3, 4]
    assert [vocab[DEC], vocab[ENC]] == [len(vocab) - 2, len(vocab) - 1]
    assert tokenizer.highest == len(vocab) - 1


def greedy(word: str, vocab: dict[str, int]) -> list[int]:
    """The longest piece that fits, from the left; the whole word is unknown if one place has none."""
    ids, start = [], 0
    while start < len(word):
        ends = [e for e in range(len(word), start, -1) if ("##" if start else "") + word[start:e] in vocab]
        if not ends:
            return [vocab["[UNK]"]]
        ids.append(vocab[("##" if start else "") + word[start : ends[0]]])
        start = ends[0]
    return ids


@given(st.lists(st.text("abcdefghijlmnoprstuvwxyzABé", min_size=1, max_size=12), max_size=5))
def test_pieces_are_the_longest_that_fit(words):
    tokenizer = TextTokenizer.train_bert(TINY_CORPUS, 640, 77)
    vocab = tokenizer.core.get_vocab()
    plain = [word.lower().replace("é", "e") for word in words]
    assert tokenizer.encode([" ".join(words)]) == [[i for word in plain for i in greedy(word, vocab)]]


def test_a_vocabulary_file_is_read_as_it_stands():
    lines = [*BERT, "play", "##ing", "##s", "red", ","]
    tokenizer = TextTokenizer.bert(lines, 77)
    assert tokenizer.encode(["Playing, plays RED réd dress"]) == [[5, 6, 9, 5, 7, 8, 8, 1]]
    assert tokenizer.frame(["red"], "play") == ([[2, 5, 8, 3]], 2)
    assert tokenizer.core.token_to_id(ENC) == len(lines) + 1
    with pytest.raises(ComposirError, match=r"lacks \[MASK\]"):
        TextTokenizer.bert([token for token in lines if token != "[MASK]"], 77)


@pytest.mark.long
def test_equal_corpora_give_equal_vocabularies(tokenizer):
    code = (
        "from composir.backbones.clip import TINY_CORPUS; from composir.backbones.tokenizer import TextTokenizer;"
        "print(TextTokenizer.train_bert(TINY_CORPUS, 640, 77).core.to_str())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == json.loads(tokenizer.core.to_str())


def test_too_small_a_vocabulary_names_what_it_takes():
    with pytest.raises(ComposirError, match=r"vocab_size = 50 is too small; \d+ or more"):
        TextTokenizer.train_bert(TINY_CORPUS, 50, 77)


@pytest.mark.parametrize("make", [TextTokenizer.train_bert, TextTokenizer.train_clip])
def test_added_words_are_one_token_wherever_they_stand(make, tmp_path):
    tokenizer = make(TINY_CORPUS, 640, 77)
    red = tokenizer.encode(["red"])[0]
    (new,) = tokenizer.add_words(["[FORWARD]", "[FORWARD]"])
    assert new == tokenizer.highest
    assert tokenizer.add_words(["[FORWARD]"]) == []
    for one in (tokenizer, copy.deepcopy(tokenizer)):
        assert one.encode(["[FORWARD] red", "red [FORWARD]red"]) == [[new, *red], [*red, new, *red]]
        assert new not in one.encode(["[forward] FORWARD"])[0]
    tokenizer.save(tmp_path)
    again = TextTokenizer.from_folder(tmp_path, 77, opens=True)
    assert again.encode(["[FORWARD] red"]) == [[new, *red]]
    for word in ("", " red", "red "):
        with pytest.raises(ComposirError, match="without spaces around it"):
            tokenizer.add_words([word])
