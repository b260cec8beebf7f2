"""What the first bytes of a picture tell: its format and how many frames it claims. No Pillow, nothing decoded.

Everything here reads untrusted bytes in plain Python, so each loop is bounded by a constant or by the caller's cap.
`composir.images` is the one door to pictures; import from there.
"""

from __future__ import annotations

import struct
from typing import Protocol, runtime_checkable

HEAD_BYTES = 256
"""How much of a file `sniff` wants to see; an AVIF or HEIC brand list can reach this far."""

_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}

_MAGIC = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    ((b"GIF87a", b"GIF89a"), "GIF"),
    # Classic TIFF, the same with its number in the wrong byte order (Pillow reads it nonetheless), and BigTIFF.
    ((b"II*\0", b"MM\0*", b"II\0*", b"MM*\0", b"II+\0", b"MM\0+"), "TIFF"),
)

# Pictures we know and refuse, so that the message can name them. EPS runs a PostScript interpreter: never allowed.
_REFUSED = (
    (b"%!PS", "EPS/PostScript"),
    (b"\xc5\xd0\xd3\xc6", "EPS/PostScript"),
    (b"8BPS", "Photoshop PSD"),
    (b"\0\0\1\0", "ICO"),
    (b"icns", "ICNS"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xffO\xffQ", "JPEG 2000"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"II\xbc\1", "JPEG XR"),
    (b"\x01\xda", "SGI"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"gimp xcf", "GIMP XCF"),
    (b"<svg", "SVG"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"FUJIFILMCCD-RAW", "camera raw"),
)

_TIFF_MAX_TAGS = 4096
"""Tags in one TIFF directory; honest files have dozens, a forged BigTIFF can claim 2**64."""

_TIFF_MAX_VALUES = 1_000_000
"""Numbers in one TIFF tag, which become Python objects; a picture of 100 megapixels in 16 x 16 tiles has 400,000."""


@runtime_checkable
class Readable(Protocol):
    """The part of a binary file that header readers and Pillow's plug-ins use."""

    def read(self, size: int = -1, /) -> bytes:
        """The next `size` bytes, fewer at the end; all that are left if it is negative."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go to a byte, from the beginning (0), from here (1) or from the end (2); the new place."""
        ...

    def tell(self) -> int:
        """The place, in bytes from the beginning."""
        ...


def sniff(head: bytes) -> str | None:
    """Name the allowed picture format that these bytes begin, by content and never by file name.

    Args:
        head: The first `HEAD_BYTES` bytes of the file, or all of a shorter one.

    Returns:
        "JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "AVIF" or "HEIC"; None for anything else.
    """
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    # "BM" alone begins many a text; the size of the second header is a small number, and text there is not.
    if head.startswith(b"BM") and 0 < int.from_bytes(head[14:18], "little") <= 0xFFFF:
        return "BMP"
    if head[4:8] == b"ftyp":
        end = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[8:12], *(head[i : i + 4] for i in range(16, end - 3, 4))}
        # AVIF first: both families may list the neutral brand mif1.
        return "AVIF" if brands & _AVIF_BRANDS else "HEIC" if brands & _HEIC_BRANDS else None
    return None


def refused_format(head: bytes) -> str | None:
    """Name the picture format that these bytes begin if it is one that we know and do not read, else None."""
    for magic, title in _REFUSED:
        if head.startswith(magic):
            return title
    if head[:1] == b"P" and head[1:2] in b"1234567" and head[2:3] in b" \t\r\n" and len(head) > 2:
        return "PBM/PGM/PPM"
    return None


def count_frames(stream: Readable, kind: str, cap: int) -> int:
    """Count the frames of a GIF or TIFF by its skeleton, going no further than one past the cap.

    Pillow's own `n_frames` walks the whole chain and parses every frame's tags. A chain that ends early or bites its
    own tail counts as far as it goes: only frame 0 is wanted, whether that one is whole shows when it is decoded.

    Args:
        stream: The picture; left at an unspecified position.
        kind: As `sniff` names it; anything but "GIF" and "TIFF" counts as 1.
        cap: The largest number of frames that interests the caller, at least 1.

    Returns:
        The number of frames, 1 to `cap` + 1.

    Raises:
        ValueError: A TIFF directory that claims an absurd number of tags or values.
    """
    stream.seek(0)
    if kind == "GIF":
        return _gif_frames(stream, cap)
    if kind == "TIFF":
        return _tiff_frames(stream, cap)
    return 1


def _gif_frames(stream: Readable, cap: int) -> int:
    head = stream.read(13)
    if len(head) == 13 and head[10] & 0x80:
        stream.seek(3 << ((head[10] & 7) + 1), 1)
    frames = 0
    while frames <= cap:
        marker = stream.read(1)
        if marker == b"!":
            stream.seek(1, 1)
        elif marker == b",":
            frames += 1
            descriptor = stream.read(9)
            if len(descriptor) < 9:
                break
            table = 3 << ((descriptor[8] & 7) + 1) if descriptor[8] & 0x80 else 0
            stream.seek(table + 1, 1)  # the local palette and the LZW code size
        elif not marker or marker == b";":
            break
        else:
            continue  # stray bytes between blocks are skipped, as Pillow skips them
        while length := stream.read(1):
            if length == b"\0":
                break
            stream.seek(length[0], 1)
    return max(1, frames)


def _tiff_frames(stream: Readable, cap: int) -> int:
    head = stream.read(16)
    order = "<" if head.startswith(b"II") else ">"
    big = head[2:4] in (b"+\0", b"\0+")
    entry, pointer, tally = (
        (order + "HHQ8x", order + "Q", order + "Q") if big else (order + "HHL4x", order + "L", order + "H")
    )
    size = struct.calcsize(entry)
    offset = _number(head[8:16] if big else head[4:8], pointer)
    seen: set[int] = set()
    while 0 < offset < 2**63 and offset not in seen and len(seen) <= cap:
        seen.add(offset)
        stream.seek(offset)
        tags = _number(stream.read(struct.calcsize(tally)), tally)
        if tags > _TIFF_MAX_TAGS:
            raise ValueError(f"a TIFF directory claims {tags:,} tags, at most {_TIFF_MAX_TAGS:,} are read")
        if len(seen) == 1:
            _check_tags(stream.read(tags * size), entry)
        else:
            stream.seek(tags * size, 1)
        offset = _number(stream.read(struct.calcsize(pointer)), pointer)
    return max(1, len(seen))


def _check_tags(entries: bytes, layout: str) -> None:
    """Refuse a tag whose values would fill the memory once each of them is a Python object."""
    whole = len(entries) - len(entries) % struct.calcsize(layout)
    for tag, kind, count in struct.iter_unpack(layout, entries[:whole]):
        # Kinds 1, 2, 6 and 7 are bytes and stay bytes: profiles, previews, editor data.
        if kind not in (1, 2, 6, 7) and count > _TIFF_MAX_VALUES:
            raise ValueError(f"TIFF tag {tag} claims {count:,} values, at most {_TIFF_MAX_VALUES:,} are read")


def _number(data: bytes, layout: str) -> int:
    """One unsigned number, or 0 where the file ends too early."""
    return struct.unpack(layout, data)[0] if len(data) == struct.calcsize(layout) else 0
