"""Everything that can be set: a field here is a flag, an environment variable and a TOML key of the same name.

`max_batch` is `--max-batch`, `COMPOSIR_MAX_BATCH` and `max_batch = 32` in the file that `--config` or COMPOSIR_CONFIG
names. A flag beats the environment, which beats the file. API keys have no flag: other users see a command line.
"""

from __future__ import annotations

import ipaddress
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from composir.errors import ComposirError
from composir.plugins import nearest

PREFIX = "COMPOSIR_"
CONFIG, KEYS = f"{PREFIX}CONFIG", f"{PREFIX}API_KEYS"
SECRET = frozenset({"api_keys"})
SHORTEST_KEY = 16
LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
MAKE_A_KEY = """python -c "import secrets; print(secrets.token_urlsafe(32))\""""

Count = Annotated[int, Field(ge=1)]
Bytes = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class Settings(BaseModel):
    """How the server runs; the descriptions are the help of the flags."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    gallery: str | None = Field(None, description="The gallery's path or URI, as built by `composir index`.")
    method: str | None = Field(None, description="Another method, run or checkpoint that fits the gallery.")
    methods: tuple[str, ...] = Field((), description="Further runs or checkpoints that fit the gallery.")
    device: str = Field("auto", description="Where to encode: auto, cpu, cuda, cuda:1, mps.")

    refresh_seconds: Seconds = Field(1.0, description="Seconds between looks at the gallery for what was added.")
    approximate_from: Count = Field(3_000_000, description="Pictures from which on search is approximate.")
    fold_similarity: float = Field(0.97, gt=0, le=1, description="Cosine from which on two pictures count as alike.")
    data: str | None = Field(None, description="The benchmark whose pictures the gallery holds, e.g. cirr.")
    root: Path | None = Field(None, description="The benchmark's folder.")
    split: Literal["train", "val", "test"] = Field("val", description="The benchmark's split: train, val, test.")
    judgements: Path | None = Field(
        None, description="Folder for people's verdicts; beside the gallery if local, none otherwise; 'none' for none."
    )

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen at; all but loopback need an API key.")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen at; 0 takes a free one.")
    api_keys: tuple[SecretStr, ...] = Field((), description="Keys, any of which opens the server.")
    api_keys_file: Path | None = Field(None, description="File with further API keys, one a line.")
    allowed_hosts: tuple[str, ...] = Field((), description="Names by which clients may call it, beside localhost.")

    max_body_bytes: Bytes = Field(20 * 2**20, description="Bytes of one request's body.")
    max_buffered_bytes: Bytes = Field(400 * 2**20, description="Bytes of all requests' bodies together.")
    body_seconds: Seconds = Field(30.0, description="Seconds within which a body must have arrived.")
    header_seconds: Seconds = Field(10.0, description="Seconds within which a request's head must have arrived.")
    max_field_bytes: Bytes = Field(65_536, description="Bytes of one field that is not a file.")
    max_connections: Count = Field(256, description="Connections at once; further ones are answered with 503.")

    decode_workers: Count = Field(2, description="Processes that decode pictures.")
    decode_queue: Count = Field(64, description="Pictures that may wait for one; further ones are answered with 429.")
    decode_seconds: Seconds = Field(10.0, description="Seconds one picture may take.")
    decode_memory_bytes: int = Field(2 * 2**30, ge=2**28, description="Bytes one decoding process may allocate.")
    max_pixels: Count = Field(100_000_000, description="Width times height of one picture.")

    queue_length: Count = Field(256, description="Requests that may wait for the model; further ones get 429.")
    max_batch: Count = Field(32, description="Requests computed together.")
    batch_delay_seconds: float = Field(0.002, ge=0, le=1, description="Seconds the first waits for others.")

    uploads_bytes: Bytes = Field(256 * 2**20, description="Bytes of uploaded references kept for later queries.")
    fetch_urls: bool = Field(False, description="Read references from public web addresses too.")
    fetch_seconds: Seconds = Field(10.0, description="Seconds such a download may take, redirects included.")

    thumbnail_cache_bytes: int = Field(64 * 2**20, ge=0, description="Bytes of thumbnails kept in memory.")
    image_side: int = Field(2048, ge=64, le=16_384, description="Longest side of a picture that is shown large.")

    drain_seconds: float = Field(3.0, ge=0, le=3600, description="Seconds between SIGTERM and the closed door.")
    shutdown_seconds: Seconds = Field(30.0, description="Seconds that requests under way may then still take.")
    log_format: Literal["json", "text"] = Field("json", description="Log lines: json, text.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="debug, info, warning, error.")

    @model_validator(mode="before")
    @classmethod
    def _add_keys_of_file(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not given.get("api_keys_file"):
            return given
        path = Path(given["api_keys_file"])
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} cannot be read ({error}); it holds API keys, one a line") from error
        keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not keys:
            raise ValueError(f"{path} holds no API key; write one a line, made with: {MAKE_A_KEY}")
        return {**given, "api_keys": (*given.get("api_keys", ()), *keys)}

    @field_validator("api_keys")
    @classmethod
    def _check_keys(cls, keys: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for key in keys:
            value = key.get_secret_value()
            if len(value) < SHORTEST_KEY or not all("!" <= c <= "~" for c in value):
                raise ValueError(
                    f"an API key is {SHORTEST_KEY} or more visible ASCII characters without blanks; make one with: "
                    f"{MAKE_A_KEY}"
                )
        return keys

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            if not host or set(host) & set("*/@ ") or "://" in host:
                raise ValueError(f"{host!r} is no host name; give plain names, e.g. shop.example")
        return tuple(host.lower() for host in hosts)

    @model_validator(mode="after")
    def _check_open_door(self) -> Settings:
        if not is_loopback(self.host) and not self.api_keys:
            raise ValueError(
                f"host {self.host} can be reached from other machines, and there is no API key; set "
                f"{KEYS} or api_keys_file (make a key with: {MAKE_A_KEY}), or listen at 127.0.0.1"
            )
        return self

    def wanted_gallery(self) -> str:
        """Where the gallery lies.

        Raises:
            ComposirError: None is named.
        """
        if self.gallery is None:
            raise ComposirError("which gallery? give --gallery, as built by `composir index`")
        return self.gallery

    @property
    def hosts(self) -> frozenset[str]:
        """Values of the Host header that are answered, without port, lower case, IPv6 in brackets."""
        own = self.host.lower()
        own = f"[{own}]" if ":" in own else own
        return frozenset({*LOCAL_HOSTS, *self.allowed_hosts} | ({own} if own not in {"0.0.0.0", "[::]"} else set()))

    def as_toml(self) -> str:
        """The settings as a TOML file; of API keys only how many there are."""
        lines = [f"# {len(self.api_keys)} API keys, not shown"] if self.api_keys else []
        for name, value in self.model_dump(mode="json", exclude=set(SECRET)).items():
            lines.append(
                f"# {name} is not set" if value is None else f"{name} = {json.dumps(value, ensure_ascii=False)}"
            )
        return "\n".join(lines) + "\n"


def is_loopback(host: str) -> bool:
    """Whether an address to listen at can be reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def read_settings(flags: Mapping[str, Any], environ: Mapping[str, str], config: Path | None = None) -> Settings:
    """Merge flags, environment and file, in this order of precedence.

    Args:
        flags: By field name; None is not given.
        environ: The process environment; an empty variable is not given.
        config: A TOML file; None = the one that COMPOSIR_CONFIG names, if it does.

    Raises:
        ComposirError: An unknown key of the file, or a bad value; the message names where it was set.
    """
    path = config or (Path(environ[CONFIG]) if environ.get(CONFIG) else None)
    given: dict[str, Any] = {}
    origin: dict[str, str] = {}
    for name, value in (_read_toml(path) if path else {}).items():
        given[name], origin[name] = value, f"{path}: {name}"
    for name, field in Settings.model_fields.items():
        variable = f"{PREFIX}{name.upper()}"
        if text := environ.get(variable):
            several = "tuple" in str(field.annotation)
            given[name] = [part.strip() for part in text.split(",") if part.strip()] if several else text
            origin[name] = variable
        if flags.get(name) is not None:
            given[name], origin[name] = flags[name], "--" + name.replace("_", "-")
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        raise ComposirError("; ".join(_told(detail, origin) for detail in error.errors())) from None


def _told(detail: Any, origin: Mapping[str, str]) -> str:
    message = detail["msg"].removeprefix("Value error, ")
    name = str(detail["loc"][0]) if detail["loc"] else ""
    if not name:
        return message
    value = "" if name in SECRET else f" = {detail['input']!r}"
    return f"{origin.get(name, name)}{value}: {message}"


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ComposirError(f"there is no settings file {path}; check the path") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ComposirError(f"{path} is no TOML file: {error}") from error
    for name in content:
        if name not in Settings.model_fields:
            raise ComposirError(f"{path}: {nearest(name, Settings.model_fields, 'setting')}")
    return content
