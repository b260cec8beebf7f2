"""The one picture loader: each colour mode against a known colour, orientation, sources, drafts and thumbnails."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import threading
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin, features

from composir.images import DEFAULT_LIMITS, ImageError, Limits, load_image, looks_like_image, sniff, thumbnail
from composir.images.modes import to_rgb

SIZE = (24, 16)
COLOUR = (200, 40, 120)
OVER_WHITE = (227, 148, 188)  # COLOUR at alpha 128 over white: 255 - (255 - c) * 128 / 255, rounded

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def plain(mode: str, colour) -> Image.Image:
    return Image.new(mode, SIZE, colour)


def palette(colour=COLOUR) -> Image.Image:
    image = plain("P", 7)
    image.putpalette([0, 0, 0] * 7 + list(colour) + [9, 9, 9] * 20)
    return image


def png(bits: int, kind: int, row: bytes, *chunks: tuple[bytes, bytes], size=SIZE) -> bytes:
    """A PNG by hand, for the depths that Pillow reads but does not write."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress((b"\0" + row) * min(size[1], 64)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunk(*c) for c in chunks) + body + chunk(b"IEND", b"")


def tiff(tags: dict[int, tuple[int, tuple[int, ...]]], data: bytes, *, order: str = "<", after: int = 0) -> bytes:
    """A TIFF by hand: tag -> (type, values), the pixels at offset 8; kinds 3 (short) and 4 (long)."""
    offset = 8 + len(data) + len(data) % 2
    extra_at, extra, entries = offset + 2 + 12 * len(tags) + 4, b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(values)}{'HL'[kind - 3]}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack(order + "L", extra_at + len(extra)), extra + packed
        entries += struct.pack(order + "HHL", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "L", offset)
    directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "L", after)
    return head + data.ljust(offset - 8, b"\0") + directory + extra


def grey_tiff(values: np.ndarray, bits: int, sample_format: int, *, photometric: int = 1, order: str = "<") -> bytes:
    height, width = values.shape
    raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
    shorts = {256: width, 257: height, 258: bits, 259: 1, 262: photometric, 277: 1, 278: height, 339: sample_format}
    tags = {tag: (3, (value,)) for tag, value in shorts.items()}
    return tiff(tags | {273: (4, (8,)), 279: (4, (len(raw),))}, raw, order=order)


def fill(value: float, dtype: str) -> np.ndarray:
    return np.full(SIZE[::-1], value, dtype)


def animation(kind: str) -> bytes:
    first, second = plain("RGB", COLOUR), plain("RGB", (0, 0, 255))
    return encode(first, kind, save_all=True, append_images=[second], duration=100)


def trns(mode: str, colour, transparent) -> bytes:
    info = {"transparency": transparent}
    return encode(palette() if mode == "P" else plain(mode, colour), "PNG", **info)


