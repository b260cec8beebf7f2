"""Files that want to hurt: whatever the bytes, `load_image` gives a picture or an `ImageError`, soon and small."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, features

from composir.images import ImageError, Limits, load_image, sniff, sources, thumbnail

posix = pytest.mark.skipif(os.name != "posix", reason="needs fork, pipes or setrlimit")


def encode(kind: str, size=(24, 16), mode="RGB", **options) -> bytes:
    gradient = Image.linear_gradient("L").resize(size)
    image = gradient if mode == "L" else Image.merge("RGB", [gradient, gradient.rotate(180), gradient])
    buffer = io.BytesIO()
    image.convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def refusal(source, **options) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_image(source, **options)
    assert str(caught.value)
    return caught.value


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def tiff(*tags: tuple[int, int, int, int], after: int = 0, data: bytes = b"") -> bytes:
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in sorted(tags))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + struct.pack("<L", after) + data


def grey_tags(width: int, height: int) -> tuple[tuple[int, int, int, int], ...]:
    return ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (277, 3, 1, 1))


# The corpus ----------------------------------------------------------------------------------------------------------

CHILD = """
import json, os, resource, sys, time, warnings
warnings.simplefilter("error")
from composir.images import ImageError, load_image, thumbnail
load_image(open(sys.argv[1], "rb").read())  # numpy, Pillow and their threads are up before the limit is set

def one(path):
    started = time.perf_counter()
    try:
        image = load_image(path)
        assert image.mode == "RGB" and thumbnail(image, 256).startswith(b"\\xff\\xd8")
        outcome = {"size": image.size}
    except ImageError as error:
        outcome = {"reason": error.reason, "message": str(error)}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 2**20)
    return {**outcome, "seconds": time.perf_counter() - started, "mb": peak}

