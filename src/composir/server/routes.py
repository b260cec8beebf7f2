"""The routes under /v1: search, pictures, embeddings, and what is served."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import asdict
from enum import IntEnum
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Header, Path, Query, Request, Response

from composir.server import documented, fields, links, schema
from composir.server.bodies import read_body, while_there
from composir.server.computing import Pictures, Texts
from composir.server.errors import ApiError
from composir.server.parts import Parts, parts_of
from composir.server.references import readable
from composir.server.service import SearchRequest

router = APIRouter(prefix="/v1")

MOST_PICTURES = 16  # of one embeddings request
RENDERING = 1  # part of the ETag; raise it when thumbnails are drawn differently
FOREVER = "private, max-age=31536000, immutable"  # an id is the hash of its content


class Size(IntEnum):
    """Longest side of a thumbnail in pixels: few sizes, so that caches work."""

    TINY = 128
    SMALL = 256
    MEDIUM = 512
    LARGE = 1024


@router.post(
    "/search",
    summary="Find the pictures that fit a reference, changed as words say",
    response_model=schema.SearchAnswer,
    responses={**documented.problems(*documented.WRITING), **links.linked(links.SEARCH)},
    openapi_extra=documented.body(schema.SearchBody, schema.SearchForm, documented.QUERIES),
)
async def search(request: Request) -> schema.SearchAnswer:
    """Reference and words; either alone will do.

    The reference is an upload (send a form), the id of a gallery picture or of an earlier upload, or a tensor that was
    encoded elsewhere. An answer names the id of an upload, so that other words for it need no second upload.
    """
    parts = parts_of(request)
    body, picture = await read_body(request, parts.settings, schema.SearchBody, schema.SearchOptions)
    given: Any = getattr(body, "reference", None) if picture is None else picture
    asked = await parts.references.into(_query(body), given)
    answer = await while_there(request, parts.batcher(asked))
    return schema.SearchAnswer(
        hits=[schema.Hit(**asdict(hit)) for hit in answer.hits],
        method=answer.method,
        reference=asked.reference.id if asked.reference else None,
        gallery_version=answer.gallery_version,
        cursor=answer.cursor,
        total=answer.total,
        target_ranks=dict(answer.target_ranks),
        folded_among=answer.folded_among,
        unread=list(answer.unread),
    )


def _query(body: Any) -> SearchRequest:
    return SearchRequest(
        text=body.text.strip(),
        method=body.method,
        alpha=body.alpha,
        weights=dict(body.weights),
        without=tuple(words.strip() for words in body.without if words.strip()),
        keep=tuple(body.keep),
        avoid=tuple(body.avoid),
        where=body.where.strip(),
        k=body.k,
        cursor=body.cursor,
        keep_reference=body.keep_reference,
        reverse=body.reverse,
        fold=body.fold,
        targets=tuple(body.targets),
    )


PictureId = Annotated[str, Path(pattern=fields.ID, examples=[fields.EXAMPLE_ID], description="Of an answer.")]
Known = Annotated[str | None, Header(alias="If-None-Match", description="ETag of what the client has.")]
JPEG: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "A JPEG, upright, with no metadata.",
        "content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}},
        "headers": {"ETag": {"schema": {"type": "string"}}},
    },
    304: {"description": "The client has it already."},
}


@router.get(
    "/images/{id}",
    summary="A picture, large",
    response_class=Response,
    responses={**documented.problems(*documented.READING), **JPEG},
)
async def image(request: Request, id: PictureId, known: Known = None) -> Response:
    """A picture of the gallery or of a late upload, as large as the server shows pictures.

    It is drawn anew: no EXIF, GPS, XMP, comment or profile of the file comes with it.
    """
    parts = parts_of(request)
    return await _jpeg(parts, id, parts.settings.image_side, known)


@router.get(
    "/images/{id}/thumbnail",
    summary="A picture, small",
    response_class=Response,
    responses={**documented.problems(*documented.READING), **JPEG},
)
async def thumbnail(
    request: Request,
    id: PictureId,
    size: Annotated[Size, Query(description="Longest side in pixels.")] = Size.SMALL,
    known: Known = None,
) -> Response:
    """A small picture, as `/v1/images/{id}`."""
    return await _jpeg(parts_of(request), id, int(size), known)


async def _jpeg(parts: Parts, own: str, side: int, known: str | None) -> Response:
    source = parts.references.find(own)
    tag = f'"{own}-{side}-{RENDERING}"'
    headers = {"ETag": tag, "Cache-Control": FOREVER}
    if known and {tag, "*"} & {part.strip().removeprefix("W/") for part in known.split(",")}:
        return Response(status_code=304, headers=headers)
    data = parts.thumbnails.get((own, side))
    if data is None:
        with parts.telemetry.stage("thumbnail"):
            data = await readable(parts.decoders.thumbnail(source, side))
        parts.thumbnails.put((own, side), data)
    return Response(data, media_type="image/jpeg", headers=headers)


@router.post(
    "/embeddings",
    summary="Embed words or pictures",
    response_model=schema.EmbeddingsAnswer,
    responses=documented.problems(*documented.WRITING),
    openapi_extra=documented.body(schema.EmbeddingsBody, schema.EmbeddingsForm, documented.INPUTS),
)
async def embeddings(request: Request) -> schema.EmbeddingsAnswer:
    """Vectors in the gallery's space, in the shape of OpenAI's API; pictures too."""
    parts = parts_of(request)
    body: Any
    body, picture = await read_body(request, parts.settings, schema.EmbeddingsBody, schema.EmbeddingsOptions)
    items = [picture] if picture is not None else [_content(item) for item in body.items]
    texts = tuple(item for item in items if isinstance(item, str))
    files = [item for item in items if isinstance(item, bytes)]
    if len(files) > MOST_PICTURES:
        raise ApiError(422, f"{len(files)} pictures; at most {MOST_PICTURES} are embedded at once")
    of_texts, of_files = await asyncio.gather(_embed_texts(parts, texts, body.model), _embed(parts, files, body.model))
    of_text, of_file = iter(of_texts), iter(of_files)
    vectors = [next(of_text if isinstance(item, str) else of_file) for item in items]
    count = sum(len(text) for text in texts)
    return schema.EmbeddingsAnswer(
        data=[_embedding(index, vector, body.encoding_format) for index, vector in enumerate(vectors)],
        model=body.model or parts.service.info().method,
        usage=schema.Usage(prompt_tokens=count, total_tokens=count),
    )


def _content(item: Any) -> str | bytes:
    if isinstance(item, schema.ImageItem):
        try:
            return item.content()
        except ValueError as error:
            raise ApiError(422, str(error)) from None
    return item.text if isinstance(item, schema.TextItem) else item


async def _embed_texts(parts: Parts, texts: tuple[str, ...], method: str | None) -> Any:
    return await parts.batcher(Texts(texts, method)) if texts else []


async def _embed(parts: Parts, files: list[bytes], method: str | None) -> Any:
    if not files:
        return []
    state = parts.service.state()
    transform = parts.service.transform("gallery", method, state)
    with parts.telemetry.stage("decode"):
        pixels = await asyncio.gather(*(parts.decoders.pixels(data, transform) for data in files))
    return await parts.batcher(Pictures(np.stack(pixels), method, state))


def _embedding(index: int, vector: Any, style: str) -> schema.Embedding:
    flat = np.ascontiguousarray(vector, dtype="<f4").reshape(-1)
    told = flat.tolist() if style == "float" else base64.b64encode(flat.tobytes()).decode()
    return schema.Embedding(index=index, embedding=told, shape=(vector.shape[0], vector.shape[1]))


@router.get(
    "/methods",
    summary="The methods that fit the gallery",
    response_model=schema.Methods,
    responses=documented.problems(),
)
async def methods(request: Request) -> schema.Methods:
    """Names to ask for, with the controls that each takes."""
    return schema.Methods(methods=[schema.Method(**asdict(method)) for method in parts_of(request).service.methods()])


@router.get("/gallery", summary="What is served", response_model=schema.Gallery, responses=documented.problems())
async def gallery(request: Request) -> schema.Gallery:
    """The gallery, its version, and the columns that filters can name."""
    parts = parts_of(request)
    return schema.Gallery(**asdict(parts.service.info()), fetch_urls=parts.settings.fetch_urls)