CASES = {
    "RGB png": (lambda: encode(plain("RGB", COLOUR), "PNG"), COLOUR, 0),
    "RGB jpeg": (lambda: encode(plain("RGB", COLOUR), "JPEG", quality=95), COLOUR, 3),
    "RGB progressive jpeg": (lambda: encode(plain("RGB", COLOUR), "JPEG", quality=95, progressive=True), COLOUR, 3),
    "RGB bmp": (lambda: encode(plain("RGB", COLOUR), "BMP"), COLOUR, 0),
    "RGB webp": (lambda: encode(plain("RGB", COLOUR), "WEBP", lossless=True), COLOUR, 0),
    "RGB tiff lzw": (lambda: encode(plain("RGB", COLOUR), "TIFF", compression="tiff_lzw"), COLOUR, 0),
    "RGB 16-bit png": (lambda: png(16, 2, struct.pack(">HHH", 0xC8FF, 0x2800, 0x7880) * 24), COLOUR, 0),
    "RGB tRNS png, other colour": (lambda: trns("RGB", COLOUR, (1, 2, 3)), COLOUR, 0),
    "RGB tRNS png, this colour": (lambda: trns("RGB", COLOUR, COLOUR), (255, 255, 255), 0),
    "RGBA png": (lambda: encode(plain("RGBA", (*COLOUR, 128)), "PNG"), OVER_WHITE, 1),
    "RGBA png, all clear": (lambda: encode(plain("RGBA", (*COLOUR, 0)), "PNG"), (255, 255, 255), 0),
    "RGBA 16-bit png": (lambda: png(16, 6, struct.pack(">HHHH", 0xC800, 0x2800, 0x7800, 0x8000) * 24), OVER_WHITE, 1),
    "RGBA webp": (lambda: encode(plain("RGBA", (*COLOUR, 128)), "WEBP", lossless=True), OVER_WHITE, 1),
    "RGBA tiff": (lambda: encode(plain("RGBA", (*COLOUR, 128)), "TIFF"), OVER_WHITE, 1),
    "L png": (lambda: encode(plain("L", 77), "PNG"), (77, 77, 77), 0),
    "L jpeg": (lambda: encode(plain("L", 77), "JPEG", quality=95), (77, 77, 77), 2),
    "L tRNS png": (lambda: trns("L", 77, 77), (255, 255, 255), 0),
    "LA png": (lambda: encode(plain("LA", (100, 128)), "PNG"), (177, 177, 177), 1),
    "LA 16-bit png": (lambda: png(16, 4, struct.pack(">HH", 100 << 8, 0x8000) * 24), (177, 177, 177), 1),
    "1 png white": (lambda: encode(plain("1", 1), "PNG"), (255, 255, 255), 0),
    "1 png black": (lambda: encode(plain("1", 0), "PNG"), (0, 0, 0), 0),
    "1 tiff g4 white": (lambda: encode(plain("1", 1), "TIFF", compression="group4"), (255, 255, 255), 0),
    "P png": (lambda: encode(palette(), "PNG"), COLOUR, 0),
    "P gif": (lambda: encode(palette(), "GIF"), COLOUR, 0),
    "P bmp": (lambda: encode(palette(), "BMP"), COLOUR, 0),
    "P tiff": (lambda: encode(palette(), "TIFF"), COLOUR, 0),
    "P tRNS index": (lambda: trns("P", None, 7), (255, 255, 255), 0),
    "P tRNS other index": (lambda: trns("P", None, 3), COLOUR, 0),
    "P tRNS bytes": (lambda: trns("P", None, b"\xff" * 7 + b"\x80"), OVER_WHITE, 1),
    "P gif transparent": (lambda: encode(palette(), "GIF", transparency=7), (255, 255, 255), 0),
    "CMYK jpeg": (lambda: encode(plain("CMYK", (55, 215, 135, 0)), "JPEG", quality=98), COLOUR, 4),
    "CMYK tiff": (lambda: encode(plain("CMYK", (55, 215, 135, 0)), "TIFF"), COLOUR, 1),
    "CMYK tiff, black": (lambda: encode(plain("CMYK", (0, 0, 0, 155)), "TIFF"), (100, 100, 100), 1),
    "YCbCr tiff": (lambda: encode(plain("RGB", COLOUR).convert("YCbCr"), "TIFF"), COLOUR, 2),
    "LAB tiff": (lambda: encode(plain("LAB", (255, 128, 128)), "TIFF"), (255, 255, 255), 2),
    "I;16 png white": (lambda: png(16, 0, b"\xff\xff" * 24), (255, 255, 255), 0),
    "I;16 png": (lambda: png(16, 0, struct.pack(">H", 0x4DFF) * 24), (0x4D, 0x4D, 0x4D), 0),
    "I;16 png tRNS": (lambda: png(16, 0, b"\x4d\xff" * 24, (b"tRNS", b"\x4d\xff")), (255, 255, 255), 0),
    "I;16 tiff": (lambda: grey_tiff(fill(0x4D12, "u2"), 16, 1), (0x4D, 0x4D, 0x4D), 0),
    "I;16B tiff": (lambda: grey_tiff(fill(0x4D12, "u2"), 16, 1, order=">"), (0x4D, 0x4D, 0x4D), 0),
    "I;16 tiff deflate": (
        lambda: encode(Image.fromarray(fill(0x4D12, "u2")), "TIFF", compression="tiff_deflate"),
        (0x4D, 0x4D, 0x4D),
        0,
    ),
    "I;16 tiff, white is zero": (lambda: grey_tiff(fill(0, "u2"), 16, 1, photometric=0), (255, 255, 255), 0),
    "12-bit tiff": (lambda: grey_tiff(fill(0xFF, "u1").repeat(3, axis=1)[:, :36], 12, 1), (255, 255, 255), 0),
    "signed 16-bit tiff": (lambda: grey_tiff(fill(32767, "i2"), 16, 2), (255, 255, 255), 0),
    "signed 16-bit tiff, negative": (lambda: grey_tiff(fill(-5, "i2"), 16, 2), (0, 0, 0), 0),
    "I tiff of 8-bit values": (lambda: grey_tiff(fill(77, "i4"), 32, 2), (77, 77, 77), 0),
    "I tiff of 16-bit values": (lambda: grey_tiff(fill(65535, "u4"), 32, 1), (255, 255, 255), 0),
    "F tiff of 0 to 1": (lambda: grey_tiff(fill(0.5, "f4"), 32, 3), (128, 128, 128), 1),
    "F tiff of 0 to 255": (lambda: grey_tiff(fill(77, "f4"), 32, 3), (77, 77, 77), 0),
    "F tiff of NaN": (lambda: grey_tiff(fill(np.nan, "f4"), 32, 3), (0, 0, 0), 0),
    "GIF, first frame": (lambda: animation("GIF"), COLOUR, 0),
    "APNG, first frame": (lambda: animation("PNG"), COLOUR, 0),
    "WebP animation, first frame": (lambda: animation("WEBP"), COLOUR, 12),
    "TIFF pages, first": (lambda: animation("TIFF"), COLOUR, 0),
}


