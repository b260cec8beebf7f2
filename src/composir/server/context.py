"""What belongs to the request in hand, wherever the code that serves it runs."""

from __future__ import annotations

from contextvars import ContextVar

NONE = "-"
"""The id outside of any request."""

request_id: ContextVar[str] = ContextVar("composir_request_id", default=NONE)
"""Id of the request; copied into the threads that work for it, and found in its answer, its errors and its log."""