for path in sys.stdin.read().splitlines():
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # one process a file: its own peak, its own time, its own crash
        resource.setrlimit(resource.RLIMIT_CPU, (30, 30))
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        try:
            os.write(write, json.dumps(one(path)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    status = os.waitpid(child, 0)[1]
    print(json.dumps({"path": path, "status": status, **json.loads(said or "{}")}), flush=True)
"""


@pytest.fixture(scope="module")
def corpus(shared_data, tmp_path_factory) -> list[dict]:
    """One record for each file of the corpus, loaded and thumbnailed in a process of its own."""
    files = sorted(str(path) for path in (shared_data / "hostile_images").rglob("*") if path.is_file())
    warm = tmp_path_factory.mktemp("hostile") / "warm.png"
    warm.write_bytes(encode("PNG"))
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(warm)], input="\n".join(files), capture_output=True, text=True, timeout=200
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["path"] for record in records] == files, done.stderr[-2000:]
    return records


@posix
def test_every_hostile_file_is_loaded_or_skipped_with_a_reason(corpus):
    assert len(corpus) > 400
    for record in corpus:
        assert record["status"] == 0, record
        assert "size" in record or (record.get("reason") and record["path"] in record["message"]), record


@posix
def test_no_hostile_file_takes_long_or_much(corpus):
    slowest, largest = max(corpus, key=lambda r: r["seconds"]), max(corpus, key=lambda r: r["mb"])
    assert slowest["seconds"] < 10, slowest
    assert largest["mb"] < 1000, largest
    print(f"slowest {slowest['seconds']:.2f} s {slowest['path']}, largest {largest['mb']:.0f} MB {largest['path']}")


@posix
def test_the_sound_files_of_the_corpus_do_load(corpus):
    loaded = {os.path.basename(record["path"]) for record in corpus if "size" in record}
    assert len(loaded) >= 300
    names = {os.path.basename(record["path"]) for record in corpus}
    for suffix, at_least in {".png": 0.95, ".gif": 0.85, ".webp": 1.0, ".avif": 1.0, ".jpg": 0.9, ".tif": 0.75}.items():
        if suffix == ".avif" and not features.check("avif"):
            continue
        ours = {name for name in names if name.endswith(suffix)}
        assert len(ours & loaded) >= at_least * len(ours), (suffix, sorted(ours - loaded))


@posix
def test_reasons_of_the_corpus_are_told_apart(corpus):
    reasons = {os.path.basename(record["path"]): record.get("reason") for record in corpus}
    expected = {
        "decompression_bomb.gif": "too many pixels",
        "bmp__b__reallybig.bmp": "too many pixels",
        "truncated_image.png": "truncated",
        "truncated_jpeg.jpg": "truncated",
        "eps__zero_bb_trailer.eps": "unsupported format",
        "psd-oob-write.psd": "unsupported format",
        "bmp__b__badbitcount.bmp": "corrupt",
        "tga__common__1x1_l_bl_raw.tga": "not an image",
        "multipage_single_frame_loop.tiff": None,
    }
    assert {name: reasons[name] for name in expected} == expected


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["picture.eps", "picture.jpg"])
@pytest.mark.parametrize(
    "magic", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\xc5\xd0\xd3\xc6" + bytes(60)]
)
def test_postscript_is_refused_under_any_name(tmp_path, name, magic):
    path = tmp_path / name
    path.write_bytes(magic)
    error = refusal(path)
    assert error.reason == "unsupported format"
    assert "EPS" in str(error)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"%PDF-1.7\n", "not an image"),
        (b"only words, as in a readme next to the pictures", "not an image"),
        (b"\0" * 5000, "not an image"),
        (b"SIMPLE  =                    T", "not an image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), "unsupported format"),
        (b"\xff\xd8\xff", "corrupt"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (b"GIF89a", "truncated"),
        (b"II*\0\x08\0\0\0", "corrupt"),
    ],
)
def test_reasons(data, reason):
    assert refusal(data).reason == reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_a_truncated_file_is_an_error_and_not_half_grey(kind, part):
    data = encode(kind, (160, 120))
    assert load_image(data).size == (160, 120)
    # A cut GIF or WebP is told from a damaged one by Pillow's message alone, and not always.
    assert refusal(data[: int(len(data) * part)]).reason in {"truncated", "corrupt"}


def test_paths_that_are_no_files(tmp_path):
    assert refusal(tmp_path / "gone.jpg").reason == "missing file"
    assert refusal(tmp_path).reason == "unreadable"
    assert refusal("a\0b").reason == "unreadable"
    closed = io.BytesIO(b"x")
    closed.close()
    assert refusal(closed).reason == "unreadable"


@posix
def test_a_pipe_without_a_writer_does_not_hold_us(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert refusal(tmp_path / "pipe.jpg").reason == "unreadable"


# Caps ----------------------------------------------------------------------------------------------------------------


def test_cap_on_bytes(tmp_path):
    data = encode("PNG")
    path = tmp_path / "a.png"
    path.write_bytes(data)
    for source in (data, path, io.BytesIO(data)):
        error = refusal(source, limits=Limits(max_bytes=len(data) - 1))
        assert error.reason == "too many bytes"
        assert f"{len(data):,}" in str(error)
        assert "max_bytes" in str(error)
    assert load_image(data, limits=Limits(max_bytes=len(data))).size == (24, 16)


def test_an_endless_stream_is_read_no_further_than_the_cap():
    class Endless(io.RawIOBase):
        given = 0

        def seekable(self):
            return False

        def read(self, size=-1):
            assert size >= 0
            self.given += size
            return b"\xff" * size

    endless = Endless()
    assert refusal(endless, limits=Limits(max_bytes=1000)).reason == "too many bytes"
    assert endless.given == 1001


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("min_side", [None, 2])
def test_cap_on_pixels_holds_for_the_full_size_and_can_be_raised(kind, min_side):
    data = encode(kind, (40, 30))
    error = refusal(data, limits=Limits(max_pixels=1199), min_side=min_side)
    assert error.reason == "too many pixels"
    assert "40 x 30" in str(error)
    assert "max_pixels" in str(error)
    assert load_image(data, limits=Limits(max_pixels=1200), min_side=min_side)


def test_cap_on_pixels_counts_memory():
    for data in (encode("WEBP", (40, 30)), encode("JPEG", (40, 30), progressive=True)):
        error = refusal(data, limits=Limits(max_pixels=1200))
        assert error.reason == "too many pixels"
        wanted = int(str(error).rsplit(" ", 1)[1].replace(",", ""))
        assert 1200 < wanted <= 3000
        assert load_image(data, limits=Limits(max_pixels=wanted)).size == (40, 30)
    assert refusal(encode("PNG", (1, 1000)), limits=Limits(max_pixels=5000)).reason == "too many pixels"


def bombs() -> dict[str, bytes]:
    header = struct.pack(">IIBBBBB", 2_000_000, 2_000_000, 8, 2, 0, 0, 0)
    zeros = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    jpeg = encode("JPEG")
    sof = jpeg.index(b"\xff\xc0")
    bmp = bytearray(encode("BMP"))
    bmp[18:26] = struct.pack("<ii", 3_000_000, 2_000_000)
    webp = b"VP8X\x0a\0\0\0\0\0\0\0" + (16_383).to_bytes(3, "little") * 2 + b"VP8L\x05\0\0\0\x2f\0\0\0\0\0"
    return {
        "PNG": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + zeros + chunk(b"IEND", b""),
        "JPEG": jpeg[: sof + 5] + struct.pack(">HH", 65_000, 65_000) + jpeg[sof + 9 :],
        "GIF": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;",
        "BMP": bytes(bmp),
        "TIFF": tiff(*grey_tags(1_000_000, 1_000_000), (273, 4, 1, 8), (279, 4, 1, 8)),
        "TIFF of one huge tile": tiff(*grey_tags(10, 10), *((tag, 4, 1, 60_000) for tag in (322, 323)), (324, 4, 1, 8)),
        "WEBP": b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp,
    }


@pytest.mark.parametrize("bomb", bombs())
def test_a_bomb_is_refused_by_its_header(bomb, monkeypatch):
    data = bombs()[bomb]
    assert len(data) < 5000

    def never(*_):
        raise AssertionError("pixels were asked for")

    monkeypatch.setattr(Image.core, "new", never)
    monkeypatch.setattr(Image.core, "fill", never)
    error = refusal(data)
    assert (error.reason, "max_pixels" in str(error)) == ("too many pixels", True)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_cap_on_frames(kind):
    frames = [Image.new("RGB", (8, 8), (i * 40, 0, 0)) for i in range(5)]
    buffer = io.BytesIO()
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    error = refusal(buffer.getvalue(), limits=Limits(max_frames=4))
    assert error.reason == "too many frames"
    assert "max_frames" in str(error)
    assert load_image(buffer.getvalue(), limits=Limits(max_frames=5)).size == (8, 8)


def test_a_chain_of_directories_is_not_walked_to_its_end():
    # 400,000 directories of no tags, each pointing to the next.
    first = tiff(*grey_tags(2, 2), (273, 4, 1, 8), (279, 4, 1, 4), after=200).ljust(200, b"\0")
    chain = b"".join(struct.pack("<HL", 0, 200 + 6 * (i + 1)) for i in range(400_000))
    assert refusal(first + chain).reason == "too many frames"


def test_a_chain_that_bites_its_tail_ends_there():
    assert load_image(tiff(*grey_tags(2, 2), (273, 4, 1, 8), (279, 4, 1, 4), after=8)).size == (2, 2)


@pytest.mark.parametrize(
    "data",
    [
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 8 + bytes(4000),  # BigTIFF, 2**64 - 1 tags
        tiff(*grey_tags(2, 2), (273, 4, 500_000_000, 8), (279, 4, 1, 4)),
        tiff(*grey_tags(2, 2), (273, 4, 1, 8), (279, 4, 1, 4), (700, 5, 2_000_000, 8)),
    ],
)
def test_absurd_tag_counts_are_refused_before_they_become_objects(data):
    assert refusal(data).reason == "corrupt"


def test_a_file_of_crumbs_is_given_up(monkeypatch):
    monkeypatch.setattr(sources, "_MAX_READS", 1000)
    gif, png = encode("GIF"), encode("PNG")
    comments = b"!\xfe" + b"\x01x" * 2000 + b"\0"
    at = 13 + (3 << ((gif[10] & 7) + 1))
    chunks = chunk(b"teXt", b"") * 2000
    for data in (gif[:at] + comments + gif[at:], png[:33] + chunks + png[33:], b"\xff\xd8\xff\xe0\0\x02" + bytes(3000)):
        assert refusal(data).reason == "too fragmented"
    assert load_image(gif).size == load_image(png).size == (24, 16)


def test_running_out_of_memory_is_a_refusal_too(monkeypatch):
    def fails(*_):
        raise MemoryError

    data = encode("PNG")
    monkeypatch.setattr(Image.core, "new", fails)
    assert refusal(data).reason == "out of memory"


ERRORS = [OSError, SyntaxError, ValueError, struct.error, zlib.error, IndexError, KeyError, TypeError, EOFError]
ERRORS += [ZeroDivisionError, OverflowError, RuntimeError, AttributeError, RecursionError, Image.DecompressionBombError]


@pytest.mark.parametrize("error", ERRORS)
def test_whatever_pillow_raises_is_an_image_error_with_its_cause(error, monkeypatch):
    from PIL import PngImagePlugin

    def fails(*_):
        raise error("from deep within")

    data = encode("PNG")
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load_end", fails)
    caught = refusal(data, name="one.png")
    assert isinstance(caught.__cause__, error)
    assert "one.png" in str(caught)
    assert "from deep within" in str(caught)


@pytest.mark.slow
def test_an_honest_scan_of_366_megapixels_loads_when_allowed():
    data = encode("JPEG", (22_000, 16_640), "L", quality=30)
    assert refusal(data).reason == "too many pixels"
    assert load_image(data, limits=Limits(max_pixels=400_000_000), min_side=384).size == (2750, 2080)


# Fuzz ----------------------------------------------------------------------------------------------------------------

SEEDS = [
    encode("JPEG"),
    encode("JPEG", progressive=True, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
    encode("JPEG", mode="CMYK"),
    encode("PNG"),
    encode("PNG", mode="P", transparency=3),
    encode("GIF"),
    encode("BMP"),
    encode("BMP", mode="P"),
    encode("WEBP"),
    encode("TIFF"),
    encode("TIFF", compression="tiff_lzw"),
    encode("TIFF", mode="I;16"),
    encode("TIFF", mode="1", compression="group4"),
    *([encode("AVIF")] if features.check("avif") else []),
]
SMALL = Limits(max_pixels=1_000_000)
FUZZ = settings(
    max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def survives(data: bytes) -> None:
    try:
        image = load_image(data, limits=SMALL)
    except ImageError:
        return
    assert image.mode == "RGB"
    assert thumbnail(image, 8)


MAGIC = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"MM\0*", b"RIFF\x40\0\0\0WEBPVP8X"]
MAGIC += [b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", b"\0\0\0\x1cftypavif", b"\0\0\0\x18ftypheic"]


@FUZZ
@given(st.binary(max_size=600), st.sampled_from(MAGIC))
def test_random_bytes_after_any_magic_number(tail, magic):
    sniff(tail)
    survives(magic + tail)


@FUZZ
@given(st.data())
def test_mutated_pictures(data):
    picture = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, max(0, len(picture) - 1)))
        # Headers are where the harm is: half of the changes go to the first 100 bytes.
        at = at % 100 if data.draw(st.booleans()) else at
        action = data.draw(st.sampled_from(["set", "cut", "insert", "repeat"]))
        if action == "set":
            some = data.draw(st.binary(min_size=1, max_size=4))
            picture[at : at + len(some)] = some
        elif action == "cut":
            del picture[at : at + data.draw(st.integers(1, 40))]
        elif action == "insert":
            picture[at:at] = data.draw(st.binary(max_size=12))
        else:
            picture[at:at] = picture[at : at + 30]
    survives(bytes(picture))
