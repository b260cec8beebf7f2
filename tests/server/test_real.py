"""The real engine over HTTP: under load, while the gallery grows, while another edition takes over; odd files."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import httpx
import pytest

from composir.benching.load import load
from composir.datasets.wardrobe import Wardrobe
from composir.gallery import editions
from composir.gallery.place import Folder
from composir.gallery.store import Gallery
from composir.indexing import create_gallery, index_folder
from composir.opening import find_method, load_wanted
from composir.server.answering.engine import GalleryService
from composir.server.settings import Settings

SLACK = 2.0  # seconds for all of a query but the picture's decoding
BUSY = 5.0  # seconds that a machine which also runs other tests may add
WORDS = ("is red", "in blue", "longer", "with a heart", "a coat")


@pytest.fixture(scope="module")
def slerp():
    return load_wanted(find_method("slerp"), device="cpu").eval()


@pytest.fixture(scope="module")
def wardrobe() -> Wardrobe:
    return Wardrobe(6, 6, 120)


@pytest.fixture
def folder(tmp_path, wardrobe) -> Path:
    """Thirty drawn garments."""
    root = tmp_path / "pictures"
    root.mkdir()
    for name in wardrobe.ids("test")[:30]:
        wardrobe.image(name).save(root / f"{name}.png")
    return root


@contextlib.contextmanager
def served(gallery: Path, *flags: object, secrets: Mapping[str, str] = MappingProxyType({})):
    """A server of its own process; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "composir", "serve", "--gallery", gallery, "--port", port, "--drain-seconds", 0]
    environment = {name: own for name, own in os.environ.items() if not name.startswith("COMPOSIR_")} | secrets
    # To a file: a pipe that nobody empties is full after some hundred requests, and stops the server.
    told = gallery.with_name("server.log")
    with told.open("ab") as log:
        process = subprocess.Popen([*map(str, command), *map(str, flags)], env=environment, stdout=log, stderr=log)
    try:
        url, end = f"http://127.0.0.1:{port}", time.monotonic() + 120
        while True:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/readyz").status_code == 200:
                    break
            assert process.poll() is None, told.read_text()
            assert time.monotonic() < end, "the server did not get ready"
            time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)
    assert process.returncode == 0, told.read_text()
    assert "Traceback" not in told.read_text()


def processes_below(flag: str) -> dict[int, str]:
    """Processes that the one with such a flag has started, with how they were started."""
    told = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has ended
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            told[int(path.name)] = (line, int((path / "stat").read_text().rpartition(")")[2].split()[1]))
    found = {pid for pid, (line, _) in told.items() if flag in line}
    for _ in range(3):
        found |= {pid for pid, (_, parent) in told.items() if parent in found}
    return {pid: told[pid][0] for pid in found if flag not in told[pid][0]}


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux's /proc")
def test_decoding_processes_have_no_secrets(folder, slerp, tmp_path, monkeypatch):
    """Not in their environment, which whoever takes one over by a picture can read; the server works all the same."""
    index_folder(create_gallery(tmp_path / "g", slerp, folder), slerp, folder, workers=0)
    secrets = {"COMPOSIR_API_KEYS": "k" * 40, "AWS_SECRET_ACCESS_KEY": "s" * 40, "HF_TOKEN": "t" * 40}
    with served(tmp_path / "g", secrets=secrets) as url, httpx.Client(headers={"X-API-Key": "k" * 40}) as one:
        assert httpx.get(f"{url}/v1/gallery").status_code == 401
        assert one.post(f"{url}/v1/search", files={"image": next(folder.iterdir()).read_bytes()}).status_code == 200
        below = processes_below(f"--port {url.rpartition(':')[2]} ")
        environments = [
            Path(f"/proc/{pid}/environ").read_bytes() for pid, line in below.items() if "forkserver" in line
        ]
    assert len(environments) >= 2, "the fork server and a decoding process at least"
    for told in environments:
        assert b"PATH=" in told
        assert not any(secret.encode() in told for secret in secrets.values())


@contextlib.contextmanager
def asked(url: str, clients: int = 3):
    """Clients that search all the while; every answer's status and keys of the gallery that was searched."""
    statuses: list[int] = []
    stop, numbers = threading.Event(), itertools.count()

    def client() -> None:
        with httpx.Client(base_url=url, timeout=60) as connection:
            while not stop.is_set():
                number = next(numbers)
                answer = connection.post("/v1/search", json={"text": f"{WORDS[number % 5]} {number}", "k": 5})
                statuses.append(answer.status_code)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield statuses
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def wait_for(true, seconds: float = 60.0) -> float:
    start = time.monotonic()
    while not true():
        assert time.monotonic() < start + seconds, "it did not happen in time"
        time.sleep(0.05)
    return time.monotonic() - start


