"""Web addresses: what is not the public web is not dialled, and what is not a picture is not told."""

import http.server
import ipaddress
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from composir.server.fetching import Fetcher, FetchError, is_public
from composir.server.references import FETCHING, WAITING

PUBLIC = "93.184.215.14"


class Site(http.server.BaseHTTPRequestHandler):
    """What the tests' own web server answers; `pages` is set by each test."""

    pages: ClassVar[dict] = {}
    asked: ClassVar[list] = []

    def do_GET(self):
        type(self).asked.append((self.path, self.headers["Host"]))
        page = self.pages[self.path]
        if callable(page):
            page(self)
            return
        status, headers, body = page
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def site():
    """Pages by path; `fetch` asks for them under any public name, `dialled` lists the addresses that were dialled."""
    handler = type("Handler", (Site,), {"pages": {}, "asked": []})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    handler.dialled = []

    def dial(address, port, seconds):
        handler.dialled.append((address, port))
        return socket.create_connection(server.server_address, timeout=seconds)

    def fetcher(names=None, **options):
        known = {"a.example": [PUBLIC]} if names is None else names
        given = {"max_bytes": 100_000, "seconds": 5.0, **options}
        return Fetcher(resolve=lambda host, port: known[host], dial=dial, **given)

    handler.fetcher = fetcher
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_picture_under_its_name_from_the_address_that_was_checked(site, make_jpeg):
    picture = make_jpeg(1)
    site.pages["/a.jpg?x=1"] = (200, {"Content-Type": "text/html"}, picture)
    assert site.fetcher()("http://a.example/a.jpg?x=1#part") == picture
    assert site.dialled == [(PUBLIC, 80)]
    assert site.asked == [("/a.jpg?x=1", "a.example")]


INSIDE = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "::127.0.0.1", "2001:db8::1", "192.0.2.1", "not an address",
    "fec0::1", "feff::1", "168.63.129.16", "::ffff:168.63.129.16", "2002:a83f:8110::1", "3fff::1", "3fff:fff::1",
    "192.88.99.1", "64:ff9b:1::1",
]  # fmt: skip


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_not_public_is_not_dialled(site, address):
    assert not is_public(address)
    with pytest.raises(FetchError, match="not on the public web"):
        site.fetcher({"a.example": [address]})("http://a.example/")
    with pytest.raises(FetchError, match="not on the public web"):
        site.fetcher({"a.example": [PUBLIC, address]})("http://a.example/")
    assert site.dialled == []


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_what_is_public(address):
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_wrapping_an_address_does_not_make_it_public(ip):
    plain = is_public(str(ip))
    assert is_public(str(ipaddress.IPv6Address(0xFFFF << 32 | int(ip)))) == plain
    assert not is_public(str(ipaddress.IPv6Address(int(ip)))) or plain
    assert not is_public(str(ipaddress.IPv6Address(0x2002 << 112 | int(ip) << 80))) or plain


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "ftp://a.example/a", "gopher://a.example", "data:image/png;base64,AAAA", "http:///a",
     "http://a.example:22/", "https://a.example:80/", "http://u:p@a.example/", "http://u@a.example/", "//a.example/",
     "http://a.example:x/", "http://a.example/a b", "http://a.example/\r\nX: y", "http://ä.example/", "",
     "http://[::1/", "http://a.example/" + "x" * 3000, "HTTP", "http://a.example:99999/"],
)  # fmt: skip
def test_other_addresses_are_not_even_resolved(url):
    def never(*arguments):
        raise AssertionError("resolved or dialled")

    with pytest.raises(FetchError):
        Fetcher(1000, 1.0, never, never)(url)


@pytest.mark.parametrize("target", ["127.0.0.1", "2130706433", "0x7f.1", "017700000001", "127.1", "169.254.169.254"])
def test_numeric_and_local_names_are_judged_by_what_they_resolve_to(target):
    dialled = []

    def dial(*arguments):
        dialled.append(arguments)
        raise OSError

    with pytest.raises(FetchError):
        Fetcher(1000, 2.0, lambda host, _: [socket.inet_ntoa(socket.inet_aton(host))], dial)(f"http://{target}/a")
    for name in ("localhost", "[::1]"):
        with pytest.raises(FetchError, match="not on the public web"):
            Fetcher(1000, 2.0, dial=dial)(f"http://{name}/a")
    assert dialled == []


