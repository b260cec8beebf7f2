"""Host, Origin, keys, headers, ids of requests; bodies counted and timed while they are read."""

import asyncio

import pytest
from pydantic import SecretStr
from starlette.datastructures import Headers

from composir.server.errors import ApiError
from composir.server.guard import Body, Guard, KeyRing, Room, check_host, check_origin
from composir.server.lifecycle import Lifecycle
from composir.server.settings import LOCAL_HOSTS, Settings

KEYS = ("a" * 20, "b" * 20)


def status(call, *arguments) -> int:
    """The status that a check refuses with; 200 if it does not."""
    try:
        call(*arguments)
    except ApiError as error:
        return error.status_code
    return 200


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8000", "127.0.0.1:1", "[::1]", "[::1]:8000"])
def test_own_names(host):
    assert status(check_host, Headers({"host": host}), LOCAL_HOSTS) == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "localhost.evil.example", "evil.example:8000", "localhost:8000:9", "localhost:x", "", "::1",
     "[::2]", "127.0.0.1@evil.example", "localhost ", "169.254.169.254", "localhost/", "[::1]:8000:9"],
)  # fmt: skip
def test_foreign_names(host):
    assert status(check_host, Headers({"host": host}), LOCAL_HOSTS) == 421


def test_one_host_header_is_needed():
    assert status(check_host, Headers({}), LOCAL_HOSTS) == 421
    twice = Headers(raw=[(b"host", b"localhost"), (b"host", b"evil.example")])
    assert status(check_host, twice, LOCAL_HOSTS) == 421


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        ("POST", {}, 200),
        ("POST", {"origin": "http://localhost:8000"}, 200),
        ("POST", {"origin": "HTTPS://LOCALHOST:8000"}, 200),
        ("POST", {"origin": "http://localhost:3000"}, 403),
        ("POST", {"origin": "http://evil.example"}, 403),
        ("POST", {"origin": "null"}, 403),
        ("POST", {"origin": ""}, 403),
        ("POST", {"origin": "file://"}, 403),
        ("GET", {"origin": "http://evil.example"}, 403),
        ("POST", {"sec-fetch-site": "same-origin"}, 200),
        ("POST", {"sec-fetch-site": "none"}, 200),
        ("POST", {"sec-fetch-site": "cross-site"}, 403),
        ("POST", {"sec-fetch-site": "same-site"}, 403),
        ("GET", {"sec-fetch-site": "cross-site"}, 403),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 200),
        ("GET", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}, 403),
        ("POST", {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}, 403),
    ],
)
def test_origins(method, given, expected):
    assert status(check_origin, Headers({"host": "localhost:8000", **given}), method) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {KEYS[0]}"}, 200),
        ({"authorization": f"bearer  {KEYS[1]}"}, 200),
        ({"x-api-key": KEYS[1]}, 200),
        ({"authorization": f"Basic {KEYS[0]}"}, 401),
        ({"authorization": KEYS[0]}, 401),
        ({"x-api-key": KEYS[0][:-1]}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": "é"}, 401),
        ({"authorization": "Bearer wrong", "x-api-key": KEYS[0]}, 401),
    ],
)
def test_keys(given, expected):
    raw = [(name.encode(), value.encode("latin-1")) for name, value in given.items()]
    assert status(KeyRing([SecretStr(key) for key in KEYS]).check, Headers(raw=raw)) == expected


def test_every_key_is_compared(monkeypatch):
    """Whether the first or none fits, the work is the same."""
    calls = []
    real = __import__("hmac").compare_digest
    monkeypatch.setattr("composir.server.guard.hmac.compare_digest", lambda a, b: calls.append(1) or real(a, b))
    ring = KeyRing([SecretStr(key) for key in KEYS])
    ring.check(Headers({"x-api-key": KEYS[0]}))
    status(ring.check, Headers({"x-api-key": "wrong"}))
    assert len(calls) == 4


