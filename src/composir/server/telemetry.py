"""What an operator sees: Prometheus metrics of one application, and the log as JSON or as text, an event a line."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from composir.server.context import NONE, request_id

LOGGER = logging.getLogger("composir.server")

STAGES = ("fetch", "decode", "encode_image", "encode_text", "compose", "search", "thumbnail")
BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)  # seconds
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)

REASONS = frozenset(
    {
        "missing file", "unreadable", "empty file", "not an image", "unsupported format", "too many bytes",
        "too many pixels", "too many frames", "too fragmented", "truncated", "corrupt", "out of memory", "changed",
        "too slow", "crashes the decoder", "MemoryError",
    }
)  # fmt: skip
"""Labels are a fixed set, whatever a hostile picture makes Python say; the rest is "other"."""


class Telemetry:
    """The metrics of one application, in a registry of its own: two in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        seconds = Histogram(
            "composir_stage_seconds", "Time of one stage", ["stage"], registry=self.registry, buckets=BUCKETS
        )
        self._stages = {stage: seconds.labels(stage) for stage in STAGES}
        self._request = Histogram(
            "composir_request_seconds", "Time of a whole request", ["route"], registry=self.registry, buckets=BUCKETS
        )
        self._requests = Counter(
            "composir_requests_total", "Requests answered", ["route", "method", "status"], registry=self.registry
        )
        self._skipped = Counter(
            "composir_skipped_total", "Pictures that were not read", ["reason"], registry=self.registry
        )
        self._batch = Histogram(
            "composir_batch_size", "Requests computed together", registry=self.registry, buckets=BATCHES
        )
        self._queue = Gauge("composir_queue_depth", "Requests waiting for the model", registry=self.registry)
        self._pictures = Gauge("composir_gallery_pictures", "Pictures in the gallery", registry=self.registry)

    @contextmanager
    def stage(self, stage: str) -> Iterator[None]:
        """Time a stage, also one that fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._stages[stage].observe(time.perf_counter() - started)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `route` is the pattern of the address, not the address."""
        known = method if method in {"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"} else "other"
        self._request.labels(route).observe(seconds)
        self._requests.labels(route, known, str(status)).inc()

    def skipped(self, reason: str) -> None:
        """Count a picture that was not read."""
        self._skipped.labels(reason if reason in REASONS else "other").inc()

    def batch(self, size: int) -> None:
        """Count a batch."""
        self._batch.observe(size)

    def watch(self, depth: Callable[[], int], pictures: Callable[[], int]) -> None:
        """Ask for these two whenever the metrics are read."""
        self._queue.set_function(depth)
        self._pictures.set_function(pictures)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, request_id, and what `extra={"fields": {...}}` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one line."""
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", None) or request_id.get(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True, default=str)


class TextLines(logging.Formatter):
    """For people: one line with time, level, logger, message, the fields as key=value and the request id.

    No control character is written as it is: what a client sends cannot forge a line or steer a terminal. The lines of
    a traceback are indented.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, and a traceback below it."""
        fields = dict(getattr(record, "fields", {}))
        own = getattr(record, "request_id", None) or request_id.get()
        if own != NONE:
            fields["request_id"] = own
        head = f"{self.formatTime(record)} {record.levelname} {record.name}: {_escaped(record.getMessage())}"
        lines = [" ".join([head, *(f"{_escaped(str(key))}={_value(own)}" for key, own in fields.items())])]
        if record.exc_info:
            lines += [f"    {_escaped(line)}" for line in self.formatException(record.exc_info).split("\n")]
        return "\n".join(lines)


def _escaped(text: str) -> str:
    return "".join(own if own.isprintable() else own.encode("unicode_escape").decode() for own in text)


def _value(value: object) -> str:
    """A field's value; quoted where one could not see its end."""
    text = str(value)
    plain = text and text.isprintable() and not set(text) & set(' "\\=')
    return text if plain or isinstance(value, int | float) else json.dumps(text, ensure_ascii=True)


def configure_logging(style: str, level: str) -> None:
    """Send the log of the server and of uvicorn to standard error, as "json" or "text"."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    for name in ("composir", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
    logging.getLogger("uvicorn.access").disabled = True  # `frame` writes one line a request, with its id
