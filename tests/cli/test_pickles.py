"""A checkpoint or a gallery that is a real pickle: it is refused, and nothing of what it wants to do is done."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest
import torch

from composir.errors import ComposirError
from composir.server.answering.engine import open_service
from composir.server.settings import Settings


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, made: Path):
        self.made = made

    def __reduce__(self):
        return os.mkdir, (str(self.made),)


@pytest.fixture(params=["pickle", "torch"])
def malicious(request, tmp_path):
    """A file that makes `made` if anything unpickles it, and `made`; plain, and in torch's archive."""
    made, path = tmp_path / "made", tmp_path / "best.pt"
    if request.param == "pickle":
        path.write_bytes(pickle.dumps(Payload(made)))
    else:
        torch.save({"state": Payload(made)}, path)
    return path, made


def test_the_payload_would_work(malicious):
    path, made = malicious
    torch.load(path, weights_only=False) if path.read_bytes()[:2] == b"PK" else pickle.loads(path.read_bytes())
    assert made.exists()


def refused(done, made: Path, path: Path) -> None:
    assert done.code == 1
    assert done.err.startswith("error: ")
    assert path.name in done.err
    assert len(done.err.splitlines()) == 1
    assert not made.exists()


def test_as_a_method(cli, gallery, pictures, malicious):
    path, made = malicious
    picture = next(pictures(1).iterdir())
    refused(cli("search", "--gallery", gallery, "--method", path, "--image", picture), made, path)
    refused(cli("index", picture.parent, "--gallery", gallery, "--method", path, "--workers", 0), made, path)


def test_a_server_refuses_it_too(gallery, malicious):
    path, made = malicious
    for settings in (Settings(gallery=str(path)), Settings(gallery=str(gallery), method=str(path))):
        with pytest.raises(ComposirError, match=path.name):
            open_service(settings)
    assert not made.exists()


def test_as_a_gallery_and_within_one(cli, gallery, pictures, malicious):
    path, made = malicious
    picture = next(pictures(1).iterdir())
    refused(cli("search", "--gallery", path, "--image", picture), made, path)
    manifest = gallery / "gallery.json"
    manifest.write_bytes(path.read_bytes())
    refused(cli("search", "--gallery", gallery, "--image", picture), made, manifest)
