"""The door opens before the gallery does: alive at once, ready later; what cannot be opened ends the server."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from composir.checkpoint import save
from composir.errors import ComposirError
from composir.indexing import create_gallery, index_folder
from composir.opening import find_method, load_wanted
from composir.server import create_app
from composir.server.parts import opened
from composir.server.settings import Settings

SOON = 30.0  # seconds, on a machine that also runs other tests


@pytest.fixture
def opening(folder, tmp_path, wait_until):
    """A server that opens its service once `gate` is written: the process, its URL, the gate."""
    gate = tmp_path / "gate"
    command = [sys.executable, Path(__file__).with_name("served.py"), folder, "0", "0", gate]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    url = json.loads(running.stderr.readline())["url"]
    wait_until(lambda: alive(url), SOON)
    yield running, url, gate
    if running.poll() is None:
        running.kill()
    running.communicate()


def alive(url: str) -> bool:
    try:
        return httpx.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        return False


def test_alive_at_once_and_ready_when_the_service_is(opening, error_of, wait_until):
    running, url, gate = opening
    for answer in (
        httpx.get(f"{url}/readyz"),
        httpx.get(f"{url}/v1/gallery"),
        httpx.get(f"{url}/metrics"),
        httpx.post(f"{url}/v1/search", json={"text": "red"}),
    ):
        assert "being loaded" in error_of(answer, 503, "unavailable")
        assert answer.headers["retry-after"] == "1"
    assert httpx.get(f"{url}/").headers["content-type"].startswith("text/html")
    assert alive(url)
    gate.touch()
    wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200, SOON)
    assert httpx.post(f"{url}/v1/search", json={"text": "red"}).status_code == 200
    running.terminate()
    assert running.wait(SOON) == 0
    assert running.stdout.read() == "closed\n"


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_server_that_is_opening(opening, told):
    running, _, _ = opening
    running.send_signal(told)
    _, log = running.communicate(timeout=SOON)
    assert running.returncode in (0, -signal.SIGINT)
    assert "ready" not in [json.loads(line)["message"] for line in log.splitlines() if line.startswith("{")]


def test_what_cannot_be_opened_ends_the_server_with_its_error(opening):
    running, _, gate = opening
    gate.with_name("written").write_text("this gallery is of another kind")
    gate.with_name("written").rename(gate)
    _, log = running.communicate(timeout=SOON)
    assert running.returncode == 1
    assert log.splitlines()[-1] == "composir.errors.ComposirError: this gallery is of another kind"


def test_an_application_of_its_own_says_that_it_cannot_be_opened(error_of, wait_until):
    def broken():
        raise ComposirError("no such gallery")

    with TestClient(create_app(Settings(decode_workers=1), broken), base_url="http://localhost") as client:
        wait_until(lambda: "cannot be opened" in client.get("/readyz").text)
        error_of(client.get("/v1/gallery"), 503, "unavailable")
        assert client.get("/livez").status_code == 200


def test_a_service_that_opens_too_late_is_closed(fakes, folder, wait_until):
    gate, service = threading.Event(), fakes.FakeService(folder)
    future = opened(lambda: gate.wait(SOON) and service)
    assert future.cancel()
    gate.set()
    wait_until(lambda: service.closed)


@pytest.fixture(scope="module")
def gallery(folder, tmp_path_factory):
    """The path of a gallery, and its method."""
    method, path = load_wanted(find_method("slerp"), device="cpu").eval(), tmp_path_factory.mktemp("opening") / "g"
    index_folder(create_gallery(path, method, folder), method, folder, workers=0)
    return path, method


def refused(*flags: object) -> str:
    """The last line that `composir serve` says before it ends with exit code 1."""
    command = [sys.executable, "-m", "composir", "serve", "--port", 0, *flags]
    start = time.monotonic()
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - start < 2 * SOON
    return done.stderr.splitlines()[-1]


@pytest.mark.long
def test_a_method_of_another_gallery_key_is_refused_with_both_keys(gallery, tmp_path):
    path, method = gallery
    other = load_wanted(find_method("slerp", "wardrobe-blip"), device="cpu")
    save(tmp_path / "other.safetensors", other, arguments={})
    told = refused("--gallery", path, "--method", tmp_path / "other.safetensors")
    assert told.startswith("error: ")
    assert method.gallery_key() in told
    assert other.gallery_key() in told


@pytest.mark.long
def test_a_gallery_that_is_not_there_and_none_at_all(tmp_path):
    assert "nothing-here does not exist; build one with" in refused("--gallery", tmp_path / "nothing-here")
    assert "which gallery? give --gallery" in refused()


@pytest.mark.long
def test_bad_settings_and_a_taken_port_are_refused_before_anything_is_opened():
    assert "there is no API key" in refused("--gallery", "nothing-here", "--host", "0.0.0.0")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = refused("--gallery", "nothing-here", "--port", taken.getsockname()[1])
    assert "choose another --port" in told
