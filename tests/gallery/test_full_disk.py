"""A disk that is full while a folder is being indexed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="files are kept small by a limit that Linux has")
@pytest.mark.parametrize("most", [600, 2000])
def test_a_full_disk_is_told_and_nothing_is_lost(pictures, tmp_path, tiny_method, most):
    few = pictures(3)
    path = tmp_path / "g"
    index_folder(create_gallery(path, tiny_method, few), tiny_method, few, workers=0)
    before = Gallery.open(path).ids()
    pictures(200)
    command = [sys.executable, str(Path(__file__).with_name("full_disk.py")), str(few), str(path), str(most)]
    # Python keeps bytecode that was cut short by the limit, and stumbles over it ever after.
    bare = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=bare)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "make room" in done.stderr or "room on the disk" in done.stderr, done.stderr
    gallery = Gallery.open(path)
    assert before <= gallery.ids()
    assert gallery.damaged() == []
    report = index_folder(gallery, tiny_method, few, workers=0)
    assert (report.images, report.encoded) == (200, 200 - len(before))
