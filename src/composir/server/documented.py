"""The OpenAPI document: every status that can come, with an example, and the bodies that the routes read themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from composir.server.errors import CODES
from composir.server.fields import EXAMPLE_ID
from composir.server.schema import (
    EmbeddingsBody,
    EmbeddingsForm,
    Error,
    Judgement,
    SearchBody,
    SearchForm,
)

MEANING: dict[int, str] = {
    400: "Not HTTP as it should be, or a body that is no form.",
    401: "No valid API key.",
    403: "Sent by a page of another origin, or something that is switched off.",
    404: "No such picture, method or address.",
    408: "The body did not arrive in time.",
    409: "The gallery cannot serve this.",
    413: "The body, a field or the number of fields is above its limit.",
    415: "Neither JSON nor, where one is taken, a form.",
    421: "Not one of the names that this server is known under.",
    422: "Not as documented, or not possible; or a picture that cannot be read.",
    429: "Too many requests wait; Retry-After says how many seconds to stay away.",
    500: "The server's fault; the request id finds the cause in its log.",
    503: "Not ready yet, shutting down, or out of memory for uploads; Retry-After says when to come back.",
}
BODIES = (
    SearchBody,
    SearchForm,
    EmbeddingsBody,
    EmbeddingsForm,
    Judgement,
)  # which FastAPI does not see: routes read them
WAIT = {"Retry-After": {"description": "Seconds to stay away.", "schema": {"type": "integer", "minimum": 1}}}
EVERYWHERE = (400, 401, 403, 408, 413, 421, 500, 503)
READING = (404, 422, 429)
WRITING = (404, 409, 415, 422, 429)

QUERIES = {
    "words alone": {"value": {"text": "a red dress with short sleeves", "k": 5}},
    "a gallery picture, changed": {"value": {"reference": {"id": EXAMPLE_ID}, "text": "in red", "alpha": 0.4}},
    "without and filter": {
        "value": {
            "reference": {"id": EXAMPLE_ID},
            "text": "longer",
            "without": ["stripes"],
            "where": "price < 50",
        }
    },
}
INPUTS = {
    "words": {"value": {"input": ["a red dress", "a blue coat"]}},
    "OpenAI's Python client": {"value": {"input": "a red dress", "model": "slerp", "encoding_format": "base64"}},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that can answer with these, beside what every route can."""
    return {status: _problem(status) for status in sorted({*EVERYWHERE, *statuses})}


def _problem(status: int) -> dict[str, Any]:
    told = {"code": CODES[status], "message": MEANING[status], "request_id": "5e1c8f0a2b3d4e6f"}
    answer: dict[str, Any] = {"model": Error, "description": MEANING[status]}
    answer["content"] = {"application/json": {"example": {"error": told}}}
    if status in (429, 503):
        answer["headers"] = WAIT
    return answer


def body(json: type, form: type | None, examples: dict[str, Any]) -> dict[str, Any]:
    """The `openapi_extra` of a route that reads JSON, or a form, itself."""
    ref = "#/components/schemas/"
    content: dict[str, Any] = {
        "application/json": {"schema": {"$ref": ref + json.__name__}, "examples": examples},
    }
    if form is not None:
        content["multipart/form-data"] = {"schema": {"$ref": ref + form.__name__}}
    return {"requestBody": {"required": True, "content": content}}


def install(app: FastAPI, needs_key: bool) -> None:
    """Let the application describe itself, with its API keys if it has any."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=app.description,
                routes=app.routes,
            )
            parts = document.setdefault("components", {})
            _, own = models_json_schema(
                [(model, "validation") for model in BODIES], ref_template="#/components/schemas/{model}"
            )
            parts.setdefault("schemas", {}).update(own["$defs"])
            if needs_key:
                _secure(document)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi


def _secure(document: dict[str, Any]) -> None:
    document["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer"},
        "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    }
    for path, operations in document["paths"].items():
        for operation in operations.values():
            operation["security"] = [] if path in {"/livez", "/readyz"} else [{"bearer": []}, {"key": []}]
