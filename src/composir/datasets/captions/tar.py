"""Captions in tar shards as webdataset and img2dataset write them: KEY.jpg beside KEY.txt or KEY.json.

Shards are read in place, any picture at any time: only where things lie is held. Nothing is unpacked to disk.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from composir.datasets.captions.folder import captions_in
from composir.datasets.captions.members import Member, members
from composir.datasets.captions.rows import hash_of
from composir.datasets.files import IMAGE_SUFFIXES
from composir.datasets.records import nfc, parse_json
from composir.errors import DataError
from composir.images import ImageError, load_image

LONGEST = 1 << 20  # bytes of a caption's file
NEEDED = "each picture needs KEY.txt, or KEY.json with the key 'caption', right beside it in the shard"


class TarRows:
    """The pictures of some shards; 33 bytes and the length of its key are held for each.

    The id of a picture is "SHARD/KEY".

    Args:
        shards: Name of each shard, in order, and its file.
    """

    def __init__(self, shards: Mapping[str, Path]) -> None:
        self._names, self._files = tuple(shards), tuple(shards.values())
        self._clear()

    def scan(self) -> NDArray[np.uint64]:
        """Read the headers of every shard once; `DataError` names shard and key of what is incomplete."""
        self._clear()
        hashes = array("Q")
        for name, path in zip(self._names, self._files, strict=True):
            self._first.append(len(hashes))
            for key, found in _samples(path):
                if (place := _place(path, key, found)) is None:
                    continue
                hashes.append(hash_of(f"{name}/{key}"))
                self._add(key, *place)
            if len(hashes) == self._first[-1]:
                raise DataError(f"{path}: holds no picture; {NEEDED}")
        self._refuse_twice(np.frombuffer(hashes, np.uint64))
        return np.frombuffer(hashes, np.uint64)

    def row(self, number: int) -> tuple[str, tuple[str, ...]]:
        """Id and captions of one picture."""
        path = self._files[self._shard(number)]
        data = _read(path, self._text_at[number], self._text_size[number])
        where = f"{path}: {self._key(number)}"
        return self.id(number), _json_captions(data, f"{where}.json") if self._json[number] else captions_in(
            data, f"{where}.txt"
        )

    def id(self, number: int) -> str:
        """Id of one picture."""
        return f"{self._names[self._shard(number)]}/{self._key(number)}"

    def image(self, number: int) -> Image.Image:
        """One picture; `DataError` names shard and key of one that cannot be read."""
        path = self._files[self._shard(number)]
        data = _read(path, self._picture_at[number], self._picture_size[number])
        try:
            return load_image(data, name=f"{path}: {self._key(number)}")
        except ImageError as error:
            raise DataError(f"picture {self.id(number)!r} cannot be read: {error}") from error

    def path(self, image_id: str) -> Path | None:  # noqa: ARG002
        """None: a picture in a shard has no file of its own."""
        return None

    def _clear(self) -> None:
        self._first: list[int] = []  # row that each shard begins with
        self._picture_at, self._text_at, self._key_end = array("Q"), array("Q"), array("Q")
        self._picture_size, self._text_size, self._json = array("I"), array("I"), array("B")
        self._keys = bytearray()

    def _add(self, key: str, picture: Member, text: Member, is_json: bool) -> None:
        self._keys += key.encode("utf-8")
        self._key_end.append(len(self._keys))
        self._picture_at.append(picture.start)
        self._picture_size.append(picture.size)
        self._text_at.append(text.start)
        self._text_size.append(text.size)
        self._json.append(is_json)

    def _shard(self, number: int) -> int:
        return bisect_right(self._first, number) - 1

    def _key(self, number: int) -> str:
        start = self._key_end[number - 1] if number else 0
        return self._keys[start : self._key_end[number]].decode("utf-8")

    def _refuse_twice(self, hashes: NDArray[np.uint64]) -> None:
        order = np.argsort(hashes, kind="stable")
        twice = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
        if len(twice):
            number = int(order[twice[0] + 1])
            path = self._files[self._shard(number)]
            raise DataError(f"{path}: key {self._key(number)!r} occurs twice; each picture of a shard needs its own")


def _samples(path: Path) -> Iterator[tuple[str, dict[str, Member]]]:
    """Key and members by ending of each sample of a shard; the members of one lie side by side."""
    last, found = "", dict[str, Member]()
    for member in members(path):
        folder, slash, name = nfc(member.name).rpartition("/")
        stem, _, ending = name.partition(".")
        if not stem:
            continue
        key = f"{folder}{slash}{stem}"
        if key != last and found:
            yield last, found
            found = {}
        last = key
        found[ending.lower()] = member
    if found:
        yield last, found


def _place(path: Path, key: str, found: Mapping[str, Member]) -> tuple[Member, Member, bool] | None:
    """Picture and caption of a sample, and whether that is JSON; None for a sample of other things."""
    pictures = [member for ending, member in found.items() if f".{ending}" in IMAGE_SUFFIXES]
    text = found.get("txt") or found.get("json")
    if text is None and not pictures:
        return None
    if text is None or len(pictures) != 1:
        lacks = "lacks its caption" if text is None else f"has {len(pictures)} pictures"
        raise DataError(f"{path}: key {key!r} {lacks}, it has {', '.join(found)}; {NEEDED}")
    if text.size > LONGEST:
        raise DataError(f"{path}: {text.name} has {text.size:,} bytes; a caption has at most {LONGEST:,}")
    if pictures[0].size >= 1 << 32:
        raise DataError(f"{path}: {pictures[0].name} has {pictures[0].size:,} bytes; no picture has 4 GB")
    return pictures[0], text, "txt" not in found


def _read(path: Path, start: int, size: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read(size)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); put the shard back") from error
    if len(data) != size:
        raise DataError(f"{path}: ends at byte {start + len(data):,}, within a file; download it again")
    return data


def _json_captions(data: bytes, where: str) -> tuple[str, ...]:
    """The caption, or the captions, of a sample's JSON."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: byte {error.start} is not UTF-8; pack it again") from error
    value = parse_json(text, where)
    found = value.get("caption", value.get("captions")) if isinstance(value, dict) else None
    captions: Sequence[object] = found if isinstance(found, list) else [found]
    texts = tuple(caption.strip() for caption in captions if isinstance(caption, str) and caption.strip())
    if not texts or len(texts) != len(captions):
        raise DataError(f"{where}: 'caption' holds no text, or not only texts; a text or a list of texts is needed")
    return texts