@pytest.mark.parametrize("case", CASES)
def test_every_mode_gives_its_known_colour(case):
    make, colour, tolerance = CASES[case]
    data = make()
    if case == "12-bit tiff":
        # 24 samples of 12 bits fill 36 bytes a row; the header must say 24 pixels.
        data = data.replace(struct.pack("<HHLH", 256, 3, 1, 36), struct.pack("<HHLH", 256, 3, 1, 24))
    image = load_image(data)
    assert (image.mode, image.size, image.info) == ("RGB", SIZE, {})
    assert type(image) is Image.Image, "a plug-in's object would hold on to its file and decoder"
    assert np.abs(np.asarray(image, int) - colour).max() <= tolerance


@needs_avif
@pytest.mark.parametrize(
    ("mode", "colour", "expected"), [("RGB", COLOUR, COLOUR), ("RGBA", (*COLOUR, 128), OVER_WHITE)]
)
def test_avif(mode, colour, expected):
    image = load_image(encode(plain(mode, colour), "AVIF", quality=100, subsampling="4:4:4"))
    assert np.abs(np.asarray(image, int) - expected).max() <= 3


def heic(image: Image.Image, **options) -> bytes:
    heif = pytest.importorskip("pillow_heif", reason="the extra composir[heic] is not installed")
    buffer = io.BytesIO()
    heif.from_pillow(image).save(buffer, quality=100, chroma=444, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"), [("RGB", COLOUR, COLOUR), ("RGBA", (*COLOUR, 128), OVER_WHITE)]
)
def test_heic_is_read_without_teaching_it_to_the_whole_process(mode, colour, expected):
    data = heic(Image.new(mode, (64, 64), colour))
    known = set(Image.OPEN)
    assert np.abs(np.asarray(load_image(data), int) - expected).max() <= 4
    assert set(Image.OPEN) == known


def test_heic_without_its_package_names_the_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pillow_heif", None)
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64)
    with pytest.raises(ImageError, match=r"pip install 'composir\[heic\]'") as caught:
        load_image(data)
    assert caught.value.reason == "unsupported format"


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBX", (*COLOUR, 0), COLOUR),
        ("La", (50, 128), (177, 177, 177)),
        ("RGBa", (100, 20, 60, 128), OVER_WHITE),
        ("HSV", (0, 0, 80), (80, 80, 80)),
        ("PA", 128, OVER_WHITE),
    ],
)
def test_modes_that_no_small_file_holds(mode, colour, expected):
    if mode == "PA":
        image = palette()
        image.putalpha(colour)
    else:
        image = plain(mode, colour)
    assert image.mode == mode
    assert np.abs(np.asarray(to_rgb(image), int) - expected).max() <= 1