def test_a_redirect_is_checked_anew(site, make_jpeg):
    site.pages["/1"] = (302, {"Location": "/2"}, b"")
    site.pages["/2"] = (301, {"Location": "http://b.example/3"}, b"")
    site.pages["/3"] = (200, {}, make_jpeg(2))
    names = {"a.example": [PUBLIC], "b.example": ["1.1.1.1"]}
    assert site.fetcher(names)("http://a.example/1") == make_jpeg(2)
    assert site.dialled == [(PUBLIC, 80), (PUBLIC, 80), ("1.1.1.1", 80)]


@pytest.mark.parametrize(
    "target", ["http://inside.example/", "http://127.0.0.1/", "file:///etc/passwd", "ftp://x/", "http://a.example:22/"]
)
def test_a_redirect_to_the_inside_is_not_followed(site, target):
    site.pages["/1"] = (302, {"Location": target}, b"")
    names = {"a.example": [PUBLIC], "inside.example": ["10.0.0.1"], "127.0.0.1": ["127.0.0.1"]}
    with pytest.raises(FetchError):
        site.fetcher(names)("http://a.example/1")
    assert site.dialled == [(PUBLIC, 80)]


def test_a_resolver_that_changes_its_mind_is_asked_once_a_hop(site, make_jpeg):
    """DNS rebinding: the second answer would be loopback, but there is no second question."""
    site.pages["/a"] = (200, {}, make_jpeg(3))
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    fetch = Fetcher(100_000, 5.0, lambda *_: next(answers), site.fetcher().dial)
    assert fetch("http://a.example/a") == make_jpeg(3)
    assert site.dialled == [(PUBLIC, 80)]
    with pytest.raises(FetchError, match="not on the public web"):
        fetch("http://a.example/a")
    assert len(site.dialled) == 1


def test_redirects_end(site):
    site.pages["/1"] = (302, {"Location": "/1"}, b"")
    with pytest.raises(FetchError, match="more than 3 times"):
        site.fetcher()("http://a.example/1")
    assert len(site.dialled) == 4
    site.pages["/2"] = (302, {}, b"")
    with pytest.raises(FetchError, match="redirects to nowhere"):
        site.fetcher()("http://a.example/2")


def test_what_is_no_picture_is_told_alike(site, make_jpeg):
    """Neither status, nor type, nor length, nor content of what was found comes out."""
    site.pages["/text"] = (200, {}, b"root:x:0:0:the secret of the inside")
    site.pages["/empty"] = (200, {}, b"")
    site.pages["/none"] = (404, {}, make_jpeg(1))
    site.pages["/packed"] = (200, {"Content-Encoding": "gzip"}, make_jpeg(1))
    told = set()
    for path in site.pages:
        with pytest.raises(FetchError) as caught:
            site.fetcher()(f"http://a.example{path}")
        told.add(str(caught.value))
    assert told == {"there is no picture at the address"}


def test_size_is_capped_with_and_without_a_length(site, make_jpeg):
    big = make_jpeg(1) + b"\0" * 2_000_000
    site.pages["/told"] = (200, {"Content-Length": str(len(big))}, big)
    site.pages["/untold"] = (200, {}, big)
    for path in site.pages:
        with pytest.raises(FetchError, match="larger than 100,000 bytes"):
            site.fetcher()(f"http://a.example{path}")


@pytest.mark.parametrize("where", ["head", "body"])
def test_drips_end_at_the_deadline(site, make_jpeg, where):
    stop = threading.Event()

    def drip(handler):
        if where == "body":
            handler.wfile.write(b"HTTP/1.0 200 OK\r\n\r\n" + make_jpeg(1))
        try:
            while not stop.wait(0.02):
                handler.wfile.write(b"X")
        except OSError:
            pass

    site.pages["/slow"] = drip
    started = time.monotonic()
    with pytest.raises(FetchError, match=r"not arrived after 0.4 s"):
        site.fetcher(seconds=0.4, max_bytes=10**9)("http://a.example/slow")
    stop.set()
    assert time.monotonic() - started < 4


