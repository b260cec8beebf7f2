"""OpenAPI links: what of one answer can be asked with next, so that a client, or a fuzzer, can go on from it.

A link names its target by the target's `operationId`, which is the name of the route's function.
"""

from __future__ import annotations

from typing import Any

Links = dict[str, dict[str, Any]]

HIT = "$response.body#/hits/0/id"
OWN = "$response.body#/reference"
TEXT = "$request.body#/text"
QUERY = "$response.body#/queries/0"


def _link(target: str, description: str, *, body: Any = None, **parameters: str) -> dict[str, Any]:
    told: dict[str, Any] = {"operationId": target, "description": description}
    if parameters:
        told["parameters"] = parameters
    if body is not None:
        told["requestBody"] = body
    return told


def _shown(what: str, expression: str) -> Links:
    """The links to a picture, large and small."""
    return {
        f"{what}Image": _link("image", f"The {what}, large.", id=expression),
        f"{what}Thumbnail": _link("thumbnail", f"The {what}, small.", id=expression),
    }


SEARCH: Links = {
    **_shown("hit", HIT),
    **_shown("reference", OWN),
    "changeHit": _link(
        "search", "A hit as the next reference.", body={"reference": {"id": HIT}, "text": "in red"}
    ),
    "otherWords": _link(
        "search", "Other words for the same picture; an upload is not sent again.",
        body={"reference": {"id": OWN}, "text": "in blue"},
    ),
    "moreOfWords": _link(
        "search", "The hits that follow, of a query by words alone.",
        body={"text": TEXT, "cursor": "$response.body#/cursor"},
    ),
    "moreOfPicture": _link(
        "search", "The hits that follow, of a query by a picture alone.",
        body={"reference": "$request.body#/reference", "cursor": "$response.body#/cursor"},
    ),
    "locateHit": _link("pictures", "A hit by its path.", path="$response.body#/hits/0/path"),
    "judgeHit": _link(
        "judgements", "A hit that is right.",
        body={"reference": OWN, "text": "in red", "right": [HIT], "wrong": []},
    ),
}  # fmt: skip
"""Of an answer of POST /v1/search."""

QUERIES: Links = {
    **_shown("queryReference", f"{QUERY}/reference"),
    "askQuery": _link(
        "search", "A query of the benchmark, asked.",
        body={"reference": {"id": f"{QUERY}/reference"}, "text": f"{QUERY}/text", "targets": f"{QUERY}/targets"},
    ),
    "judgeTargets": _link(
        "judgements", "A query's own targets, judged right.",
        body={"reference": f"{QUERY}/reference", "text": f"{QUERY}/text", "right": f"{QUERY}/targets", "wrong": []},
    ),
}  # fmt: skip
"""Of an answer of GET /v1/queries."""

PICTURES: Links = {
    **_shown("located", "$response.body#/id"),
    "searchByLocated": _link(
        "search", "The picture at that path, changed.",
        body={"reference": {"id": "$response.body#/id"}, "text": "in red"},
    ),
}  # fmt: skip
"""Of an answer of GET /v1/pictures."""


def linked(links: Links) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route from whose answer these lead on."""
    return {200: {"links": links}}