def test_numbers_without_a_white_point_are_stretched():
    values = np.linspace(-3, 1e6, SIZE[0] * SIZE[1], dtype="f4").reshape(SIZE[::-1])
    values[0, 1], values[0, 2] = np.inf, -np.inf
    grey = np.asarray(load_image(grey_tiff(values, 32, 3)))[..., 0]
    assert (grey[0, 0], grey[-1, -1], grey[0, 1], grey[0, 2]) == (0, 255, 255, 0)


def test_grey_and_colour_of_16_bits_come_out_alike():
    rng = np.random.default_rng(0)
    row = rng.integers(0, 65536, 24).astype(">u2")
    one, three = png(16, 0, row.tobytes()), png(16, 2, row.repeat(3).tobytes())
    assert load_image(one).tobytes() == load_image(three).tobytes()


# Orientation ---------------------------------------------------------------------------------------------------------


def scene() -> Image.Image:
    """Four colours in unequal parts, so that no turn or flip leaves it as it is."""
    image = Image.new("RGB", (48, 32), (220, 30, 30))
    image.paste((30, 220, 30), (32, 0, 48, 16))
    image.paste((30, 30, 220), (0, 16, 32, 32))
    return image


STORED = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> the Image.Transpose that a camera would have done


def stored(orientation: int) -> tuple[Image.Image, Image.Exif]:
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = STORED.get(orientation)
    return (scene() if turn is None else scene().transpose(Image.Transpose(turn))), exif


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", pytest.param("AVIF", marks=needs_avif)])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_eight_orientations_come_out_upright(kind, orientation):
    options = {
        "JPEG": {"quality": 95, "subsampling": 0},
        "WEBP": {"lossless": True},
        "AVIF": {"quality": 95, "subsampling": "4:4:4"},
    }
    image, exif = stored(orientation)
    result = load_image(encode(image, kind, exif=exif, **options.get(kind, {})))
    assert result.size == (48, 32)
    assert np.abs(np.asarray(result, int) - np.asarray(scene(), int)).mean() < 3


@pytest.mark.parametrize("orientation", [3, 6])
def test_heic_is_turned_once(orientation):
    image, exif = stored(orientation)
    result = load_image(heic(image.resize((image.width * 4, image.height * 4)), exif=exif.tobytes()))
    assert np.abs(np.asarray(result.resize((48, 32)), int) - np.asarray(scene(), int)).mean() < 6


@pytest.mark.parametrize("min_side", [None, 200])
def test_real_photographs_of_eight_orientations_come_out_alike(shared_data, min_side):
    folder = shared_data / "hostile_images" / "exif_orientation"
    # Each has its own number painted in and was compressed anew: alike, not equal.
    images = [load_image(folder / f"Landscape_{i}.jpg", min_side=min_side).resize((300, 200)) for i in range(1, 9)]
    for image in images[1:]:
        assert np.abs(np.asarray(image, int) - np.asarray(images[0], int)).mean() < 4


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_odd_orientation_values_leave_the_picture_alone(value):
    exif = Image.Exif()
    exif[0x0112] = value
    assert load_image(encode(scene(), "PNG", exif=exif)).tobytes() == scene().tobytes()


def test_garbled_exif_does_not_cost_the_picture():
    data = encode(scene(), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f" + bytes(range(256)))
    assert load_image(data).tobytes() == scene().tobytes()


# Sources -------------------------------------------------------------------------------------------------------------


class Pipe(io.RawIOBase):
    """A stream that cannot go back."""

    def __init__(self, data: bytes):
        self.inner = io.BytesIO(data)

    def readable(self):
        return True

    def seekable(self):
        return False

    def seek(self, *_):
        raise io.UnsupportedOperation("seek")

    def readinto(self, buffer):
        return self.inner.readinto(buffer)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", pytest.param("AVIF", marks=needs_avif)])
def test_bytes_path_and_file_object_give_equal_pixels(kind, tmp_path):
    data = encode(scene(), kind, **({"compression": "tiff_deflate"} if kind == "TIFF" else {}))
    path = tmp_path / "no_extension"
    path.write_bytes(data)
    half_read = io.BytesIO(data)
    half_read.seek(50)
    zipped = gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(data)))
    sources = [
        path,
        str(path),
        os.fsencode(path).decode(),
        bytearray(data),
        memoryview(data),
        half_read,
        zipped,
        Pipe(data),
    ]
    with path.open("rb") as handle:
        pixels = {load_image(source).tobytes() for source in [*sources, handle]}
        assert not handle.closed
    assert pixels == {load_image(data).tobytes()}
    assert not half_read.closed


