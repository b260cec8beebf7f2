"""What bodies are made of: bounded texts and numbers, and the kinds of reference."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any

import numpy as np
from jaxtyping import Float
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, StringConstraints, Tag, WithJsonSchema

ID = r"^[0-9a-f]{32}$"
CURSOR = r"^[A-Za-z0-9_-]{1,1024}$"
METHOD = r"^[A-Za-z0-9_.:/-]{1,200}$"
DIRECTION = r"^[a-z_]{1,32}$"
BASE64 = r"^[A-Za-z0-9+/]+={0,2}$"
URL = r"^https?://[!-~]+$"
SOMETHING = r"\S"
MEANT: dict[str, str] = {
    ID: "a picture's id is 32 digits of 0-9 and a-f; take it from an answer",
    CURSOR: "a cursor is what an earlier answer told, unchanged; leave it out to begin anew",
    METHOD: "a method is named by letters, digits and _ . : / -, at most 200; /v1/methods lists them",
    DIRECTION: "a direction is named by small letters and _, at most 32: image, text, composed",
    BASE64: "numbers are given in base64: letters, digits, + and /, = at the end",
    URL: "an address begins with http:// or https:// and has only visible ASCII characters; or upload the picture",
    SOMETHING: "there are no words; say what should differ",
}
"""What to tell where a text does not match its pattern."""
LARGEST_TENSOR = 2**20  # numbers
EXAMPLE_ID = "3f2a9c0d7be14d2f8c6a5b4e1d0f9a87"
EXAMPLE_URL = "https://shop.example/dress.jpg"
BASE64_FLOATS = "AACAPwAAAAAAAAAA"  # 1, 0, 0

PictureId = Annotated[str, StringConstraints(pattern=ID), Field(examples=[EXAMPLE_ID])]
Words = Annotated[str, StringConstraints(max_length=1000)]
Share = Annotated[float, Field(ge=0, le=1)]
LEAST_WEIGHT = 1e-6  # of smaller ones sums lose digits, and in the end all of them


def _weighs(value: float) -> float:
    if 0 < abs(value) < LEAST_WEIGHT:
        raise ValueError(f"a weight is 0, or {LEAST_WEIGHT:g} to 10 of either sign; leave out what shall not count")
    return value


Weight = Annotated[
    float,
    Field(ge=-10, le=10),
    AfterValidator(_weighs),
    WithJsonSchema(
        {
            "type": "number",
            "anyOf": [
                {"minimum": LEAST_WEIGHT, "maximum": 10},
                {"minimum": 0, "maximum": 0},
                {"minimum": -10, "maximum": -LEAST_WEIGHT},
            ],
        }
    ),
]
Direction = Annotated[str, StringConstraints(pattern=DIRECTION)]
Scalar = str | int | float | bool | None


class Strict(BaseModel):
    """A body: unknown fields are refused, and numbers that are not finite."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Tensor(Strict):
    """A reference that was encoded elsewhere: what the method's `encode_reference` gives for one picture."""

    shape: tuple[Annotated[int, Field(ge=1, le=65_536)], Annotated[int, Field(ge=1, le=65_536)]] = Field(
        description="Rows and width.", examples=[[1, 3]]
    )
    data: Annotated[str, StringConstraints(min_length=8, max_length=6_000_000, pattern=BASE64)] = Field(
        description="float32, little-endian, row by row, in base64.", examples=[BASE64_FLOATS]
    )

    def array(self) -> Float[NDArray, "R C"]:
        """The numbers.

        Raises:
            ValueError: Not base64, not as many as `shape` says, too many, or not all finite.
        """
        rows, width = self.shape
        if rows * width > LARGEST_TENSOR:
            raise ValueError(f"the tensor has {rows * width:,} numbers, {LARGEST_TENSOR:,} are allowed")
        try:
            data = base64.b64decode(self.data, validate=True)
        except binascii.Error:
            raise ValueError("the data of the tensor is no base64") from None
        if len(data) != 4 * rows * width:
            raise ValueError(f"{rows} x {width} float32 are {4 * rows * width} bytes, the data has {len(data)}")
        array = np.frombuffer(data, dtype="<f4").reshape(rows, width).astype(np.float32)
        if not np.isfinite(array).all():
            raise ValueError("the tensor has numbers that are not finite")
        return array


class ReferenceById(Strict):
    """A picture of the gallery, or one uploaded lately: its id is in the answer to that query."""

    id: PictureId


class ReferenceByUrl(Strict):
    """A picture on the public web, where the operator has switched that on."""

    url: Annotated[str, StringConstraints(min_length=8, max_length=2048, pattern=URL)] = Field(examples=[EXAMPLE_URL])


class ReferenceByTensor(Strict):
    """A reference encoded elsewhere, e.g. on a phone."""

    tensor: Tensor


def _kind(given: Any) -> str | None:
    """By which key a reference is given."""
    if isinstance(given, dict):
        return next((f"<{key}>" for key in ("id", "url", "tensor") if key in given), None)
    return {ReferenceById: "<id>", ReferenceByUrl: "<url>", ReferenceByTensor: "<tensor>"}.get(type(given))


# Chosen by the key, so that an error tells of that kind alone; errors.py leaves tags in <> out of places.
AnyReference = Annotated[
    Annotated[ReferenceById, Tag("<id>")]
    | Annotated[ReferenceByUrl, Tag("<url>")]
    | Annotated[ReferenceByTensor, Tag("<tensor>")],
    Discriminator(
        _kind,
        custom_error_type="reference",
        custom_error_message='a reference is {"id": ...}, {"url": ...} or {"tensor": ...}',
    ),
]
