"""Text -> token ids, on the `tokenizers` library alone: CLIP's byte-level BPE, BERT's WordPiece, any `tokenizer.json`.

CLIP's tokenizer: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", 2021.
Differs from transformers' classes: "<|endoftext|>" typed by a user is plain text, not the closing token, so a query
cannot move the place where CLIP reads its feature. No sentencepiece: SigLIP is read from its `tokenizer.json`.
"""

from __future__ import annotations

import hashlib
import json
import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from composir.backbones.weights import read_json, write_json
from composir.errors import ComposirError

START, END = "<|startoftext|>", "<|endoftext|>"
BERT = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
DEC, ENC = "[DEC]", "[ENC]"  # BLIP puts them behind BERT's vocabulary
NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
SUFFIX = "</w>"  # closes a word in CLIP's vocabulary
PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class TextTokenizer:
    """Ids of texts without special tokens, and the special ids to put around them.

    Attributes:
        context: Longest sequence the tower reads, special tokens included.
        start: Id that opens a sequence, or None (SigLIP).
        end: Id that closes it.
        pad: Id that fills up a batch.
    """

    def __init__(self, core: Tokenizer, config: Mapping[str, Any], context: int, opens: bool):
        self.core, self.config, self.context = core, dict(config), context
        core.no_padding()
        core.no_truncation()
        core.encode_special_tokens = True  # special tokens in a user's text are text
        # BERT's files name no bos and eos: [CLS] opens and [SEP] closes.
        bert = str(config.get("tokenizer_class", "")).startswith("Bert")
        self.end = self._special("sep_token" if bert else "eos_token")
        self.start = self._special("cls_token" if bert else "bos_token") if opens else None
        self.pad = self._special("pad_token") if config.get("pad_token") else self.end

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.core.encode_special_tokens = True  # the one setting that a copy of the core forgets

    @classmethod
    def from_folder(cls, folder: Path, context: int, opens: bool) -> TextTokenizer:
        """Read tokenizer.json and tokenizer_config.json; `opens` says whether a sequence has an opening token.

        Raises:
            ComposirError: A file is broken, or a special token is not among the tokens.
        """
        path = folder / "tokenizer.json"
        try:
            core = Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # tokenizers raises bare Exception
            raise ComposirError(f"{path} cannot be read ({error}); fetch it again") from error
        return cls(core, read_json(folder / "tokenizer_config.json"), context, opens)

    @classmethod
    def train_clip(cls, texts: Iterable[str], vocab_size: int, context: int) -> TextTokenizer:
        """Learn CLIP's byte-level BPE from texts: 256 bytes, 256 word-closing bytes, merges, start, end.

        Args:
            texts: The corpus.
            vocab_size: Upper bound of the vocabulary, 514 or more; a small corpus yields less.
            context: As in the class.
        """
        if vocab_size < 514:
            raise ComposirError(f"vocab_size = {vocab_size} is too small; 514 or more (512 bytes and 2 special tokens)")
        # The bytes go in as "special" so that their ids, hence the order among equally frequent merges, are fixed.
        alphabet = _alphabet()
        learner = _clip_pipeline(models.BPE(end_of_word_suffix=SUFFIX))
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - 2, min_frequency=2, show_progress=False, end_of_word_suffix=SUFFIX,
            special_tokens=alphabet,
        )  # fmt: skip
        learner.train_from_iterator(texts, trainer)
        merges = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
        return cls.clip(merges, context)

    @classmethod
    def clip(cls, merges: Sequence[tuple[str, str]], context: int) -> TextTokenizer:
        """CLIP's tokenizer from its merges; ids are laid out as in OpenAI's vocabulary."""
        tokens = [*_alphabet(), *("".join(pair) for pair in merges), START, END]
        vocab = {token: index for index, token in enumerate(dict.fromkeys(tokens))}
        core = _clip_pipeline(models.BPE(vocab, list(merges), end_of_word_suffix=SUFFIX, unk_token=END))
        core.add_special_tokens([START, END])
        core.post_processor = processors.RobertaProcessing((END, vocab[END]), (START, vocab[START]), False, False)
        config = {
            "tokenizer_class": "CLIPTokenizer", "model_max_length": context,
            "bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END,
        }  # fmt: skip
        return cls(core, config, context, opens=True)

    @classmethod
    def train_bert(cls, texts: Sequence[str], vocab_size: int, context: int) -> TextTokenizer:
        """Learn BERT's WordPiece from texts, in BLIP's layout: BERT's special tokens, pieces, [DEC], [ENC].

        Args:
            texts: The corpus.
            vocab_size: Upper bound of the vocabulary, room for two pieces of every letter; a small corpus yields less.
            context: As in the class.
        """
        letters = sorted(
            {*string.ascii_lowercase, *string.digits, *string.punctuation, *"".join(texts).lower()} - {" "}
        )
        # Given as "special" so that their ids, hence the order among equally frequent pieces, are fixed.
        given = [*BERT, *letters, *(f"##{letter}" for letter in letters)]
        if vocab_size < len(given) + 2:
            raise ComposirError(f"vocab_size = {vocab_size} is too small; {len(given) + 2} or more for these letters")
        learner = _bert_pipeline(models.WordPiece(unk_token="[UNK]"))
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size - 2, min_frequency=2, show_progress=False, special_tokens=given
        )
        learner.train_from_iterator(texts, trainer)
        learnt = learner.get_vocab(with_added_tokens=False)
        return cls.bert([*sorted(learnt, key=learnt.__getitem__), DEC, ENC], context)

    @classmethod
    def bert(cls, tokens: Sequence[str], context: int) -> TextTokenizer:
        """BERT's uncased tokenizer from the lines of its vocab.txt; [DEC] and [ENC] are put behind them if absent."""
        vocab = {token: index for index, token in enumerate(dict.fromkeys([*tokens, DEC, ENC]))}
        missing = [token for token in BERT if token not in vocab]
        if missing:
            raise ComposirError(f"the vocabulary lacks {', '.join(missing)}; give BERT's own vocab.txt")
        core = _bert_pipeline(models.WordPiece(vocab, unk_token="[UNK]"))
        core.add_special_tokens([*BERT, DEC, ENC])
        ends = [(token, vocab[token]) for token in ("[CLS]", "[SEP]")]
        core.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
        named = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), BERT, strict=True))
        config = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": context, **named}
        return cls(core, config, context, opens=True)

    def without_start(self) -> TextTokenizer:
        """The same tokens in SigLIP's frame: no opening token."""
        core = Tokenizer.from_str(self.core.to_str())
        core.post_processor = processors.TemplateProcessing(f"$A {END}", special_tokens=[(END, self.end)])
        config = {k: v for k, v in self.config.items() if k != "bos_token"} | {"tokenizer_class": "TokenizersBackend"}
        return TextTokenizer(core, config, self.context, opens=False)

    @property
    def size(self) -> int:
        """Number of ids in the vocabulary proper; CLIP's includes the special tokens."""
        return self.core.get_vocab_size(with_added_tokens=False)

    def add_words(self, words: Sequence[str]) -> list[int]:
        """Make each word one token of its own wherever it stands, case and all; returns the ids of the new ones.

        Raises:
            ComposirError: A word is empty or has a space at an end.
        """
        for word in words:
            if not word or word != word.strip():
                raise ComposirError(f"{word!r} cannot be a word; give text without spaces around it")
        new = [word for word in dict.fromkeys(words) if self.core.token_to_id(word) is None]
        # Not "special": those are read as plain text, so that no user can move the place where a feature is read.
        self.core.add_tokens([AddedToken(word, normalized=False, special=False) for word in new])
        return [index for word in new if (index := self.core.token_to_id(word)) is not None]

    def add_special(self, tokens: Sequence[str]) -> None:
        """Have these special tokens, behind all others where they are new; no user's text ever becomes one."""
        self.core.add_special_tokens([token for token in tokens if self.core.token_to_id(token) is None])

    @property
    def spec(self) -> str:
        """64 hexadecimal digits of all that ids depend on: two tokenizers of one spec read every text alike."""
        frame = (self.context, self.start, self.end, self.pad, self.config.get("tokenizer_class"))
        return hashlib.sha256(f"{frame}\n{self.core.to_str()}".encode()).hexdigest()

    @property
    def highest(self) -> int:
        """The highest id, added tokens included."""
        return max(self.core.get_vocab().values())

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens, uncut."""
        texts = [self._normal(text) for text in texts]
        return [encoding.ids for encoding in self.core.encode_batch(texts, add_special_tokens=False)]

    def frame(self, texts: Sequence[str], before: str = "", gap: int = 0) -> tuple[list[list[int]], int]:
        """Full sequences `start · before · text · end`, cut so that `gap` more places fit in.

        Returns:
            The ids of each text, and the position right after `before`, where the gap belongs.

        Raises:
            ComposirError: `before` and the gap alone fill the context.
        """
        head = [] if self.start is None else [self.start]
        head = head + (self.encode([before])[0] if before else [])
        room = self.context - len(head) - gap - 1
        if room < 0:
            raise ComposirError(
                f"the text in front ({len(head)} tokens) and {gap} pseudo-words do not fit the tower's "
                f"{self.context} places; shorten the former or use fewer of the latter"
            )
        return [[*head, *ids[:room], self.end] for ids in self.encode(texts)], len(head)

    def unread(self, text: str, before: str = "") -> str:
        """What `frame` cuts off a text behind another."""
        head = (self.start is not None) + (len(self.encode([before])[0]) if before else 0)
        text, room = self._normal(text), self.context - head - 1
        places = self.core.encode(text, add_special_tokens=False).offsets
        return text[places[room][0] :].strip() if len(places) > room else ""

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json."""
        self.core.save(str(folder / "tokenizer.json"))
        write_json(folder / "tokenizer_config.json", self.config)

    def _normal(self, text: str) -> str:
        if str(self.config.get("tokenizer_class", "")).startswith("SiglipTokenizer"):
            # SigLIP was trained on text without punctuation; its tokenizer.json leaves "/", "<" and ">" in.
            return text.lower().translate(NO_PUNCTUATION)
        return text

    def _special(self, key: str) -> int:
        token = self.config.get(key)
        token = token.get("content") if isinstance(token, Mapping) else token
        index = self.core.token_to_id(token) if isinstance(token, str) else None
        if index is None:
            raise ComposirError(
                f"tokenizer_config.json: {key} = {token!r} is not among the tokens of tokenizer.json; "
                "take both files from one checkpoint"
            )
        return index


def _alphabet() -> list[str]:
    """The first 512 tokens of CLIP: every byte, then every byte that closes a word."""
    # By code point is OpenAI's order: printable bytes stand for themselves, the others are written from U+0100 on.
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    return letters + [letter + SUFFIX for letter in letters]


def _clip_pipeline(model: models.BPE) -> Tokenizer:
    core = Tokenizer(model)
    core.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    return core


def _bert_pipeline(model: models.WordPiece) -> Tokenizer:
    core = Tokenizer(model)
    core.normalizer = normalizers.BertNormalizer(lowercase=True)
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    return core
