"""A run file: TOML with [backbone] [method] [data] [train] [eval] [features], checked before torch is imported.

`[backbone]`, `[method]` and `[data]` keys are the constructor's arguments: there the signature is the schema, so they
are passed on as they stand and checked where the part is built. An unknown key anywhere is an error that names the
nearest known one, before all else that is wrong: a key that was misspelt is missing too.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from composir.errors import ComposirError, UnknownNameError
from composir.plugins import load_class, nearest

Share = Annotated[float, Field(ge=0, lt=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class PartConfig(BaseModel):
    """A part by name; every other key is an argument of its constructor."""

    model_config = ConfigDict(extra="allow", frozen=True)
    name: str

    @property
    def arguments(self) -> dict[str, Any]:
        """The keys beside `name`."""
        return dict(self.model_extra or {})


class TrainConfig(_Strict):
    """How to fit.

    Attributes:
        epochs: Passes over the training data.
        batch_size: Pairs or triplets a batch, over all processes together; negatives are looked for within a batch.
        accumulate: Batches a step: the gradient is that of their mean loss. A batch's negatives stay its own.
        lr: Peak learning rate.
        optimizer: "adamw", or "adam", whose weight decay is part of the gradient.
        schedule: Of the learning rate behind the warm-up: "cosine" and "linear" fall to zero, "onecycle" rises and
            falls by half cosines, "constant" stays.
        weight_decay: On matrices only.
        warmup: Steps of linear rise; of "onecycle" the steps up to the peak, three tenths of all where it is 0.
        betas: The optimizer's.
        clip: Largest gradient norm; 0 for none.
        precision: "no" is float32.
        compile: Compile the image tower (needs a C++ compiler; one attention form: eager).
        checkpointing: Compute activations again in the backward pass, where the method names modules for it: less
            memory, more time, the same gradients.
        block: Pairs or triplets that stand next to each other in the data and are kept together in a batch where
            `block_share` says so. With a catalogue ordered by look-alikes these are hard negatives.
        block_share: Share of epochs whose batches are made of whole blocks, 0..1.
        captions: Of a training query with two captions: "shuffle" reads "a and b", "b and a", "a" or "b", each as
            often; "and" reads what evaluation reads, "A and b".
        shift: Random shift of training pictures in pixels, up to this many each way.
        flip: Mirror every second training picture.
        seed: Of weights, order, captions and augmentation.
        workers: Processes that decode or draw.
        save_every: Steps between states that `--resume` goes on from, beside those saved at each validation; 0 for
            none beside.
        skip_bad: Leave out, and count, training pictures that cannot be read, instead of stopping at the first.
        tensorboard: Write events for TensorBoard beside the log.
    """

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=2)
    accumulate: int = Field(default=1, ge=1)
    lr: float = Field(gt=0)
    optimizer: Literal["adamw", "adam"] = "adamw"
    schedule: Literal["cosine", "linear", "onecycle", "constant"] = "cosine"
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: int = Field(default=0, ge=0)
    betas: tuple[Share, Share] = (0.9, 0.98)
    clip: float = Field(default=1.0, ge=0)
    precision: Literal["no", "bf16", "fp16"] = "no"
    compile: bool = False
    checkpointing: bool = False
    block: int = Field(default=1, ge=1)
    block_share: float = Field(default=0.0, ge=0, le=1)
    captions: Literal["shuffle", "and"] = "shuffle"
    shift: int = Field(default=0, ge=0)
    flip: bool = False
    seed: int = 0
    workers: int = Field(default=2, ge=0)
    save_every: int = Field(default=0, ge=0)
    skip_bad: bool = False
    tensorboard: bool = False


class EvalConfig(_Strict):
    """When to validate and what decides which weights are the best.

    Attributes:
        every: Epochs between validations.
        metric: "caption R@1" (caption to picture, for methods on pairs); a metric of one task, "families R@10"; "R@10",
            the mean over the tasks that have it; or the name of one of the data set's averages. Where none is given:
            "caption R@1" for pairs; for triplets the data set's first average, or R@10.
    """

    every: int = Field(default=1, ge=1)
    metric: str = ""


class FeaturesConfig(_Strict):
    """Where features of frozen towers are kept.

    Attributes:
        folder: Of the cache; $COMPOSIR_CACHE/features if not given, or ~/.cache/composir/features.
        dtype: "float32" trains as without a cache; "float16" takes half the room and rounds.
    """

    folder: str = ""
    dtype: Literal["float32", "float16"] = "float32"


class RunConfig(_Strict):
    """A whole run; the file name is the run name.

    Attributes:
        init: The run (its folder) or checkpoint (.safetensors) whose weights are taken over first, or "" for none.
    """

    init: str = ""
    backbone: PartConfig
    method: PartConfig
    data: PartConfig
    train: TrainConfig
    eval: EvalConfig = EvalConfig()
    features: FeaturesConfig = FeaturesConfig()


_PLAIN = ("init",)  # keys of the file itself
_PARTS = (  # section, where its classes are, what they are called, the argument that no file gives
    ("method", "composir.methods", "method", "backbone"),
    ("data", "composir.datasets", "data set", ""),
)


def load_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run file.

    Args:
        path: The TOML file.
        overrides: "section.key=value" each, or "init=value", the value in TOML's spelling (bare words are taken as
            text).

    Raises:
        ComposirError: No such file, not TOML, an unknown or missing key, a value out of range; the key is named.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ComposirError(f"no run file at {path}; the published ones lie in configs/") from error
    except OSError as error:
        raise ComposirError(f"{path} cannot be read ({error.strerror}); name a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ComposirError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        _apply(content, override)
    try:
        return RunConfig.model_validate(content)
    except ValidationError as error:
        raise ComposirError(f"{path}: {_explain(error, content)}") from error


def dump(config: RunConfig) -> str:
    """The run file as it took effect, overrides and defaults included; `load_config` reads it back equal."""
    content = config.model_dump()
    top = content.pop("init")
    lines = [f"init = {_toml(top)}", ""] if top else []
    for section, values in content.items():
        lines += [f"[{section}]", *(f"{_key(key)} = {_toml(value)}" for key, value in values.items()), ""]
    return "\n".join(lines)


def _key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def _toml(value: Any) -> str:
    """A value in TOML's spelling, which is JSON's but for tables, dates and what is not finite."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(inner) for inner in value) + "]"
    if isinstance(value, bool | int | str):
        return json.dumps(value, ensure_ascii=False)
    return value.isoformat() if hasattr(value, "isoformat") else repr(value)


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    section, dot, name = key.strip().partition(".")
    if not equals or not (dot or section in _PLAIN):
        hint = f", or {section} with the section it stands in" if equals and section else ""
        raise ComposirError(f"{override!r} is no override; write section.key=value, e.g. train.lr=1e-4{hint}")
    try:
        parsed = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    if not dot:
        content[section] = parsed
        return
    if not isinstance(content.setdefault(section, {}), dict):
        raise ComposirError(f"{override!r} sets a key in [{section}], which the file gives a plain value")
    content[section][name] = parsed


