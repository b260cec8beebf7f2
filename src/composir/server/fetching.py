"""Pictures by web address, off unless switched on: only the public web, and only pictures.

An address in a query makes this server send a request, and so can reach what only this server reaches: its own ports,
the cloud's metadata service, the neighbours. Hence: a name is resolved once, every address it has must be public, and
the very address that was checked is dialled, with the name kept for TLS and Host; every redirect is checked anew. Time
and size are capped, and of what is not a picture nothing is told, not even its length.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import SplitResult, urljoin, urlsplit

from composir.errors import ComposirError
from composir.images import HEAD_BYTES, sniff

REDIRECTS = 3
PORTS = {"http": 80, "https": 443}
LONGEST_URL = 2048
_PIECE = 65_536

RESOLVING = 64  # names that are looked up at a time; one that hangs keeps its place until the system gives it up
DENIED = tuple(
    map(
        ipaddress.ip_network,
        (
            "168.63.129.16/32",  # Azure's own service, at a public address
            "192.88.99.0/24",  # relays of 6to4, which are no more
            "fec0::/10",  # site-local, before fc00::/7
            "3fff::/20",  # documentation
            "64:ff9b::/96",  # NAT64, whose inside may be anything
            "64:ff9b:1::/48",
        ),
    )
)
"""Networks that Python takes for public, of some versions or all, and that are not."""

Resolve = Callable[[str, int], Sequence[str]]
Dial = Callable[[str, int, float], socket.socket]


class FetchError(ComposirError):
    """A picture that was not fetched."""


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a name, by the system's resolver."""
    return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def dial(address: str, port: int, seconds: float) -> socket.socket:
    """Connect to a numeric address."""
    return socket.create_connection((address, port), timeout=seconds)


