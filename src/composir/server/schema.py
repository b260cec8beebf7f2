"""Bodies of requests and of answers: unknown fields are refused, numbers are finite, everything is bounded."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from composir.server.fields import (
    CURSOR,
    EXAMPLE_ID,
    METHOD,
    SOMETHING,
    AnyReference,
    Direction,
    PictureId,
    ReferenceById,
    Scalar,
    Share,
    Strict,
    Weight,
    Words,
)


class SearchOptions(Strict):
    """All of a query but its picture."""

    text: Words = Field("", description="What should differ.", examples=["in red, with short sleeves"])
    method: Annotated[str, StringConstraints(pattern=METHOD)] | None = Field(
        None, description="One of /v1/methods; the server's own where left out.", examples=["slerp"]
    )
    alpha: Share | None = Field(
        None, description="0 is the picture alone, 1 the words alone; the method's default where left out."
    )
    weights: Annotated[dict[Direction, Weight], Field(max_length=16)] = Field(
        default_factory=dict,
        description="By direction, as the method names them; one at least is not 0.",
        examples=[{"image": 1.0}],
    )
    without: Annotated[list[Words], Field(max_length=8)] = Field(
        default_factory=list, description="What must not show.", examples=[["stripes"]]
    )
    keep: Annotated[list[PictureId], Field(max_length=32)] = Field(
        default_factory=list, description="Pictures whose look is wanted.", examples=[[]]
    )
    avoid: Annotated[list[PictureId], Field(max_length=32)] = Field(
        default_factory=list, description="Pictures whose look is not wanted.", examples=[[]]
    )
    where: Annotated[str, StringConstraints(max_length=2000)] = Field(
        "",
        description="A filter over the columns of /v1/gallery, in a small part of SQL.",
        examples=["price < 50 AND brand = 'x'"],
    )
    k: Annotated[int, Field(ge=1, le=1000)] = Field(10, description="How many hits.")
    cursor: Annotated[str, StringConstraints(pattern=CURSOR)] | None = Field(
        None, description="The `cursor` of an earlier answer to the same query: the hits that follow."
    )
    keep_reference: bool = Field(False, description="Rank the reference too, if it is in the gallery.")
    reverse: bool = Field(
        False, description="The picture is the target; find those which, changed as the words say, lead to it."
    )
    fold: bool = Field(False, description="Hide near-duplicates of better hits; each hit names those it hides.")
    targets: Annotated[list[PictureId], Field(max_length=64)] = Field(
        default_factory=list, description="Pictures whose ranks to tell, wherever they stand.", examples=[[]]
    )

    @field_validator("weights")
    @classmethod
    def _some_weight(cls, weights: dict[str, float]) -> dict[str, float]:
        if weights and not any(weights.values()):
            raise ValueError("all weights are 0, so nothing tells pictures apart; give one another value, or none")
        return weights


class SearchBody(SearchOptions):
    """A query in JSON: a reference, words, or both."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["text"], "properties": {"text": {"minLength": 1, "pattern": r"\S"}}},
                {"required": ["reference"], "properties": {"reference": {"type": "object"}}},
            ]
        }
    )

    reference: AnyReference | None = Field(None, description="The picture to change.", examples=[{"id": EXAMPLE_ID}])

    @model_validator(mode="after")
    def _has_something(self) -> SearchBody:
        if self.reference is None and not self.text.strip():
            raise ValueError("nothing to search for; give a reference, words, or both")
        return self


class SearchForm(SearchOptions):
    """A query as a form; lists are repeated fields, `weights` is JSON."""

    image: Annotated[str, Field(json_schema_extra={"format": "binary"})] = Field(description="The picture to change.")


class Hit(BaseModel):
    """One answer."""

    rank: int = Field(ge=1, examples=[1])
    id: PictureId
    path: str = Field(description="Below the indexed folder, POSIX style.", examples=["dresses/17.jpg"])
    score: float = Field(description="Higher is better.", examples=[0.83])
    why: dict[str, float] = Field(
        default_factory=dict, description="Similarity to the image, the text, and both composed.",
        examples=[{"image": 0.7, "text": 0.3, "composed": 0.83}],
    )  # fmt: skip
    metadata: dict[str, Scalar] = Field(default_factory=dict, examples=[{"brand": "x", "price": 39.0}])
    folded: list[PictureId] = Field(default_factory=list, description="Near-duplicates hidden behind it.")


class SearchAnswer(BaseModel):
    """Hits, best first."""

    hits: list[Hit]
    method: str = Field(examples=["slerp"])
    reference: PictureId | None = Field(None, description="Id of the picture, to ask again without sending it again.")
    gallery_version: str = Field(description="Which state of the gallery was searched.", examples=["7"])
    cursor: str | None = Field(None, description="Asks for the hits that follow; null at the end.")
    total: int = Field(description="Pictures that were ranked: those that pass the filter.", examples=[2000])
    target_ranks: dict[PictureId, int] = Field(
        default_factory=dict, description="Rank of each of `targets` that was ranked, from 1, near-duplicates counted."
    )
    folded_among: int | None = Field(
        None, description="With `fold`: among how many of the best near-duplicates are hidden; those below all show."
    )
    unread: list[str] = Field(
        default_factory=list,
        description="Ends of `text` and of `without` that are too long for the backbone, which does not read them.",
    )


class TextItem(Strict):
    """Words to embed."""

    text: Annotated[str, StringConstraints(min_length=1, max_length=1000)] = Field(examples=["a red dress"])