def test_gzip_file_with_a_descriptor_of_its_own_is_not_read_past_it(tmp_path):
    path = tmp_path / "picture.tif.gz"
    path.write_bytes(gzip.compress(encode(scene(), "TIFF", compression="tiff_deflate")))
    with gzip.open(path) as handle:
        assert load_image(handle).tobytes() == scene().tobytes()


@pytest.mark.parametrize("source", [None, 7, Image.new("RGB", (2, 2)), io.StringIO("text")])
def test_a_source_of_the_wrong_kind_is_the_callers_mistake(source):
    with pytest.raises(TypeError):
        load_image(source)


def test_wrong_extension_does_not_matter(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(encode(scene(), "PNG"))
    assert load_image(path).tobytes() == scene().tobytes()
    assert looks_like_image(path)


def test_names_in_messages(tmp_path):
    path = tmp_path / "söme picture.png"
    path.write_bytes(b"")
    for source, name, expected in [(path, None, str(path)), (path, "upload 7", "upload 7"), (b"", None, "the picture")]:
        with pytest.raises(ImageError) as caught:
            load_image(source, name=name)
        assert str(caught.value).startswith(expected + ":")
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.png")
    with pytest.raises(ImageError) as caught:
        load_image(odd)
    str(caught.value).encode("utf-8")


# Reduced decoding ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("min_side", "size"),
    [(None, (1600, 1200)), (900, (1600, 1200)), (600, (800, 600)), (200, (400, 300)), (9, (200, 150))],
)
def test_min_side_takes_the_smallest_sufficient_scale(min_side, size):
    full = scene().resize((1600, 1200), Image.Resampling.BICUBIC)
    image = load_image(encode(full, "JPEG"), min_side=min_side)
    assert image.size == size
    assert np.abs(np.asarray(image.resize((48, 32)), int) - np.asarray(full.resize((48, 32)), int)).mean() < 4


def test_min_side_changes_nothing_but_jpeg_and_enlarges_nothing():
    full = scene().resize((1600, 1200))
    assert load_image(encode(full, "PNG"), min_side=100).size == full.size
    assert load_image(encode(scene(), "JPEG"), min_side=500).size == scene().size
    with pytest.raises(ValueError, match="at least 1"):
        load_image(encode(scene(), "JPEG"), min_side=0)


# Thumbnails ----------------------------------------------------------------------------------------------------------


def test_thumbnail_is_small_and_carries_nothing_but_pixels():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "SECRET description"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    big = scene().resize((480, 320))
    big.info["comment"] = b"SECRET comment"
    data = encode(big, "JPEG", exif=exif, comment=b"SECRET comment", icc_profile=b"SECRET profile", xmp=b"SECRET xmp")
    assert data.count(b"SECRET") >= 4
    for image in (load_image(data), Image.open(io.BytesIO(data)), big):
        small = thumbnail(image, 64)
        assert b"SECRET" not in small
        with Image.open(io.BytesIO(small)) as opened:
            assert (opened.format, opened.mode, max(opened.size)) == ("JPEG", "RGB", 64)
            assert not opened.getexif()
            assert not {"exif", "xmp", "icc_profile", "comment"} & set(opened.info)


def test_thumbnail_sizes_and_modes():
    assert load_image(thumbnail(Image.new("RGB", (3000, 2)), 100)).size == (100, 1)
    assert load_image(thumbnail(Image.new("RGB", (30, 20)), 100)).size == (30, 20)
    grey = load_image(thumbnail(Image.new("RGBA", (30, 20), (*COLOUR, 128)), 100))
    assert np.abs(np.asarray(grey, int) - OVER_WHITE).max() <= 3
    for side in (0, 70_000):
        with pytest.raises(ValueError, match="65,500"):
            thumbnail(scene(), side)


