"""An application over a fake service, with one decoding child for all tests of a file."""

from __future__ import annotations

import importlib.util
import io
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def fakes():
    """The module of fakes; importable by child processes too."""
    if (kept := sys.modules.get("composir_server_fakes")) is not None:
        return kept
    spec = importlib.util.spec_from_file_location("composir_server_fakes", HERE / "fakes.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["composir_server_fakes"] = module
    spec.loader.exec_module(module)
    return module


def jpeg(seed: int = 0, size: tuple[int, int] = (60, 48), **options) -> bytes:
    """The bytes of a small picture."""
    corners = np.random.default_rng(seed).integers(0, 256, (4, 3, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(corners).resize(size).save(buffer, format="JPEG", **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_jpeg():
    return jpeg


@pytest.fixture(scope="session")
def folder(tmp_path_factory) -> Path:
    """Twelve pictures, one with GPS in its EXIF."""
    root = tmp_path_factory.mktemp("served")
    exif = Image.Exif()
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0)}
    exif[0x010E] = "taken at home"
    for number in range(12):
        extra = {"exif": exif} if number == 3 else {}
        (root / f"{number:02}.jpg").write_bytes(jpeg(number, **extra))
    return root


@pytest.fixture
def app_with(fakes, folder):
    """A maker of running applications: app_with(max_batch=2) gives a client, its `.service` the fake one."""
    from starlette.testclient import TestClient

    from composir.server import create_app
    from composir.server.settings import Settings

    opened = []

    def make(service=None, *, ready: bool = True, **settings):
        settings = {"decode_workers": 1, "batch_delay_seconds": 0.0, **settings}
        service = service or fakes.FakeService(folder)
        client = TestClient(create_app(Settings(**settings), service), base_url="http://localhost")
        client.__enter__()
        opened.append(client)
        client.service = service
        if ready:
            wait_until(lambda: client.get("/readyz").status_code == 200)
        return client

    yield make
    for client in opened:
        client.__exit__(None, None, None)


@pytest.fixture(scope="module")
def client(fakes, folder):
    """One application for all tests of a file."""
    from starlette.testclient import TestClient

    from composir.server import create_app
    from composir.server.settings import Settings

    service = fakes.FakeService(folder)
    settings = Settings(decode_workers=1, batch_delay_seconds=0.0)
    with TestClient(create_app(settings, service), base_url="http://localhost") as opened:
        opened.service = service
        wait_until(lambda: opened.get("/readyz").status_code == 200)
        yield opened


def wait_until(true, seconds: float = 120.0) -> None:
    """Wait for something to become true, and fail if it does not."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


@pytest.fixture(scope="session", name="wait_until")
def _wait_until():
    return wait_until


def error_of(response, status: int, code: str) -> str:
    """Check that an answer is an error of that kind in the one shape; gives its message."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message", "request_id"}
    assert body["error"]["code"] == code
    assert body["error"]["request_id"] == response.headers["x-request-id"]
    return body["error"]["message"]


@pytest.fixture(scope="session", name="error_of")
def _error_of():
    return error_of
