"""Schemathesis against the API as it documents itself: nothing makes it fail, and it keeps its word.

Run for longer: `COMPOSIR_FUZZ_SECONDS=300 pytest -m slow tests/server/test_fuzz.py`.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import uvicorn

from composir.server import create_app
from composir.server.settings import Settings

CONFIG = Path(__file__).with_name("schemathesis.toml")


@pytest.fixture(scope="module")
def url(fakes, folder, wait_until):
    pytest.importorskip("schemathesis")
    app = create_app(Settings(decode_workers=1), fakes.FakeService(folder))
    door = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, args=([door],))
    thread.start()
    wait_until(lambda: app.state.life.state == "ok")
    yield f"http://127.0.0.1:{door.getsockname()[1]}"
    server.should_exit = True
    thread.join(60)


def fuzz(url: str, *arguments: str) -> subprocess.CompletedProcess:
    program = Path(sys.executable).with_name("schemathesis")
    line = [program, "--config-file", CONFIG, "run", f"{url}/openapi.json", "--url", url, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, cwd=CONFIG.parent, timeout=900)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_all_checks_all_phases(url):
    seconds = os.environ.get("COMPOSIR_FUZZ_SECONDS", "60")
    done = fuzz(url, "--checks", "all", "--max-examples", "100000", "--max-time", seconds)
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]


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
