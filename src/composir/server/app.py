"""The application: routes, guards around them, and the parts they work with."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

import composir
from composir.server import documented, errors, operations, pages, routes, study
from composir.server.frame import Frame
from composir.server.guard import Guard
from composir.server.heads import Heads
from composir.server.lifecycle import Lifecycle
from composir.server.parts import lifespan
from composir.server.service import Service
from composir.server.settings import Settings
from composir.server.telemetry import Telemetry

DESCRIPTION = """Composed image retrieval: this picture, but changed as these words say.

Every error has one shape, `{"error": {"code", "message", "request_id"}}`. Pictures are known by ids that stand
for their content; a path is only ever looked up in the index, never opened."""


def create_app(settings: Settings, service: Service | Callable[[], Service]) -> FastAPI:
    """Build the application; nothing is started, nor opened, before its lifespan begins.

    `app.state.life` tells where it stands.
    """
    app = FastAPI(
        title="composir",
        version=composir.__version__,
        summary="Find pictures by a picture and words.",
        description=DESCRIPTION,
        docs_url=None,  # the pages that FastAPI brings load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,  # links name operations by it
        lifespan=lifespan,
    )
    app.state.settings, app.state.service = settings, service
    app.state.telemetry, app.state.life = Telemetry(), Lifecycle()
    app.include_router(routes.router)
    app.include_router(study.router)
    app.include_router(operations.router)
    app.include_router(pages.router)
    errors.install(app)
    documented.install(app, bool(settings.api_keys))
    app.add_middleware(Heads)
    app.add_middleware(Guard, settings=settings, life=app.state.life)
    app.add_middleware(Frame, telemetry=app.state.telemetry)  # the last one added is the outermost
    return app
