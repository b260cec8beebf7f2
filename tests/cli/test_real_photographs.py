"""The whole path over real photographs with the embedded backbone: index, index again, search.

A test of the path, not of quality: that backbone has seen drawings only.
"""

from __future__ import annotations

import json
import zipfile

import pytest
from PIL import Image

SETS = {
    "grocery": ("grocery/images96.test.zip", 40),
    "clothing_small": ("clothing_small/images128.zip", 40),
    "myntra": ("myntra/images60.test.zip", 40),
}


@pytest.mark.parametrize("name", SETS)
def test_index_and_search_real_photographs(name, cli, shared_data, tmp_path):
    archive, count = SETS[name]
    photos = tmp_path / "photos"
    with zipfile.ZipFile(shared_data / archive) as packed:
        members = [m for m in packed.namelist() if m.lower().endswith((".jpg", ".jpeg", ".png"))]
        packed.extractall(photos, members[:: max(1, len(members) // count)][:count])
    gallery = tmp_path / "g"
    first = cli("index", photos, "--gallery", gallery, "--workers", 0, "--json")
    assert first.code == 0, first.err
    report = json.loads(first.out)
    assert report["files"] == count
    assert report["encoded"] + report["copies"] == count
    assert json.loads(cli("index", photos, "--gallery", gallery, "--workers", 0, "--json").out)["encoded"] == 0

    reference = next(p for p in sorted(photos.rglob("*")) if p.is_file())
    for arguments in (("--text", "is red"), ("--text", "is red", "--alpha", "0.3"), ()):
        found = cli("search", "--gallery", gallery, "--image", reference, *arguments, "-k", 5, "--json")
        hits = json.loads(found.out)
        assert [hit["rank"] for hit in hits] == [1, 2, 3, 4, 5]
        assert all(set(hit) == {"rank", "id", "path", "score"} for hit in hits)
        assert [hit["score"] for hit in hits] == sorted((hit["score"] for hit in hits), reverse=True)
        assert all((photos / hit["path"]).is_file() for hit in hits)
        assert reference.relative_to(photos).as_posix() not in [hit["path"] for hit in hits]


def test_a_smaller_copy_of_a_photograph_finds_its_original(cli, shared_data, tmp_path):
    """Pixels, not file bytes: a re-encoded, resized copy is nearest to the photograph it was made from."""
    photos = tmp_path / "photos"
    with zipfile.ZipFile(shared_data / "clothing_small/images128.zip") as packed:
        members = [m for m in packed.namelist() if m.lower().endswith(".jpg")]
        packed.extractall(photos, members[::18][:40])
    gallery = tmp_path / "g"
    assert cli("index", photos, "--gallery", gallery, "--workers", 0).code == 0
    originals = sorted(p for p in photos.rglob("*.jpg"))[::8]
    for original in originals:
        with Image.open(original) as picture:
            picture.convert("RGB").resize((picture.width * 3 // 4, picture.height * 3 // 4)).save(tmp_path / "copy.png")
        hits = json.loads(cli("search", "--gallery", gallery, "--image", tmp_path / "copy.png", "-k", 1, "--json").out)
        assert hits[0]["path"] == original.relative_to(photos).as_posix()
