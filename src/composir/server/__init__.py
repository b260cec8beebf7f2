"""The search server: a gallery over HTTP, closed by default.

    settings.py    flags = COMPOSIR_* = TOML keys          service.py   what the server asks of the engine
    schema.py      what travels: requests and answers      errors.py    one error shape for everything
    frame.py       request ids, headers, log, the 500      guard.py     Host, Origin, keys, size and pace of bodies
    uploads.py     forms within limits                     fetching.py  pictures by URL, off unless switched on
    decoding.py    pictures decoded in child processes     batching.py  one thread that computes for many requests
    telemetry.py   metrics and JSON logs                   lifecycle.py readiness and draining
    references.py  what a query's reference is             app.py       create_app and the routes
    pages.py       serves the page, whose files lie in page/

The model sees one thread; strangers' bytes see a child process; everything else is asyncio.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from composir.errors import ComposirError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from composir.server.service import Service
    from composir.server.settings import Settings

__all__ = ["create_app", "require_extra", "serve"]


def require_extra() -> None:
    """Check that the packages of the server are installed.

    Raises:
        ComposirError: One is missing; the message has the command that installs them.
    """
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        told = f"the server needs the serve extra ({error.name} is missing): pip install 'composir[serve]'"
        raise ComposirError(told) from error


def create_app(settings: Settings, service: Service | Callable[[], Service]) -> FastAPI:
    """Build the application; `service` answers, `settings` bound what it may cost.

    Args:
        settings: Of the server.
        service: It, or a function that opens it. A thread calls that once the application has started; until it has
            returned, `/livez` and the page are answered, and all that needs the service is 503 with Retry-After.

    Raises:
        ComposirError: The serve extra is not installed.
    """
    require_extra()
    from composir.server import app

    return app.create_app(settings, service)


def serve(settings: Settings, service: Service | Callable[[], Service]) -> None:
    """Serve until SIGTERM or Ctrl-C, then let what is under way finish.

    Args:
        settings: Of the server.
        service: As for `create_app`; what its opening raises ends the server, and is raised here.

    Raises:
        ComposirError: The serve extra is not installed, or the address cannot be bound.
    """
    require_extra()
    from composir.server import lifecycle

    lifecycle.run(settings, service)