def test_health_needs_no_key_and_all_else_does(app_with, error_of):
    served = app_with(api_keys=KEYS)
    for path in ("/livez", "/readyz"):
        assert served.get(path).status_code == 200
    for path in ("/metrics", "/openapi.json", "/v1/methods", "/nothing"):
        answer = served.get(path)
        error_of(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    assert served.get("/metrics", headers={"X-API-Key": KEYS[1]}).status_code == 200
    document = served.get("/openapi.json", headers={"X-API-Key": KEYS[1]}).json()
    assert document["paths"]["/v1/search"]["post"]["security"] == [{"bearer": []}, {"key": []}]
    assert document["paths"]["/livez"]["get"]["security"] == []


def test_refusals_come_in_order_and_in_shape(client, error_of):
    error_of(client.get("/livez", headers={"Host": "evil.example"}), 421, "wrong_host")
    error_of(
        client.post("/v1/search", json={"text": "a"}, headers={"Origin": "http://evil.example"}), 403, "cross_origin"
    )
    error_of(client.options("/v1/search", headers={"Origin": "http://evil.example"}), 403, "cross_origin")


def test_headers_of_every_answer(client):
    for answer in (client.get("/livez"), client.get("/nothing"), client.get("/livez", headers={"Host": "x"})):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_ids_of_requests(client):
    assert client.get("/livez", headers={"X-Request-ID": "Mine-1.a_b"}).headers["x-request-id"] == "Mine-1.a_b"
    own = set()
    for given in ("", "a b", "x" * 65, 'a"b', "ä"):
        told = client.get("/livez", headers={b"X-Request-ID": given.encode("latin-1")}).headers["x-request-id"]
        assert told != given
        assert len(told) == 16
        own.add(told)
    assert len(own) == 5


def pieces(*parts: bytes, more: bool = False):
    """A receive that gives these."""
    left = list(parts)

    async def receive():
        body = left.pop(0) if left else b""
        return {"type": "http.request", "body": body, "more_body": bool(left) or more}

    return receive


async def drain(body: Body) -> bytes:
    data = b""
    while True:
        message = await body.receive()
        data += message["body"]
        if not message["more_body"]:
            return data


def test_bodies_are_counted_whatever_they_say_of_themselves():
    def body(*parts, headers=None, most=10, room=None):
        return Body(pieces(*parts), Headers(headers or {"transfer-encoding": "chunked"}), room or Room(100), most, 5.0)

    assert asyncio.run(drain(body(b"12345", b"67890"))) == b"1234567890"
    with pytest.raises(ApiError) as caught:
        asyncio.run(drain(body(b"12345", b"678901")))
    assert caught.value.status_code == 413
    for length, expected in (("10", 200), ("11", 413), ("9" * 5000, 413), ("-1", 400), ("x", 400), ("٣", 400)):
        raw = Headers(raw=[(b"content-length", length.encode())])
        assert status(Body(pieces(), raw, Room(100), 10, 5.0).check_length) == expected


def test_all_bodies_share_one_room_and_give_it_back():
    room = Room(10)
    chunked = Headers({"transfer-encoding": "chunked"})
    first = Body(pieces(b"12345678"), chunked, room, 10, 5.0)
    asyncio.run(drain(first))
    second = Body(pieces(b"123"), chunked, room, 10, 5.0)
    with pytest.raises(ApiError) as caught:
        asyncio.run(drain(second))
    assert caught.value.status_code == 503
    assert caught.value.headers == {"Retry-After": "1"}
    second.forget()
    first.forget()
    assert room.taken == 0
    assert asyncio.run(drain(Body(pieces(b"1234567890"), chunked, room, 10, 5.0))) == b"1234567890"


def test_a_slow_body_ends_at_its_deadline_however_lively_it_drips():
    async def drip():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    body = Body(drip, Headers({"transfer-encoding": "chunked"}), Room(10_000), 10_000, 0.2)
    with pytest.raises(ApiError) as caught:
        asyncio.run(drain(body))
    assert caught.value.status_code == 408


def test_a_whole_body_has_no_deadline():
    """After the body, `receive` waits for the client to leave; that may take as long as the answer does."""

    async def late():
        await asyncio.sleep(0.2)
        return {"type": "http.disconnect"}

    async def run():
        body = Body(late, Headers({}), Room(10), 10, 0.01)
        return await body.receive()

    assert asyncio.run(run())["type"] == "http.disconnect"


def test_what_is_no_request_passes():
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    asyncio.run(Guard(app, Settings(), Lifecycle())({"type": "lifespan"}, pieces(), lambda _: None))
    assert seen == ["lifespan"]


def test_too_large_is_told_and_the_door_closed(app_with, error_of):
    served = app_with(max_body_bytes=1000)
    answer = served.post("/v1/search", content=b"x" * 1001, headers={"Content-Type": "application/json"})
    error_of(answer, 413, "too_large")
    assert answer.headers["connection"] == "close"

    def chunks():
        yield b'{"text": "'
        for _ in range(100):
            yield b"x" * 100

    error_of(
        served.post("/v1/search", content=chunks(), headers={"Content-Type": "application/json"}), 413, "too_large"
    )
