"""Cursors: where a page ended, as text that a client hands back unread.

A cursor is signed against mistakes and meddling, not kept secret. The key is made of the gallery's key and, where the
server has any, an API key: a restart, and every process with the same keys over the same gallery, takes it. Without API
keys anybody on this machine could sign one, so nothing that a cursor says makes an answer dearer than a genuine one.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from composir.server.service import StaleCursorError

SEEN = 100  # hits of a first page that a cursor can name
PREFIX = 12  # hex digits by which it names them: two pictures share them once in 10^14 pairs
HEAD = struct.Struct(">12sQd16s")
SIGNATURE = 16  # bytes


@dataclass(frozen=True, slots=True)
class Mark:
    """Where a page ended.

    Attributes:
        digest: The query's fingerprint, 24 hex digits.
        rank: Of the last picture; it is told on, and nothing is computed by it.
        score: Of the last picture; infinite where the next page begins at the top, less what was seen.
        id: Of the last picture.
        seen: Beginnings of ids that an approximate first page showed, and that do not come again.
    """

    digest: str
    rank: int
    score: float
    id: str
    seen: frozenset[str] = frozenset()

    @property
    def at_the_top(self) -> bool:
        """Whether no picture is above the mark."""
        return self.score == math.inf


class Seal:
    """Writes and reads the cursors of one gallery.

    Args:
        gallery: Its key.
        keys: The server's API keys: the first signs, each is accepted, so that they can be changed one by one.
    """

    def __init__(self, gallery: str, keys: Sequence[str] = ()):
        told = [f"composir cursor\n{gallery}\n{key}".encode() for key in keys or ("",)]
        self._keys = [hashlib.sha256(one).digest() for one in told]

    def write(self, mark: Mark) -> str:
        """The cursor of a mark: at most 1024 letters, digits, _ and -."""
        seen = "".join(sorted(mark.seen))
        head = HEAD.pack(bytes.fromhex(mark.digest), mark.rank, mark.score, bytes.fromhex(mark.id))
        told = head + bytes.fromhex(seen)
        return base64.urlsafe_b64encode(told + self._signature(self._keys[0], told)).decode().rstrip("=")

    def read(self, cursor: str, digest: str, pictures: int) -> Mark:
        """What an earlier answer told.

        Args:
            cursor: As the client sent it.
            digest: Of the query that it came with.
            pictures: That the gallery holds.

        Raises:
            StaleCursorError: It was not written for this gallery, for this query, or leads beyond the gallery.
        """
        try:
            told = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except ValueError:
            told = b""
        told, signature = told[:-SIGNATURE], told[-SIGNATURE:]
        if not any(hmac.compare_digest(self._signature(key, told), signature) for key in self._keys):
            raise StaleCursorError(
                "the cursor is not one of this server's for this gallery; leave it out to begin anew"
            )
        try:
            own, rank, score, last = HEAD.unpack(told[: HEAD.size])
        except struct.error:
            raise StaleCursorError("the cursor is not whole; leave it out to begin anew") from None
        if own.hex() != digest or math.isnan(score):
            raise StaleCursorError("the cursor is of another query; send it with the query that it came with")
        if not 0 < rank <= pictures:
            told_rank = f"the cursor stands at rank {rank:,}, and the gallery has {pictures:,} pictures"
            raise StaleCursorError(f"{told_rank}; leave it out to begin anew")
        seen = told[HEAD.size :].hex()
        return Mark(
            digest, rank, score, last.hex(), frozenset(seen[i : i + PREFIX] for i in range(0, len(seen), PREFIX))
        )

    @staticmethod
    def _signature(key: bytes, told: bytes) -> bytes:
        return hmac.new(key, told, hashlib.sha256).digest()[:SIGNATURE]