def _explain(error: ValidationError, content: dict[str, Any]) -> str:
    """Unknown keys, each with its nearest neighbour, and what is missing; else the first wrong value."""
    problems = error.errors()
    unknown = [_unknown([str(part) for part in own["loc"]]) for own in problems if own["type"] == "extra_forbidden"]
    unknown += _unknown_arguments(content)
    missing = [own for own in problems if own["type"] == "missing"]
    others = [own for own in problems if own["type"] not in ("missing", "extra_forbidden")]
    rest = missing or ([] if unknown else others[:1])
    return "; ".join([*unknown, *map(_told, rest)])


def _told(problem: Any) -> str:
    given = "" if isinstance(problem["input"], dict) else f" (given: {problem['input']!r})"
    return f"[{'.'.join(map(str, problem['loc']))}] {problem['msg']}{given}"


def _unknown(where: list[str]) -> str:
    model: type[BaseModel] = RunConfig
    for part in where[:-1]:
        inner = model.model_fields[part].annotation
        model = inner if isinstance(inner, type) and issubclass(inner, BaseModel) else model
    return str(nearest(where[-1], model.model_fields, f"key in [{'.'.join(where[:-1]) or 'the file'}]"))


def _unknown_arguments(content: dict[str, Any]) -> list[str]:
    """Names and keys of parts that nothing bears; the parts are imported for that, but only once a file is wrong."""
    told = []
    for section, package, what, filled in _PARTS:
        try:
            part = PartConfig.model_validate(content.get(section))
            load_class(package, part.name, what, part.arguments, leave_out=filled)
        except UnknownNameError as error:
            told.append(f"[{section}] {error}")
        except (ValidationError, ComposirError):
            continue  # the section is told of by itself, or its part where it is built
    return told
