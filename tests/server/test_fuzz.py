"""Schemathesis against the API as it documents itself: nothing makes it fail, and it keeps its word.

For five minutes over a real gallery, or as long as COMPOSIR_FUZZ_SECONDS says:
`pytest -m slow tests/server/test_fuzz.py`.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest
import uvicorn

from composir.datasets.wardrobe import Wardrobe
from composir.indexing import create_gallery, index_folder
from composir.opening import find_method, load_wanted
from composir.server import create_app
from composir.server.answering.engine import open_service
from composir.server.settings import Settings

CONFIG = Path(__file__).with_name("schemathesis.toml")


@contextlib.contextmanager
def served(service, wait_until):
    app = create_app(Settings(decode_workers=1), service)
    door = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, args=([door],))
    thread.start()
    try:
        wait_until(lambda: app.state.life.state == "ok")
        yield f"http://127.0.0.1:{door.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture
def real(tmp_path) -> Path:
    """A gallery of drawn garments, with metadata of every type."""
    folder, wardrobe = tmp_path / "garments", Wardrobe(6, 6, 60)
    folder.mkdir()
    rows: list[tuple[object, ...]] = [("file_name", "price", "count", "new", "brand")]
    for number, name in enumerate(wardrobe.ids("test")[:40]):
        wardrobe.image(name).save(folder / f"{number:02}.png")
        rows.append((f"{number:02}.png", number + 0.5, number, number % 2 == 0, "xyz"[number % 3]))
    with (folder / "metadata.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    slerp = load_wanted(find_method("slerp"), device="cpu").eval()
    index_folder(create_gallery(tmp_path / "g", slerp, folder), slerp, folder, workers=0)
    return tmp_path / "g"


def fuzz(url: str, folder: Path, seconds: str, *arguments: str) -> None:
    """Every check in every phase, the stateful one along the links that the document tells, with ids that are there.

    Without the program it fails, for the dev extra has it.
    """
    hits = httpx.post(f"{url}/v1/search", json={"text": "a red dress", "k": 100}).json()["hits"]
    ids, paths = (json.dumps([hit[name] for hit in hits]) for name in ("id", "path"))
    config = folder / CONFIG.name
    config.write_text(CONFIG.read_text().replace("IDS", ids).replace("PATHS", paths))
    program = Path(sys.executable).with_name("schemathesis")
    assert program.is_file(), f"there is no {program}; install the dev extra: pip install -e '.[dev]'"
    line = [program, "--config-file", config, "run", f"{url}/openapi.json", "--url", url, "--checks", "all"]
    line += ["--max-time", seconds, *arguments]
    hooks = {"SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(CONFIG.parent)}
    done = subprocess.run(
        line,
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **hooks},
        timeout=float(seconds) + 600,
    )
    told = done.stdout[-20000:] + done.stderr[-2000:]
    assert done.returncode == 0, told
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert re.search(rf"✅\s+{phase}$", done.stdout, re.MULTILINE), f"{phase} was skipped or failed: {told}"
    covered, links = map(int, re.findall(r"API Links: +(\d+) covered / (\d+) selected", done.stdout)[0])
    assert covered > links / 4, told  # a gallery without a benchmark has no queries that links could start from


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_all_checks_all_phases_over_a_real_gallery(real, tmp_path, wait_until, caplog):
    settings = Settings(gallery=str(real), judgements=tmp_path / "judged", device="cpu", fold_similarity=0.9)
    with served(open_service(settings), wait_until) as url:
        fuzz(url, tmp_path, os.environ.get("COMPOSIR_FUZZ_SECONDS", "300"), "--max-examples", "100000")
    assert "Traceback" not in caplog.text


@pytest.mark.long
@pytest.mark.timeout(900)
def test_all_checks_for_a_moment_over_the_fake_service(fakes, folder, tmp_path, wait_until):
    with served(fakes.FakeService(folder), wait_until) as url:
        fuzz(url, tmp_path, "45", "--max-examples", "5")


def test_the_document_is_whole(client):
    """Every operation has an example, documents every error with one, and refers to nothing that is missing."""
    document = client.get("/openapi.json").json()
    known = set(document["components"]["schemas"])
    referred = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert referred == known & referred
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert operation["summary"]
            assert operation["description"]
            for status in ("400", "401", "403", "408", "413", "421", "500", "503"):
                example = operation["responses"][status]["content"]["application/json"]["example"]
                assert set(example["error"]) == {"code", "message", "request_id"}, (path, status)
            if "requestBody" in operation:
                assert operation["requestBody"]["content"]["application/json"]["examples"]
    assert "HTTPValidationError" not in known


def test_links_lead_somewhere(client):
    """Every link names an operation that is there, parameters that it has, and a body that it takes."""
    document = client.get("/openapi.json").json()
    operations = {one["operationId"]: one for path in document["paths"].values() for one in path.values()}
    assert len(operations) == sum(len(path) for path in document["paths"].values()), "an operationId is used twice"
    links = [link for one in operations.values() for link in one["responses"]["200"].get("links", {}).values()]
    assert links
    for link in links:
        target = operations[link["operationId"]]
        assert set(link.get("parameters", ())) <= {one["name"] for one in target.get("parameters", ())}, link
        if "requestBody" in link:
            schema = target["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            assert set(link["requestBody"]) <= set(document["components"]["schemas"][schema]["properties"]), link


def test_documented_examples_are_accepted(client):
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            for example in (
                operation.get("requestBody", {})
                .get("content", {})
                .get("application/json", {})
                .get("examples", {})
                .values()
            ):
                answer = client.post(path, json=example["value"])
                assert answer.status_code in (200, 404), (path, example, answer.text)
