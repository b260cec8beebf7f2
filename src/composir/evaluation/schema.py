"""What a result.json must hold to be read; further keys may stand beside. Torch-free."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

Numbers = dict[str, float | None]
Ends = dict[str, tuple[float, float] | None]


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=False)


class _Gallery(_Open):
    name: str
    size: int | None


class _Asked(_Open):
    name: str
    gallery: _Gallery
    queries: int
    drop_reference: bool
    own_candidates: bool
    caption_join: str | None
    prompt: str | None
    shared_concept: bool | None


class _Protocol(_Open):
    data: str
    split: str
    partial: bool
    tasks: list[_Asked] = Field(min_length=1)
    missing: dict[str, Any]


class _Task(_Open):
    name: str
    metrics: Numbers
    intervals: Ends
    counts: dict[str, int]
    queries: int


class _Scores(_Open):
    tasks: list[_Task] = Field(min_length=1)
    average: Numbers
    average_intervals: Ends


class _Data(_Open):
    name: str
    root: str | None
    split: str
    arguments: dict[str, Any]


class _Queries(_Open):
    rows: int
    sha256: str


class _Result(_Scores):
    method: str
    protocol: _Protocol
    baselines: dict[str, _Scores]
    warnings: list[str]
    created: str
    data: _Data
    queries: _Queries


def fault(content: object) -> str:
    """What is wrong first, with the key it is under; "" where nothing is."""
    try:
        found = _Result.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"key {'.'.join(map(str, first['loc'])) or 'of all'}: {first['msg']}"
    asked = [task.name for task in found.protocol.tasks]
    for whose, scores in {found.method: found, **found.baselines}.items():
        if [task.name for task in scores.tasks] != asked:
            return f"the tasks of {whose} are not those of the protocol, {', '.join(asked)}"
    return ""
