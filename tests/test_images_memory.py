"""What `Limits.max_pixels` promises of memory, measured: 8 bytes for each pixel that a picture counts as."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys

import pytest
from PIL import Image

from composir.images import ImageError, Limits, load_image

SIDE = 4000
SLACK = 24_000_000  # bytes: buffers of decoders, strips
PROMISED = 8  # bytes a pixel
TURNED = Image.Exif()
TURNED[0x0112] = 6

# Format, mode and what the writer is told.
KINDS = {
    "PNG RGB": ("PNG", "RGB", {}),
    "PNG RGB, a transparent colour": ("PNG", "RGB", {"transparency": (1, 2, 3)}),
    "PNG RGBA": ("PNG", "RGBA", {}),
    "PNG LA": ("PNG", "LA", {}),
    "PNG L": ("PNG", "L", {}),
    "PNG L, a transparent grey": ("PNG", "L", {"transparency": 7}),
    "PNG P": ("PNG", "P", {}),
    "PNG P, a transparent entry": ("PNG", "P", {"transparency": 0}),
    "PNG P, entries half transparent": ("PNG", "P", {"transparency": b"\x80" * 4}),
    "PNG 1": ("PNG", "1", {}),
    "PNG I;16": ("PNG", "I;16", {}),
    "GIF": ("GIF", "P", {}),
    "GIF, a transparent entry": ("GIF", "P", {"transparency": 0}),
    "BMP": ("BMP", "RGB", {}),
    "JPEG": ("JPEG", "RGB", {}),
    "JPEG, turned": ("JPEG", "RGB", {"exif": TURNED}),
    "JPEG CMYK": ("JPEG", "CMYK", {}),
    "JPEG, progressive": ("JPEG", "RGB", {"progressive": True}),
    "JPEG CMYK, progressive": ("JPEG", "CMYK", {"progressive": True}),
    "TIFF": ("TIFF", "RGB", {}),
    "TIFF, deflate": ("TIFF", "RGB", {"compression": "tiff_adobe_deflate"}),
    "TIFF RGBA": ("TIFF", "RGBA", {}),
    "TIFF I;16": ("TIFF", "I;16", {}),
    "TIFF F": ("TIFF", "F", {}),
    "WEBP": ("WEBP", "RGB", {"method": 0}),
    "WEBP RGBA, lossless": ("WEBP", "RGBA", {"method": 0, "lossless": True}),
    "AVIF": ("AVIF", "RGB", {"speed": 10}),
}

CHILD = """
import json, os, sys
from pathlib import Path
from composir.images import Limits, load_image

def told(what):
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(what))
    return 1024 * int(line.split()[1])

small, large, counted = sys.argv[1:]
load_image(Path(small))  # what libraries load once
Path("/proc/self/clear_refs").write_text("5")  # the highest so far is forgotten
before = told("VmRSS")
picture = load_image(Path(large), limits=Limits(max_pixels=int(counted)))
print(json.dumps([told("VmHWM") - before, picture.size]))
"""


def encoded(kind: str, side: int) -> bytes:
    name, mode, options = KINDS[kind]
    buffer = io.BytesIO()
    picture = Image.new(mode, (side, side))
    if mode == "P":
        picture.putpalette(bytes(range(12)))
    picture.save(buffer, format=name, **options)
    return buffer.getvalue()


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("kind", KINDS)
def test_no_kind_takes_more_memory_than_its_pixels_count(tmp_path, kind):
    small, large = tmp_path / "small", tmp_path / "large"
    small.write_bytes(encoded(kind, 16))
    large.write_bytes(encoded(kind, SIDE))
    with pytest.raises(ImageError) as refused:
        load_image(large, limits=Limits(max_pixels=1))
    counted = int(re.search(r"Limits\(max_pixels=...\) to ([\d,]+)$", str(refused.value))[1].replace(",", ""))
    run = [sys.executable, "-c", CHILD, str(small), str(large), str(counted)]
    grown, size = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
    assert size == [SIDE, SIDE]
    print(f"{kind}: {grown / SIDE**2:.2f} bytes a pixel, counted {counted / SIDE**2:.2f} times")
    assert grown <= PROMISED * counted + SLACK
    assert grown >= 3 * SIDE**2  # else nothing was measured