def test_a_name_that_is_looked_up_for_ever_ends_at_the_deadline(site, make_jpeg):
    """So do five at a time; and a name that is known is fetched beside them."""
    stuck, picture = threading.Event(), make_jpeg(1)
    site.pages["/a.jpg"] = (200, {}, picture)

    def hang(host, port):
        if host == "stuck.example":
            stuck.wait(60)
        return [PUBLIC]

    fetch = Fetcher(100_000, 0.5, hang, site.fetcher().dial)
    told, started = [], time.monotonic()

    def ask():
        try:
            fetch("http://stuck.example/a.jpg")
        except FetchError as error:
            told.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert told == ["the picture had not arrived after 0.5 s"] * 5
    assert time.monotonic() - started < 10
    patient = Fetcher(100_000, 5.0, hang, site.fetcher().dial, _places=fetch._places)
    assert patient("http://a.example/a.jpg") == picture
    assert len(site.dialled) == 1
    stuck.set()


def test_no_more_names_than_so_many_are_looked_up_at_a_time():
    stuck, asked = threading.Event(), []

    def hang(host, port):
        asked.append(host)
        stuck.wait(60)
        return []

    fetch = Fetcher(1000, 0.2, hang, _places=threading.Semaphore(2))
    for _ in range(4):
        with pytest.raises(FetchError, match="not arrived"):
            fetch("http://a.example/")
    assert len(asked) == 2
    stuck.set()


def test_a_handshake_that_drips_ends_at_the_deadline():
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def drip():
        # The head of a long record of TLS, and then a byte at a time.
        theirs.sendall(b"\x16\x03\x03\x40\x00")
        try:
            while not stop.wait(0.05):
                theirs.sendall(b"\x02")
        except OSError:
            pass

    thread = threading.Thread(target=drip)
    thread.start()
    ours.settimeout(5)
    started = time.monotonic()
    try:
        with pytest.raises(FetchError, match="not arrived"):
            Fetcher(1000, 0.5, lambda *_: [PUBLIC], lambda *_: ours)("https://a.example/")
        assert time.monotonic() - started < 4
    finally:
        stop.set()
        thread.join()
        theirs.close()
        ours.close()


def test_what_is_no_web_server(site):
    site.pages["/odd"] = lambda handler: handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    with pytest.raises(FetchError, match="did not answer as a web server"):
        site.fetcher()("http://a.example/odd")


def test_unknown_names_and_closed_ports(site):
    def unknown(*arguments):
        raise socket.gaierror(-2, "Name or service not known")

    def refuse(*arguments):
        raise ConnectionRefusedError

    with pytest.raises(FetchError, match="name in the address is not known"):
        Fetcher(1000, 1.0, unknown, refuse)("http://a.example/")
    with pytest.raises(FetchError, match="did not answer"):
        Fetcher(1000, 1.0, lambda *_: [PUBLIC, "8.8.8.8"], refuse)("http://a.example/")


def test_a_search_by_address(fakes, folder, app_with, error_of, site, make_jpeg):
    """Through the API: switched on, a reference can be an address; what is inside stays inside."""
    served = app_with(fetch_urls=True)
    assert served.get("/v1/gallery").json()["fetch_urls"] is True
    for url in ("http://127.0.0.1/a", "http://localhost/a", "http://[::1]/latest/meta-data"):
        told = error_of(served.post("/v1/search", json={"reference": {"url": url}}), 422, "invalid_request")
        assert "not on the public web" in told
    site.pages["/a.jpg"] = (200, {}, make_jpeg(8))
    parts = served.app.state.parts
    object.__setattr__(parts.references, "_fetcher", site.fetcher())
    answer = served.post("/v1/search", json={"reference": {"url": "http://a.example/a.jpg"}})
    assert answer.status_code == 200, answer.text


def test_too_many_addresses_are_told_to_come_back(app_with, error_of, monkeypatch):
    """As many as may are read or wait; one more is told so at once; places come back."""
    served = app_with(fetch_urls=True)
    gate, references = threading.Event(), served.app.state.parts.references

    class Slow:
        seconds = 7.0

        def __call__(self, url):
            gate.wait(60)
            raise FetchError("no picture")

    monkeypatch.setattr(references, "_fetcher", Slow())
    ask = lambda: served.post("/v1/search", json={"reference": {"url": "http://a.example/"}})  # noqa: E731
    most = FETCHING + WAITING
    with ThreadPoolExecutor(most) as crowd:
        waiting = [crowd.submit(ask) for _ in range(most)]
        end = time.monotonic() + 60
        while references._fetches < most:
            assert time.monotonic() < end, "they did not come"
            time.sleep(0.01)
        refused = ask()
        assert "web addresses wait" in error_of(refused, 429, "busy")
        assert refused.headers["retry-after"] == "7"
        gate.set()
    assert {one.result().status_code for one in waiting} == {422}
    assert ask().status_code == 422
