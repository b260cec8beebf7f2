"""Reverse searches take turns with all others, are few at a time, and end with the client that asked."""

from __future__ import annotations

import json
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import uvicorn

from composir.server import create_app
from composir.server.lifecycle import Server, connection_class
from composir.server.settings import Settings

REVERSE = {"text": "is red", "reverse": True}


@pytest.fixture
def holding(fakes, folder, wait_until):
    """A server whose reverse searches go on until they are let go: a client of it, and its service."""
    service = fakes.FakeService(folder)
    service.held.set()
    app = create_app(Settings(decode_workers=1), service)
    config = uvicorn.Config(app, http=connection_class(10.0), ws="none", log_config=None)
    server = Server(config, app.state.life, 0.0)
    with socket.create_server(("127.0.0.1", 0)) as door:
        thread = threading.Thread(target=server.run, args=([door],))
        thread.start()
        url = f"http://127.0.0.1:{door.getsockname()[1]}"
        wait_until(lambda: app.state.life.state == "ok")
        with httpx.Client(base_url=url, timeout=60) as client:
            yield client, service
        service.held.clear()
        server.should_exit = True
        thread.join(60)
    assert not thread.is_alive()


def test_others_are_answered_meanwhile_and_a_third_is_told_to_come_back(holding, wait_until, error_of):
    client, service = holding
    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(client.post, "/v1/search", json=REVERSE) for _ in range(2)]
        wait_until(lambda: sum(service.batches) == 2)
        assert client.post("/v1/search", json={"text": "red"}).status_code == 200
        refused = client.post("/v1/search", json=REVERSE)
        assert "take long are under way" in error_of(refused, 429, "busy")
        assert int(refused.headers["retry-after"]) >= 1
        assert not any(one.done() for one in asked)
        service.held.clear()
        assert [one.result(60).status_code for one in asked] == [200, 200]


def test_a_client_that_leaves_ends_its_search(holding, wait_until):
    client, service = holding
    body = json.dumps(REVERSE).encode()
    head = (
        f"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    )
    with socket.create_connection((client.base_url.host, client.base_url.port)) as line:
        line.sendall(head.encode() + b"\r\n\r\n" + body)
        wait_until(lambda: service.begun == 1)
        assert service.ended == 0
    wait_until(lambda: service.ended == 1, 10.0)
    wait_until(lambda: 'status="499"' in client.get("/metrics").text, 10.0)
    assert client.post("/v1/search", json={"text": "red"}).status_code == 200