@pytest.mark.long
def test_what_is_added_is_found_while_others_search_and_scroll(folder, slerp, wardrobe, tmp_path):
    gallery = create_gallery(tmp_path / "g", slerp, folder)
    index_folder(gallery, slerp, folder, workers=0)
    with (
        served(tmp_path / "g", "--refresh-seconds", 0.2) as url,
        asked(url) as statuses,
        httpx.Client(base_url=url) as one,
    ):
        shown, cursor, names = [], None, iter(wardrobe.ids("test")[30:60])
        query = {"text": "a red dress", "k": 3}
        before = {hit["id"] for hit in one.post("/v1/search", json={**query, "k": 1000}).json()["hits"]}
        while True:
            answer = one.post("/v1/search", json={**query, **({"cursor": cursor} if cursor else {})}).json()
            shown += [hit["id"] for hit in answer["hits"]]
            for name in itertools.islice(names, 3):
                wardrobe.image(name).save(folder / f"{name}.png")
            index_folder(Gallery.open(tmp_path / "g"), slerp, folder, workers=0)
            pictures = len(list(folder.iterdir()))
            seconds = wait_for(lambda count=pictures: one.get("/v1/gallery").json()["pictures"] == count)
            assert seconds < 0.2 + BUSY, "new pictures are seen within --refresh-seconds"
            cursor = answer["cursor"]
            if cursor is None:
                break
        assert len(shown) == len(set(shown))
        assert before <= set(shown)
        seen = load(url, clients=16, seconds=3)  # the short form of `composir bench serve`
    assert set(statuses) == {200}
    assert set(seen.statuses) <= {200, 429}
    assert seen.statuses[200] > 16
    assert seen.batch > 1.5
    assert 0 < seen.p50 <= seen.p99


@pytest.mark.long
def test_another_model_takes_over_under_load_and_back_without_a_failed_request(folder, slerp, tmp_path):
    index_folder(create_gallery(tmp_path / "g", slerp, folder), slerp, folder, workers=0)
    other = load_wanted(find_method("slerp", "wardrobe-blip"), device="cpu").eval()
    beside = create_gallery(editions.edition(Folder(tmp_path / "g"), other.gallery_key()), other, folder)
    with served(tmp_path / "g", "--refresh-seconds", 0.2) as url, asked(url) as statuses:
        backbone = lambda: httpx.get(f"{url}/v1/gallery").json()["backbone"]  # noqa: E731
        index_folder(beside, other, folder, workers=0)
        assert backbone() == "wardrobe-clip"
        editions.point(Folder(tmp_path / "g"), other.gallery_key())
        wait_for(lambda: backbone() == "wardrobe-blip")
        seen = len(statuses)
        wait_for(lambda: len(statuses) > seen + 5)
        editions.go_back(Folder(tmp_path / "g"))
        wait_for(lambda: backbone() == "wardrobe-clip")
    assert set(statuses) == {200}


def test_a_cursor_outlives_a_restart(folder, slerp, tmp_path, app_with, error_of):
    index_folder(create_gallery(tmp_path / "g", slerp, folder), slerp, folder, workers=0)
    query = {"text": "a red dress", "k": 10}
    before, after = (GalleryService(tmp_path / "g", Settings(device="cpu")) for _ in range(2))
    client = app_with(before)
    first = client.post("/v1/search", json=query).json()
    whole = client.post("/v1/search", json={**query, "k": 30}).json()
    before.close()
    client = app_with(after)
    second = client.post("/v1/search", json={**query, "k": 20, "cursor": first["cursor"]}).json()
    for strange in ({"text": "a blue dress", "cursor": first["cursor"]}, {"text": "a red dress", "cursor": "AAAA"}):
        error_of(client.post("/v1/search", json=strange), 422, "stale_cursor")
    error_of(client.post("/v1/search", json={**query, "where": "price <"}), 422, "bad_filter")
    after.close()
    assert [hit["id"] for hit in first["hits"] + second["hits"]] == [hit["id"] for hit in whole["hits"]]


@pytest.mark.slow
def test_64_clients_for_a_minute(folder, slerp, tmp_path):
    index_folder(create_gallery(tmp_path / "g", slerp, folder), slerp, folder, workers=0)
    with served(tmp_path / "g") as url:
        seen = load(url, clients=64, seconds=60)
    assert set(seen.statuses) <= {200, 429}
    assert seen.statuses[200] > 600  # ten a second: less is no service, whatever else the machine does
    assert seen.batch > 4


@pytest.mark.long
def test_every_odd_file_as_a_query_and_as_a_thumbnail(shared_data, folder, slerp, tmp_path, app_with):
    """Each ends, within the seconds that a picture may take, as an answer or as a refusal with a reason."""
    index_folder(create_gallery(tmp_path / "g", slerp, folder), slerp, folder, workers=0)
    client = app_with(GalleryService(tmp_path / "g", Settings(device="cpu")), decode_seconds=10.0)
    files = [path for path in sorted((shared_data / "hostile_images").rglob("*")) if path.is_file()]
    small = [path for path in files if path.stat().st_size <= 20_000_000]  # others are refused by their size
    assert len(small) > 400
    for path in small:
        start = time.monotonic()
        answer = client.post("/v1/search", files={"image": path.read_bytes()}, data={"text": "in red"})
        assert answer.status_code in (200, 422), (path, answer.text)
        assert time.monotonic() - start < 10 + SLACK, path
        if answer.status_code == 200:
            own = answer.json()["reference"]
            assert client.get(f"/v1/images/{own}/thumbnail").headers["content-type"] == "image/jpeg", path
        else:
            assert answer.json()["error"]["code"] == "bad_picture", (path, answer.text)
