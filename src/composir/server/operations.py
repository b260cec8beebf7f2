"""The routes of operators: alive, ready, metrics."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from composir.server import documented, schema
from composir.server.errors import UnavailableError
from composir.server.parts import parts_of

router = APIRouter()
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/livez", summary="Alive", response_model=schema.State, responses=documented.problems())
async def livez() -> schema.State:
    """The process answers; it says nothing about the model."""
    return schema.State(status="ok")


@router.get("/readyz", summary="Ready", response_model=schema.State, responses=documented.problems())
async def readyz(request: Request) -> schema.State:
    """200 once a picture and words have been encoded, and until SIGTERM; 503 before and after."""
    if why := request.app.state.life.unready:
        raise UnavailableError(why)
    return schema.State(status="ok")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        **documented.problems(),
        200: {"description": "Text format 0.0.4.", "content": {"text/plain": {"schema": {"type": "string"}}}},
    },
)
async def metrics(request: Request) -> Response:
    """Histograms of every stage, requests by status, queue, batches, gallery, pictures that were not read."""
    return Response(parts_of(request).telemetry.text(), media_type=TEXT)
