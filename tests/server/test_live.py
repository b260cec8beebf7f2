"""A real socket: slow heads and bodies, hostile requests, keys on the wire; and SIGTERM to a real process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import uvicorn
from uvicorn.server import ServerState

from composir.server import create_app
from composir.server.lifecycle import Server, connection_class
from composir.server.settings import Settings


@pytest.fixture(scope="module")
def live(fakes, folder, wait_until):
    """A server in a thread; the address it listens at."""
    settings = Settings(decode_workers=1, body_seconds=0.6, header_seconds=0.6, max_body_bytes=100_000)
    with listening(settings, fakes.FakeService(folder), wait_until) as address:
        yield address


@contextlib.contextmanager
def listening(settings, service, wait_until):
    app = create_app(settings, service)
    config = uvicorn.Config(
        app, http=connection_class(settings.header_seconds), ws="none", log_config=None, server_header=False
    )
    server = Server(config, app.state.life, 0.0)
    door = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([door],))
    thread.start()
    address = door.getsockname()
    wait_until(lambda: app.state.life.state == "ok")
    yield address
    server.should_exit = True
    thread.join(60)
    assert not thread.is_alive()


def talk(address, data: bytes, seconds: float = 20.0) -> bytes:
    """Send bytes and read until the server hangs up."""
    with socket.create_connection(address, timeout=seconds) as line:
        line.sendall(data)
        return read_all(line)


def read_all(line: socket.socket) -> bytes:
    answer = b""
    while piece := line.recv(65_536):
        answer += piece
    return answer


def head(length: object, more: str = "") -> bytes:
    lines = (
        "POST /v1/search HTTP/1.1",
        "Host: localhost",
        "Content-Type: application/json",
        f"Content-Length: {length}",
    )
    return ("\r\n".join(lines) + f"\r\n{more}\r\n").encode()


def test_a_request_is_answered_without_naming_the_software(live):
    body = b'{"text": "a", "k": 1}'
    answer = talk(live, head(len(body), "Connection: close\r\n") + body)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"uvicorn" not in answer.lower()


def test_an_answer_is_sent_at_once():
    """Its second packet does not wait for the first to be acknowledged, which takes 40 ms."""

    class Transport(asyncio.Transport):
        def __init__(self, line: socket.socket):
            super().__init__({"socket": line, "peername": None, "sockname": None})

        def close(self) -> None: ...

        def is_closing(self) -> bool:
            return False

    async def connect(line: socket.socket) -> None:
        config = uvicorn.Config(lambda: None, log_config=None)
        connection = connection_class(1.0)(config, ServerState(), {})
        connection.connection_made(Transport(line))
        connection.connection_lost(None)

    with socket.create_server(("127.0.0.1", 0)) as door, socket.create_connection(door.getsockname()):
        line, _ = door.accept()
        with line:
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 0
            asyncio.run(connect(line))
            assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_a_body_that_never_comes_is_408_and_the_line_closed(live):
    started = time.monotonic()
    answer = talk(live, head(100) + b'{"te')
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"too_slow"' in answer
    assert time.monotonic() - started < 15


def test_a_body_that_drips_is_408(live):
    with socket.create_connection(live, timeout=20) as line:
        line.sendall(head(1000))
        answer, end = b"", time.monotonic() + 15
        line.settimeout(0.05)
        while not answer and time.monotonic() < end:
            line.sendall(b" ")
            try:
                answer = line.recv(65_536)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize("start", [b"", b"GET /livez HTTP/1.1\r\nHost: loc"])
def test_a_head_that_never_ends_is_hung_up_on(live, start):
    assert talk(live, start) == b""


def test_a_connection_too_many_is_told_in_the_one_shape(fakes, folder, wait_until):
    with (
        listening(Settings(decode_workers=1, max_connections=3), fakes.FakeService(folder), wait_until) as address,
        contextlib.ExitStack() as lines,
    ):
        for _ in range(3):
            line = lines.enter_context(socket.create_connection(address, timeout=20))
            line.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert line.recv(65_536).startswith(b"HTTP/1.1 200")
        answer = talk(address, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")  # and the line is closed
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1" in answer.lower()
        told = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        assert told["code"] == "unavailable"
        assert "more than 3 connections" in told["message"]
        assert told["request_id"]
        lines.close()
        wait_until(lambda: ask(f"http://{address[0]}:{address[1]}/livez") == 200, 20)


def test_a_second_head_has_its_time_too(live):
    with socket.create_connection(live, timeout=20) as line:
        line.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert line.recv(65_536).startswith(b"HTTP/1.1 200")
        line.sendall(b"GET /livez HTTP/1.1\r\n")
        read_all(line)  # ends


def test_a_body_too_large_is_refused_before_it_is_sent(live):
    answer = talk(live, head(100_001))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in answer.lower()


def test_a_chunked_body_too_large_is_refused(live):
    start = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    chunk = b"4000\r\n" + b"x" * 0x4000 + b"\r\n"
    with socket.create_connection(live, timeout=20) as line:
        line.sendall(start)
        with contextlib.suppress(OSError):  # it may have hung up already
            for _ in range(20):
                line.sendall(chunk)
        with contextlib.suppress(ConnectionResetError):  # its answer may be lost, as TCP has it when data still came
            assert line.recv(65_536).startswith(b"HTTP/1.1 413")


def test_requests_that_are_none(live):
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ):
        assert talk(live, data)[9:12] in (b"400", b"421")


def test_a_websocket_is_no_way_in(live):
    upgrade = (
        "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    )
    answer = talk(live, f"GET /v1/search HTTP/1.1\r\nHost: localhost\r\n{upgrade}\r\n".encode())
    assert answer[9:12] in (b"400", b"405")


@pytest.fixture
def process(folder, wait_until):
    """A maker of server processes: process(slow, drain) gives the process, its URL and its log lines."""
    started = []

    def start(slow: float, drain: float):
        arguments = [sys.executable, Path(__file__).with_name("served.py"), folder, str(slow), str(drain)]
        running = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        started.append(running)
        log: list[dict] = []

        def read():
            for line in running.stderr:
                if line.startswith("{"):
                    log.append(json.loads(line))

        threading.Thread(target=read, daemon=True).start()
        wait_until(lambda: any(line["message"] == "ready" for line in log) or running.poll() is not None)
        assert running.poll() is None
        return running, next(line["url"] for line in log if line["message"] == "listening"), log

    yield start
    for running in started:
        if running.poll() is None:
            running.kill()
        running.communicate()


def ask(url: str, body: dict | None = None) -> int:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", "X-Request-ID": "mine"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.long
def test_sigterm_drains(process, wait_until):
    """/readyz turns 503 while the door is still open; what is under way is answered; then the end, with code 0."""
    running, url, log = process(slow=2.0, drain=1.0)
    assert ask(f"{url}/readyz") == 200
    answers: list[int] = []
    asking = [threading.Thread(target=lambda: answers.append(ask(f"{url}/v1/search", {"text": "a"}))) for _ in range(3)]
    for thread in asking:
        thread.start()
    time.sleep(0.3)
    running.send_signal(signal.SIGTERM)
    wait_until(lambda: ask(f"{url}/readyz") == 503, 5)
    assert ask(f"{url}/livez") == 200
    for thread in asking:
        thread.join()
    assert answers == [200, 200, 200]
    assert running.wait(60) == 0
    assert running.stdout.read() == "closed\n"
    lines = [line for line in log if line["message"] == "request"]
    assert {line["request_id"] for line in lines} == {"mine"}
    assert {"method", "path", "status", "ms", "client", "time", "level"} <= set(lines[0])


def test_a_port_that_is_taken_is_told(folder):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        from composir.errors import ComposirError
        from composir.server.lifecycle import _listen

        with pytest.raises(ComposirError, match="choose another --port"):
            _listen("127.0.0.1", taken.getsockname()[1])
