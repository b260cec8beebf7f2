"""The routes for studying a gallery: a benchmark's queries, pictures by their paths, and people's verdicts."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request

from composir.server import documented, fields, links, schema
from composir.server.bodies import read_body
from composir.server.errors import ApiError
from composir.server.parts import parts_of
from composir.server.service import NotFoundError, Verdict

router = APIRouter(prefix="/v1")
MOST_QUERIES = 200  # told at once
VERDICTS: dict[str, Any] = {
    "one of each": {
        "value": {
            "reference": fields.EXAMPLE_ID,
            "text": "in red",
            "right": [fields.EXAMPLE_ID[::-1]],
            "wrong": [fields.EXAMPLE_ID[::-2] * 2],
        }
    },
    "the reference as in a search": {
        "value": {
            "reference": {"id": fields.EXAMPLE_ID},
            "text": "in red",
            "right": [fields.EXAMPLE_ID[::-1]],
            "wrong": [],
        }
    },
}
UPLOAD_SIDE = 1024  # pixels of the longer side of an upload that is kept


@router.get(
    "/queries",
    summary="Annotated queries of the gallery's benchmark",
    response_model=schema.BenchmarkQueries,
    responses={**documented.problems(422), **links.linked(links.QUERIES)},
)
async def queries(
    request: Request,
    start: Annotated[int, Query(ge=0, le=2**31, description="The first one, from 0.")] = 0,
    count: Annotated[int, Query(ge=1, le=MOST_QUERIES, description="How many.")] = 50,
) -> schema.BenchmarkQueries:
    """What was annotated, with the right answers; none where the server was started without a benchmark."""
    total, known = parts_of(request).service.queries(start, count)
    return schema.BenchmarkQueries(total=total, queries=[schema.BenchmarkQuery(**asdict(query)) for query in known])


@router.get(
    "/pictures",
    summary="The id of the picture at a path",
    response_model=schema.Located,
    responses={**documented.problems(404, 422), **links.linked(links.PICTURES)},
)
async def pictures(
    request: Request,
    path: Annotated[
        str,
        Query(min_length=1, max_length=4096, description="As hits tell it.", examples=["dresses/17.jpg"]),
    ],
) -> schema.Located:
    """For links that name a picture as a report does. The path is looked up in the index; no file is opened."""
    # The first look makes a map of all paths, which takes as long as there are many: not on the loop.
    return schema.Located(id=await asyncio.to_thread(parts_of(request).service.find, path))


@router.post(
    "/judgements",
    summary="Keep what a person says of answers",
    response_model=schema.Judged,
    responses=documented.problems(403, 404, 415, 422, 429),
    openapi_extra=documented.body(schema.Judgement, None, VERDICTS),
)
async def judgements(request: Request) -> schema.Judged:
    """Right and wrong answers of one query, written to a plain data set that `composir eval` reads."""
    parts = parts_of(request)
    body: Any
    body, _ = await read_body(request, parts.settings, schema.Judgement)
    if not parts.service.info().judging:
        raise ApiError(403, "judging is switched off here", code="judging_is_off")
    if both := sorted(set(body.right) & set(body.wrong)):
        raise ApiError(422, f"{both[0]} is both right and wrong")
    try:
        parts.service.picture(body.asked_with)
        upload = None
    except NotFoundError:
        found = parts.references.find(body.asked_with)  # raises where it is no upload either
        # Drawn anew by a child process: nothing of a stranger's file but its pixels is kept.
        upload = await parts.decoders.thumbnail(found, UPLOAD_SIDE) if isinstance(found, bytes) else None
    verdict = Verdict(body.asked_with, body.text.strip(), tuple(body.right), tuple(body.wrong))
    count, folder = await asyncio.to_thread(parts.service.judge, verdict, upload)
    return schema.Judged(queries=count, folder=folder)