# Sniffing ------------------------------------------------------------------------------------------------------------


def test_sniff_knows_the_allowed_formats_by_content():
    for kind in ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"):
        assert sniff(encode(scene(), kind)[:256]) == kind
    assert sniff(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf") == "AVIF"
    assert sniff(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic") == "HEIC"
    for other in (
        b"",
        b"B",
        b"BM",
        b"BMW is a maker of cars",
        b"GIF",
        b"\0\0\0\x14ftypisom\0\0\0\0mp42",
        b"%!PS-Adobe",
    ):
        assert sniff(other) is None


def test_looks_like_image(tmp_path):
    files = {
        "broken": b"\xff\xd8\xff\xe0 and no more",
        "unsupported": b"%!PS-Adobe-3.0 EPSF-3.0",
        "netpbm": b"P6\n2 2\n255\n",
        "text": b"Palette of the year",
        "csv": b"id,path\n1,a.jpg\n",
        "empty": b"",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    seen = {path.name for path in tmp_path.iterdir() if looks_like_image(path)}
    assert seen == {"broken", "unsupported", "netpbm"}
    assert not looks_like_image(tmp_path)
    assert not looks_like_image(tmp_path / "missing")


# The process around it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "TIFF", "GIF", pytest.param("AVIF", marks=needs_avif)])
def test_pillows_own_pixel_guard_is_neither_needed_nor_changed(kind, monkeypatch):
    data = encode(scene(), kind)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert load_image(data).size == (48, 32)
    assert Image.MAX_IMAGE_PIXELS == 100


def bad_tiff() -> bytes:
    """Loads, after Pillow has warned of a tag that claims more bytes than the file has."""
    shorts = {256: 48, 257: 32, 258: 8, 259: 1, 262: 1, 270: 300, 277: 1, 278: 32}
    tags = {tag: (3, (value,)) for tag, value in shorts.items()} | {273: (4, (8,)), 279: (4, (48 * 32,))}
    data = tiff(tags, bytes(48 * 32))
    return data.replace(struct.pack("<HHLHH", 270, 3, 1, 300, 0), struct.pack("<HHLL", 270, 2, 10**9, 8))


def test_pillow_warns_of_this_file():
    with pytest.warns(UserWarning, match="larger than file"), Image.open(io.BytesIO(bad_tiff())) as image:
        image.load()


def test_pillows_warnings_stay_inside_and_ours_come_through():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            assert load_image(bad_tiff()).size == (48, 32)
        with pytest.raises(UserWarning):
            warnings.warn("mine", UserWarning, stacklevel=1)
        assert len([entry for entry in warnings.filters if "_HereOnly" in repr(entry)]) == 1


def test_warnings_of_other_threads_are_not_swallowed(monkeypatch):
    inside, done = threading.Event(), threading.Event()
    heard = []
    slow = PngImagePlugin.PngImageFile.load_end

    def wait(self):
        inside.set()
        assert done.wait(10)
        slow(self)

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", wait)
    loader = threading.Thread(target=load_image, args=(encode(scene(), "PNG"),))
    loader.start()
    try:
        assert inside.wait(10)
        with pytest.raises(UserWarning, match="from here"):
            warnings.warn("from here", UserWarning, stacklevel=1)
        heard.append(True)
    finally:
        done.set()
        loader.join()
    assert heard


def test_threads_get_equal_pixels():
    data = encode(scene().resize((640, 480)), "JPEG")
    wanted = load_image(data).tobytes()
    results = []
    threads = [
        threading.Thread(target=lambda: results.extend(load_image(data).tobytes() == wanted for _ in range(5)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 20


def test_the_error_survives_the_way_out_of_a_worker():
    with pytest.raises(ImageError) as caught:
        load_image(encode(scene(), "JPEG")[:300])
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.reason) == (str(caught.value), "truncated")


def test_defaults():
    assert Limits() == DEFAULT_LIMITS
    assert DEFAULT_LIMITS.max_pixels == 100_000_000
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
