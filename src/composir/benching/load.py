"""Many clients at a server at once: how long answers take, and that none fails."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import numpy as np

from composir.errors import ComposirError

WORDS = ("is red", "in blue with stripes", "longer", "short sleeves", "a heart on it", "checked", "v neck", "green")
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
LATEST = 30.0  # seconds an answer may take


@dataclass(frozen=True, slots=True)
class Load:
    """What was seen.

    Attributes:
        clients, seconds: As asked for.
        statuses: How many answers of each HTTP status; 0 counts connections that broke.
        rate: Answers with status 200 a second.
        p50, p99: Milliseconds of these.
        batch: Mean size of the batches that the server computed meanwhile, as its metrics tell it; 0 if it does not.
    """

    clients: int
    seconds: float
    statuses: Mapping[int, int]
    rate: float
    p50: float
    p99: float
    batch: float


def load(url: str, *, clients: int = 64, seconds: float = 60.0, key: str = "") -> Load:
    """Let clients search one after the other, each on a connection of its own, for some seconds.

    Every other query changes a gallery picture, the others are words alone; no two are the same, so that none is
    answered from what is kept. A 429 is waited out as its Retry-After says.

    Raises:
        ComposirError: Nothing answers at `url`, or it is no composir server with pictures.
    """
    return asyncio.run(_load(url, clients, seconds, key))


async def _load(url: str, clients: int, seconds: float, key: str) -> Load:
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    headers = f"Host: {parts.netloc}\r\n" + (f"X-API-Key: {key}\r\n" if key else "")
    ids = await _ids(host, port, headers)
    before = await _batches(host, port, headers)
    numbers, statuses, times = itertools.count(), Counter[int](), list[float]()
    end = time.perf_counter() + seconds
    await asyncio.gather(*(_client(host, port, headers, ids, numbers, end, statuses, times) for _ in range(clients)))
    count, total = (after - old for after, old in zip(await _batches(host, port, headers), before, strict=True))
    shown = times or [0.0]
    return Load(
        clients=clients,
        seconds=seconds,
        statuses=dict(sorted(statuses.items())),
        rate=statuses[200] / seconds,
        p50=1000 * float(np.quantile(shown, 0.5)),
        p99=1000 * float(np.quantile(shown, 0.99)),
        batch=total / count if count else 0.0,
    )


async def _client(  # noqa: PLR0917  (one client's whole life)
    host: str,
    port: int,
    headers: str,
    ids: Sequence[str],
    numbers: itertools.count[int],
    end: float,
    statuses: Counter[int],
    times: list[float],
) -> None:
    stream: Stream | None = None
    while (start := time.perf_counter()) < end:
        number = next(numbers)
        query: dict[str, object] = {"text": f"{WORDS[number % len(WORDS)]} {number}", "k": 20}
        if number % 2:
            query["reference"] = {"id": ids[number % len(ids)]}
        try:
            stream = stream or await asyncio.open_connection(host, port)
            status, told, _ = await asyncio.wait_for(_ask(stream, headers, "/v1/search", query), LATEST)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            await _close(stream)
            stream, status, told = None, 0, {}
        statuses[status] += 1
        if status == 200:
            times.append(time.perf_counter() - start)
        elif status == 429:
            await asyncio.sleep(min(float(told.get("retry-after", "1")), max(0.0, end - time.perf_counter())))
    await _close(stream)


async def _ask(stream: Stream, headers: str, path: str, body: object = None) -> tuple[int, dict[str, str], bytes]:
    reader, writer = stream
    data = b"" if body is None else json.dumps(body).encode()
    kind = "" if body is None else f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
    writer.write(f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\n{headers}{kind}\r\n".encode() + data)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    told = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return int(head[0].split()[1]), told, await reader.readexactly(int(told.get("content-length", "0")))


async def _ids(host: str, port: int, headers: str) -> list[str]:
    stream = await _open(host, port)
    status, _, data = await _ask(stream, headers, "/v1/search", {"text": "a picture", "k": 1000})
    await _close(stream)
    found = [hit["id"] for hit in json.loads(data)["hits"]] if status == 200 else []
    if not found:
        raise ComposirError(f"http://{host}:{port} answers {status}, not with pictures: {data[:200]!r}")
    return found


async def _batches(host: str, port: int, headers: str) -> tuple[float, float]:
    """Batches computed so far, and requests in them."""
    stream = await _open(host, port)
    _, _, data = await _ask(stream, headers, "/metrics")
    await _close(stream)
    lines = dict(line.rsplit(" ", 1) for line in data.decode().splitlines() if line.startswith("composir_batch_size_"))
    return float(lines.get("composir_batch_size_count", 0)), float(lines.get("composir_batch_size_sum", 0))


async def _close(stream: Stream | None) -> None:
    if stream:
        stream[1].close()
        with contextlib.suppress(OSError):
            await stream[1].wait_closed()


async def _open(host: str, port: int) -> Stream:
    try:
        return await asyncio.open_connection(host, port)
    except OSError as error:
        raise ComposirError(f"nothing answers at {host}:{port} ({error}); start it with `composir serve`") from error