class ImageItem(Strict):
    """A picture to embed."""

    image: Annotated[str, StringConstraints(min_length=4, max_length=28_000_000)] = Field(
        description="A picture's file in base64, with or without data:image/...;base64, before it."
    )

    def content(self) -> bytes:
        """The file.

        Raises:
            ValueError: Not base64.
        """
        head, _, tail = self.image.partition(",")
        try:
            return base64.b64decode(tail if head.startswith("data:") and tail else self.image, validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("the picture is no base64") from None


Input = Annotated[str, StringConstraints(min_length=1, max_length=1000)] | TextItem | ImageItem


class EmbeddingsBody(Strict):
    """Words, pictures or both, as OpenAI's clients send them; pictures as {"image": base64}."""

    input: Input | Annotated[list[Input], Field(min_length=1, max_length=128)] = Field(
        examples=["a red dress", ["a red dress", {"text": "a coat"}]]
    )
    model: Annotated[str, StringConstraints(pattern=METHOD)] | None = Field(
        None, description="One of /v1/methods; the server's own where left out.", examples=["slerp"]
    )
    encoding_format: Literal["float", "base64"] = Field("float", description="Numbers, or float32 in base64.")
    user: Annotated[str, StringConstraints(max_length=256)] | None = Field(None, description="Not looked at.")

    @property
    def items(self) -> list[Any]:
        """The input as a list."""
        return self.input if isinstance(self.input, list) else [self.input]


class EmbeddingsOptions(Strict):
    """What a form may say beside its picture."""

    model: Annotated[str, StringConstraints(pattern=METHOD)] | None = None
    encoding_format: Literal["float", "base64"] = "float"


class EmbeddingsForm(EmbeddingsOptions):
    """One picture as a form."""

    image: Annotated[str, Field(json_schema_extra={"format": "binary"})] = Field(description="The picture.")


class Embedding(BaseModel):
    """One embedding; a gallery vector. Where a method has T vectors a picture they follow each other."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str = Field(examples=[[0.6, 0.8]])
    shape: tuple[int, int] = Field(description="Vectors and their width.", examples=[[1, 2]])


class Usage(BaseModel):
    """What OpenAI's clients expect; characters stand in for tokens."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsAnswer(BaseModel):
    """Embeddings in the order of the input."""

    object: Literal["list"] = "list"
    data: list[Embedding]
    model: str
    usage: Usage


class Method(BaseModel):
    """A method that fits the gallery."""

    name: str = Field(examples=["slerp"])
    title: str = ""
    controls: list[str] = Field(description="What it takes beside picture and words.", examples=[["alpha"]])
    gallery_key: str = Field(examples=["9b1c…"])
    default: bool
    words_alone: bool = Field(description="Whether words without a picture can be searched for.")


class Methods(BaseModel):
    """The methods, the server's own first."""

    methods: list[Method]


class Gallery(BaseModel):
    """What is served."""

    name: str = Field(examples=["wardrobe"])
    pictures: int
    version: str = Field(examples=["7"])
    key: str = Field(examples=["9b1c…"])
    method: str = Field(examples=["slerp"])
    backbone: str = Field(examples=["wardrobe-clip"])
    columns: dict[str, str] = Field(
        default_factory=dict, description="What filters can name, with types.", examples=[{"price": "double"}]
    )
    fetch_urls: bool = Field(False, description="Whether a reference may be a web address.")
    benchmark: str | None = Field(None, description="Whose queries /v1/queries tells, if any.", examples=["cirr val"])
    judging: bool = Field(False, description="Whether /v1/judgements keeps what is sent.")


class BenchmarkQuery(BaseModel):
    """An annotated query of a benchmark whose pictures the gallery holds."""

    id: str = Field(examples=["17"])
    reference: PictureId
    text: str = Field(examples=["is red with short sleeves"])
    targets: list[PictureId] = Field(description="Right answers.")
    subset: list[PictureId] = Field(default_factory=list, description="The small set it is also ranked in (CIRR).")


class BenchmarkQueries(BaseModel):
    """A page of queries."""

    total: int = Field(examples=[4181])
    queries: list[BenchmarkQuery]


class Located(BaseModel):
    """The picture at a path."""

    id: PictureId


class Judgement(Strict):
    """What a person says of the answers to one query; sent again it takes the place of what was said before."""

    reference: Annotated[
        Annotated[PictureId, Tag("<text>")] | Annotated[ReferenceById, Tag("<id>")],
        Discriminator(lambda given: "<text>" if isinstance(given, str) else "<id>"),
    ] = Field(description="The picture that was asked with: its id, plainly or as in /v1/search.")
    text: Annotated[str, StringConstraints(max_length=1000, pattern=SOMETHING)] = Field(examples=["in red"])
    right: Annotated[list[PictureId], Field(max_length=1000)] = Field(description="Pictures that fit.")
    wrong: Annotated[list[PictureId], Field(max_length=1000)] = Field(description="Pictures that do not.")

    @property
    def asked_with(self) -> str:
        """The id of the reference."""
        return self.reference if isinstance(self.reference, str) else self.reference.id


class Judged(BaseModel):
    """What is kept."""

    queries: int = Field(description="Judged queries in the set.", examples=[3])
    folder: str = Field(description="Read by composir eval --data jsonl --root.", examples=["gallery-judged"])


class State(BaseModel):
    """Whether the server lives, or is ready."""

    status: Literal["ok", "starting", "draining"] = Field(examples=["ok"])


class Problem(BaseModel):
    """What went wrong."""

    code: str = Field(description="Stable, to branch on.", examples=["invalid_request"])
    message: str = Field(description="For people.", examples=["k: Input should be less than or equal to 1000"])
    request_id: str = Field(description="Finds it in the server's log.", examples=["5e1c8f0a2b3d4e6f"])


class Error(BaseModel):
    """The one shape of every error."""

    error: Problem
