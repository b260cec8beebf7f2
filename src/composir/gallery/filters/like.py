"""LIKE: patterns into a test of one text, whose time is bounded by the text's length whatever the pattern.

A regular expression would do the same, in time that grows with text times pattern: `%a` + 300 `_` + `b%` takes seconds
over a hundred thousand texts. Here a pattern is cut at its `%`, and the pieces are looked for one behind the other,
each at the first place where it stands: if a text has them at all, it has them so.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from composir.gallery.filters.tree import FilterError

MOST_ANY = 32  # `_` in a pattern
LONGEST_ANY = 128  # characters of a pattern that has a `_`: such pieces are compared letter by letter
SIMPLE = 64  # characters of a pattern without `_` up to which RE2 is fast for certain
CASED = 0x20000  # no letter from here on has a capital
NEWER = {0x1FD3: "\u0390", 0x1FE3: "\u03b0", 0xFB05: "\ufb06"}  # simple foldings that `_folded_letter` does not find
ALLOWED = f"a pattern of LIKE may hold {MOST_ANY} of '_', and one that holds any has at most {LONGEST_ANY} characters"


def checked(pattern: str) -> str:
    """A pattern whose work is bounded.

    Raises:
        FilterError: It has more than `MOST_ANY` of `_`, or `LONGEST_ANY` characters and a `_` among them.
    """
    letters = _letters(pattern)
    if any_of := letters.count("_"):
        if any_of > MOST_ANY:
            raise FilterError(f"a pattern with {any_of:,} of '_' found; {ALLOWED}; use % where any text will do")
        if len(letters) > LONGEST_ANY:
            raise FilterError(f"a pattern of {len(letters):,} characters with '_' found; {ALLOWED}; shorten it")
    return pattern


def simple(pattern: str) -> bool:
    """Whether the pattern may go to RE2, which is faster and runs beside Python: short, and without `_`."""
    return len(pattern) <= SIMPLE and "_" not in _letters(pattern)


def regex(pattern: str) -> str:
    r"""A pattern as a regular expression of RE2; arrow's own LIKE errs at a last \."""
    inner = pattern.lstrip("%")
    start = "" if inner != pattern else r"\A"
    parts = _letters(inner)
    end = r"\z"
    while parts and parts[-1] == "%":
        parts.pop()
        end = ""
    if not parts and not start:
        return ""
    wild = {"%": ".*", "_": "."}
    return "(?s)" + start + "".join(wild.get(one) or re.escape(one[-1]) for one in parts) + end


def matcher(pattern: str, loose: bool) -> Callable[[str], bool]:
    """The test of one text.

    Args:
        pattern: As `checked` lets it pass.
        loose: Whether capitals are not told from small letters.
    """
    fold = folded if loose else str
    cut: list[list[str]] = [[]]
    for letter in _letters(pattern):
        if letter == "%":
            cut.append([])
        else:
            cut[-1].append(letter)
    first, *others = (_Piece(letters, fold) for letters in cut)
    if not others:
        return lambda text: len(text) == first.length and first.stands(fold(text), 0)
    last = others.pop()
    between = [piece for piece in others if piece.length]
    least = sum(piece.length for piece in (first, last, *between))

    def passes(text: str) -> bool:
        end, at = len(text) - last.length, first.length
        if len(text) < least:
            return False
        text = fold(text)
        if not (first.stands(text, 0) and last.stands(text, end)):
            return False
        for piece in between:
            at = piece.find(text, at, end)
            if at < 0:
                return False
            at += piece.length
        return True

    return passes


class _Piece:
    """What stands between two `%`: letters, each itself or, as `_`, any one."""

    def __init__(self, letters: list[str], fold: Callable[[str], str]):
        self.length = len(letters)
        self._word = fold("".join(letter[-1] for letter in letters))
        self._any: re.Pattern[str] | None = None
        if "_" in letters:  # of a fixed length, so that it never goes back
            own = ("." if letter == "_" else re.escape(fold(letter[-1])) for letter in letters)
            self._any = re.compile("".join(own), re.DOTALL)

    def stands(self, text: str, at: int) -> bool:
        if self._any is None:
            return text.startswith(self._word, at)
        return self._any.match(text, at) is not None

    def find(self, text: str, start: int, end: int) -> int:
        """The first place in `text[start:end]`, as an index of `text`; -1 for none."""
        if self._any is None:
            return text.find(self._word, start, end)
        found = self._any.search(text, start, end)
        return found.start() if found else -1


def folded(text: str) -> str:
    """Text in which letters are one that differ in capitals alone, as RE2 takes them; as long as before."""
    return text.lower() if text.isascii() else text.translate(_folds())


@cache
def _folds() -> dict[int, str]:
    found = dict(NEWER)
    for code in range(CASED):
        letter = chr(code)
        if (own := _folded_letter(letter)) != letter:
            found[code] = own
    return found


def _folded_letter(letter: str) -> str:
    """Unicode's simple folding: one letter for one, where Python only has the full one."""
    full = letter.casefold()
    if len(full) == 1:
        return full
    small = letter.lower()
    return small if len(small) == 1 else letter


def _letters(pattern: str) -> list[str]:
    r"""Its letters, those behind a \ together with it."""
    return re.findall(r"\\.|.", pattern, re.DOTALL)