def is_public(address: str) -> bool:
    """Whether an address belongs to the public internet, and so does every IPv4 address that is packed into it."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False  # also "fe80::1%eth0", which is a neighbour
    inner: list[ipaddress.IPv4Address | ipaddress.IPv6Address] = [ip]
    if isinstance(ip, ipaddress.IPv6Address):
        packed = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]  # others, NAT64's, are reserved
        # A mapped address is judged by what it maps to: Python calls all of them private.
        inner = [a for a in packed if a] if ip.ipv4_mapped else [ip, *(a for a in packed if a)]
    return all(
        a.is_global and not (a.is_multicast or a.is_reserved or a.is_unspecified) and not _denied(a) for a in inner
    )


def _denied(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return any(ip in network for network in DENIED)


@dataclass(frozen=True)
class Fetcher:
    """Fetches pictures; safe for several threads.

    Attributes:
        max_bytes: Of a picture.
        seconds: For all of it: names, redirects, download.
        resolve: Name and port to numeric addresses.
        dial: Numeric address, port and seconds to a connected socket.
    """

    max_bytes: int
    seconds: float
    resolve: Resolve = resolve
    dial: Dial = dial
    tls: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    _places: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(RESOLVING))

    def __call__(self, url: str) -> bytes:
        """The bytes of the picture at an address.

        Raises:
            FetchError: It is not on the public web, no picture, too large, or too slow. The message does not tell what
                was found instead.
        """
        deadline = time.monotonic() + self.seconds
        for _ in range(REDIRECTS + 1):
            answer = self._get(_checked(url), deadline)
            if isinstance(answer, bytes):
                return answer
            url = urljoin(url, answer)
        raise FetchError(f"the address redirects more than {REDIRECTS} times; give the final one")

    def _get(self, url: SplitResult, deadline: float) -> bytes | str:
        """The picture, or where a redirect leads."""
        host, port = str(url.hostname), PORTS[url.scheme]
        connection = http.client.HTTPConnection(host, port)
        line: list[socket.socket] = []  # what is open now
        # Slow drips reset a socket's own timeout; ending the line from outside ends them all.
        clock = threading.Timer(max(0.0, deadline - time.monotonic()), _hang_up, [line])
        clock.daemon = True
        clock.start()
        try:
            connection.sock = self._connect(host, port, url.scheme, deadline, line)
            target = (url.path or "/") + (f"?{url.query}" if url.query else "")
            headers = {"Host": url.netloc, "Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "composir"}
            connection.request("GET", target, headers=headers)
            with contextlib.closing(connection.getresponse()) as response:
                answer = self._read(response)
            if time.monotonic() >= deadline:  # cut short, which looks like the end of a body without a length
                raise TimeoutError
            return answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            if time.monotonic() >= deadline:
                raise FetchError(f"the picture had not arrived after {self.seconds:g} s") from error
            raise FetchError("the address did not answer as a web server does") from error
        finally:
            clock.cancel()
            connection.close()

    def _resolved(self, host: str, port: int, deadline: float) -> Sequence[str]:
        """All addresses of a name, asked for in a thread that is left to itself at the deadline: it cannot be ended.

        Raises:
            TimeoutError: It took too long, or as many names as may be are being looked up.
        """
        answers: queue.SimpleQueue[Sequence[str] | Exception] = queue.SimpleQueue()

        def look() -> None:
            try:
                answers.put(self.resolve(host, port))
            except Exception as error:  # told where it is waited for
                answers.put(error)
            finally:
                self._places.release()

        if not self._places.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        threading.Thread(target=look, name="composir-resolve", daemon=True).start()
        try:
            answer = answers.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _connect(self, host: str, port: int, scheme: str, deadline: float, line: list[socket.socket]) -> socket.socket:
        try:
            addresses = list(dict.fromkeys(self._resolved(host, port, deadline)))
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            raise FetchError("the name in the address is not known") from error
        if not addresses or not all(is_public(address) for address in addresses):
            raise FetchError("the address is not on the public web, and no other is fetched from")
        failure: OSError = OSError("no address")
        for address in addresses:
            if time.monotonic() >= deadline:
                raise TimeoutError
            try:
                plain = self.dial(address, port, max(0.01, deadline - time.monotonic()))
            except OSError as error:
                failure = error
                continue
            line[:] = [plain]  # from here on it ends in time, a handshake that drips too
            try:
                if time.monotonic() >= deadline:
                    raise TimeoutError
                if scheme == "http":
                    return plain
                # Wrapping takes the line over from the plain socket, which could not end it any more.
                line[:] = [wrapped := self.tls.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)]
                wrapped.do_handshake()
                return wrapped
            except BaseException:
                line[0].close()
                raise
        raise failure

    def _read(self, response: http.client.HTTPResponse) -> bytes | str:
        if response.status in {301, 302, 303, 307, 308}:
            if target := response.getheader("Location"):
                return target
            raise FetchError("the address redirects to nowhere")
        if response.status != 200 or response.getheader("Content-Encoding", "identity") != "identity":
            raise FetchError("there is no picture at the address")
        data = bytearray(response.read(HEAD_BYTES))
        if sniff(bytes(data)) is None:
            raise FetchError("there is no picture at the address")
        while piece := response.read(_PIECE):
            data += piece
            if len(data) > self.max_bytes:
                raise FetchError(f"the picture is larger than {self.max_bytes:,} bytes, the limit")
        return bytes(data)


def _checked(url: str) -> SplitResult:
    """Take an address apart.

    Raises:
        FetchError: Not http or https to the usual port of a host, or with a password.
    """
    try:
        parts = urlsplit(url)
        usual = parts.port in {None, PORTS.get(parts.scheme)}
    except ValueError:
        raise FetchError("the address is malformed") from None
    plain = url.isascii() and url.isprintable() and " " not in url and len(url) <= LONGEST_URL
    if not plain or parts.scheme not in PORTS or not parts.hostname or not usual or "@" in parts.netloc:
        raise FetchError(
            "only http:// and https:// addresses at their usual ports are fetched, in ASCII, without user or password"
        )
    return parts


def _hang_up(line: list[socket.socket]) -> None:
    for one in line:
        with contextlib.suppress(OSError):  # it has ended already
            one.shutdown(socket.SHUT_RDWR)
