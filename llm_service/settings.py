"""Settings of the LLM engine: upstreams, model aliases, prices."""

import re
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import orjson
from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import NoDecode
from yarl import URL

from studio.contracts.base import Contract, JsonObject, Name
from studio.contracts.secret_names import find_secret_name
from studio.settings import StudioSettings, expand_references

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Price = Annotated[Decimal, Field(ge=0)]


_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A token of RFC 9110 section 5.6.2."""
_NOT_IN_A_HEADER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _resolved(secret: SecretStr) -> SecretStr:
    """Without the blanks around it: a line break ends what is read from many a file."""
    value = expand_references(secret.get_secret_value()).strip()
    if _NOT_IN_A_HEADER.search(value):
        raise ValueError("holds a line break or another control character, which no header may")
    return SecretStr(value)


ResolvedSecret = Annotated[SecretStr, AfterValidator(_resolved)]
"""A secret in which every `${NAME}` stands for an environment variable."""


class Timeouts(Contract):
    """Deadlines of one call in seconds."""

    connect: Seconds = 5.0
    first_byte: Seconds = 120.0
    """Until the first event of a stream, for each attempt. An unstreamed answer comes whole: `total` bounds it."""
    idle: Seconds = 60.0
    """Between two chunks of a stream."""
    total: Seconds = 600.0
    """The whole call with its retries."""


ANY_MODEL = "*"
"""In `prices`: whatever model has no price of its own."""


class ModelPrice(Contract):
    """US dollars for a million tokens; `0` alone stands for a model that costs nothing."""

    input_per_million: Price
    output_per_million: Price = Decimal(0)
    cached_input_per_million: Price | None = None
    """None: cached input costs what other input costs."""
    cache_write_per_million: Price | None = None
    """None: input that goes into the provider's cache costs what other input costs."""

    @model_validator(mode="before")
    @classmethod
    def _free(cls, value: Any) -> Any:
        return {"input_per_million": 0} if value == 0 and type(value) is not bool else value


class UpstreamConfig(Contract):
    """One OpenAI-compatible server."""

    name: Name
    kind: Literal["openai", "litellm"] = "openai"
    base_url: str
    """With the version's path (`https://api.openai.com/v1`); a URL without any path gets `/v1`."""
    api_key: ResolvedSecret | None = None
    models: dict[str, str] | list[str] | None = None
    """The models that callers may name (a mapping gives them names of ours); None: whatever the upstream serves."""
    timeouts: Timeouts = Timeouts()
    headers: dict[str, ResolvedSecret] = {}
    retries: Annotated[int, Field(ge=0, le=10)] = 2
    """How often a call is repeated after a 429, a 5xx or a connection fault, before its first byte."""
    max_answer_bytes: Annotated[int, Field(ge=1024)] = 64 * 1024 * 1024
    """Of an unstreamed answer, and of one event of a stream, unpacked. What is larger is refused."""
    prices: dict[str, ModelPrice] = {}
    """By the model's name at the upstream; `*` is for all others."""

    @field_validator("kind", mode="before")
    @classmethod
    def _check_kind(cls, kind: Any) -> Any:
        if kind not in {"openai", "litellm"}:
            raise ValueError(
                f"kind {kind!r} is not supported; use 'openai' (any OpenAI-compatible server) or 'litellm'"
            )
        return kind

    @field_validator("headers")
    @classmethod
    def _check_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        wrong = next((name for name in headers if not _HEADER_NAME.fullmatch(name)), None)
        if wrong is not None:
            raise ValueError(f"{wrong!r} is no name of a header")
        return headers

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, text: str) -> str:
        url = URL(expand_references(text))
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError("must be an http:// or https:// URL")
        if url.path in {"", "/"}:
            url = url.with_path("/v1")
        return str(url).rstrip("/")


class ModelAlias(Contract):
    """`params` fill in what a caller left out."""

    model: str
    params: JsonObject = {}

    @field_validator("params")
    @classmethod
    def _check_params(cls, params: JsonObject) -> JsonObject:
        own = sorted({"model", "messages", "prompt", "input", "stream", "stream_options"} & params.keys())
        if own:
            raise ValueError(f"may not set {', '.join(own)}")
        if (secret := find_secret_name(params)) is not None:
            raise ValueError(f"may not set {secret}: credentials belong to the upstream (api_key, headers)")
        return params


DEFAULT_ALIASES = {"default": ModelAlias(model="local/smollm2")}


class LlmSettings(StudioSettings):
    port: Annotated[int, Field(ge=0, le=65_535)] = 8002
    upstreams: Annotated[list[UpstreamConfig], NoDecode, Field(min_length=1)]
    """JSON, or the path of a file that holds it."""
    model_aliases: Annotated[dict[str, ModelAlias], NoDecode] = DEFAULT_ALIASES
    stream_ping_seconds: Seconds = 5.0
    """How long a stream waits for its first token before a comment goes out, and then between comments. The first
    comment commits the answer to status 200: an error of the upstream after it arrives as an error event."""

    @field_validator("upstreams", mode="before")
    @classmethod
    def _read_upstreams(cls, value: Any) -> Any:
        return _json_or_file(value)

    @field_validator("upstreams")
    @classmethod
    def _check_names(cls, upstreams: list[UpstreamConfig]) -> list[UpstreamConfig]:
        names = [upstream.name for upstream in upstreams]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"more than one upstream is called {', '.join(twice)}")
        return upstreams

    @field_validator("model_aliases", mode="before")
    @classmethod
    def _read_aliases(cls, value: Any) -> Any:
        aliases = _json_or_file(value)
        if not isinstance(aliases, dict):
            return aliases
        named = cast("dict[str, Any]", aliases)
        return {name: {"model": alias} if isinstance(alias, str) else alias for name, alias in named.items()}

    @field_validator("model_aliases")
    @classmethod
    def _check_targets(cls, aliases: dict[str, ModelAlias], info: ValidationInfo) -> dict[str, ModelAlias]:
        upstreams = cast("list[UpstreamConfig]", info.data.get("upstreams", []))
        known = {upstream.name for upstream in upstreams}
        if aliases == DEFAULT_ALIASES:  # not asked for: without an upstream `local` there is no default model
            return aliases
        for name, alias in aliases.items():
            upstream, _, model = alias.model.partition("/")
            if known and upstream not in known:
                raise ValueError(
                    f"{name!r} stands for {alias.model!r}, which names none of the upstreams {sorted(known)}"
                )
            if known and not model:
                raise ValueError(f"{name!r} stands for {alias.model!r}; write UPSTREAM/MODEL")
            served = next((one.models for one in upstreams if one.name == upstream), None)
            names = {*served, *served.values()} if isinstance(served, dict) else set(served or ())
            if served is not None and model not in names:
                raise ValueError(f"{name!r} stands for {model!r}, which is none of {upstream}'s models {sorted(names)}")
        return aliases


def _json_or_file(value: Any) -> Any:
    """Text that is JSON, or the path of a JSON file; anything else as it is."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if not text.startswith(("[", "{")):
        path = Path(text).expanduser()
        if not path.is_file():
            raise ValueError("must be JSON or the path of a file that holds it; there is no such file")
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise ValueError(f"names a file that cannot be read: {error.strerror}") from None
        except UnicodeDecodeError:
            raise ValueError("names a file that is not UTF-8") from None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from None
