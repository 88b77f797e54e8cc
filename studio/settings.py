"""Settings: environment variables `STUDIO_…`, a `.env` file, or the YAML file that `STUDIO_CONFIG` names.

The environment wins over `.env`, which wins over the file. Each service has a subclass of `StudioSettings` made of
the groups below; a variable without a default must be given, or the service refuses to start and names it.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

import yaml
from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import YamlConfigSettingsSource as _YamlSource

from studio.blob_url import parse_blob_url
from studio.errors import SettingsError
from studio.secret_keys import read_key, split_keys

PREFIX = "STUDIO_"
MASK = "********"


class StudioSettings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", env_ignore_empty=True)

    data_dir: Path = Path(".studio")
    host: str = "127.0.0.1"
    allowed_hosts: Annotated[list[str], NoDecode] = []
    """Names, separated by commas, under which this service is reached besides loopback, without ports; `*` for any.
    Left empty, a service on loopback answers for loopback names alone, and one on another address for any name."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] | None = None
    """None: `console` on a terminal, `json` elsewhere."""
    max_body_bytes: Annotated[int, Field(ge=1024)] = 8 * 1024 * 1024
    api_url: str = "http://127.0.0.1:8000"
    prompt_url: str = "http://127.0.0.1:8001"
    llm_url: str = "http://127.0.0.1:8002"
    trace_content: Literal["on", "off"] = "on"
    """`off` keeps prompts, completions, inputs and outputs out of every span."""

    @field_validator("allowed_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("allowed_hosts")
    @classmethod
    def _check_hosts(cls, hosts: list[str]) -> list[str]:
        for host in hosts:
            if re.fullmatch(r"\*|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+", host) is None:
                raise ValueError(f"{host!r} is not a host: write names without scheme and port, IPv6 in brackets")
        return hosts

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        sources = (init_settings, env_settings, dotenv_settings)
        config = os.environ.get(PREFIX + "CONFIG")
        return (*sources, _YamlSource(settings_cls, yaml_file=config)) if config else sources


class DatabaseSettings(StudioSettings):
    database_url: str = ""
    """SQLAlchemy URL with an async driver; empty means SQLite in the data folder."""

    def resolved_database_url(self) -> str:
        return self.database_url or f"sqlite+aiosqlite:///{(self.data_dir / 'studio.db').resolve()}"

    @field_validator("database_url")
    @classmethod
    def _check_driver(cls, url: str) -> str:
        if url and not url.startswith(("sqlite+aiosqlite:///", "postgresql+psycopg://")):
            raise ValueError("must start with sqlite+aiosqlite:/// or postgresql+psycopg://")
        return url


class RedisSettings(StudioSettings):
    redis_url: str


class TemporalSettings(StudioSettings):
    temporal_address: str
    """host:port of the frontend."""
    temporal_namespace: str = "default"
    temporal_task_queue: str = "studio"
    temporal_api_key: SecretStr | None = None
    temporal_tls_cert: Path | None = None
    temporal_tls_key: Path | None = None
    temporal_ui_url: str | None = None
    blob_url: str = ""
    """`s3://bucket/prefix?endpoint=…&region=…`: where payloads too large for a history are kept; empty means SQL."""
    secret_keys: Annotated[list[SecretStr], NoDecode, Field(min_length=1)]
    """Base64 AES-256 keys, newest first: the first one encrypts, all of them decrypt."""

    @model_validator(mode="after")
    def _check_tls(self) -> "TemporalSettings":
        check_tls_pair(self.temporal_tls_cert, self.temporal_tls_key)
        return self

    @field_validator("blob_url")
    @classmethod
    def _check_blob_url(cls, url: str) -> str:
        if url:
            parse_blob_url(url)
        return url

    @field_validator("secret_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: Any) -> Any:
        return split_keys(value) if isinstance(value, str) else value

    @field_validator("secret_keys")
    @classmethod
    def _check_keys(cls, keys: list[SecretStr]) -> list[SecretStr]:
        for key in keys:
            read_key(key.get_secret_value())
        return keys


def check_tls_pair(cert: Path | None, key: Path | None) -> None:
    """Raises `SettingsError` when one is given without the other, since the connection would not be encrypted."""
    if (cert is None) != (key is None):
        given, missing = ("CERT", "KEY") if key is None else ("KEY", "CERT")
        raise SettingsError(f"STUDIO_TEMPORAL_TLS_{given} is set but STUDIO_TEMPORAL_TLS_{missing} is not. Set both.")


class WorkerProcessSettings(StudioSettings):
    """What those who run workers must know as well as the workers."""

    worker_drain_seconds: Annotated[float, Field(ge=0, le=86_400)] = 8
    """How long activities may go on after SIGTERM; then they are cancelled and another worker does them."""
    worker_deployment: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,100}$")] | None = None
    """Name of the Temporal worker deployment; with a build id, runs stay on the build that started them."""
    worker_build_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")] | None = None

    @model_validator(mode="after")
    def _check_deployment(self) -> "WorkerProcessSettings":
        if (self.worker_deployment is None) != (self.worker_build_id is None):
            given, missing = ("BUILD_ID", "DEPLOYMENT") if self.worker_build_id else ("DEPLOYMENT", "BUILD_ID")
            raise SettingsError(
                f"STUDIO_WORKER_{given} is set but STUDIO_WORKER_{missing} is not. Set both, or neither."
            )
        return self


class MongoSettings(StudioSettings):
    mongo_url: str
    mongo_database: str = "studio"


class ClickHouseSettings(StudioSettings):
    clickhouse_url: str
    """`clickhouse://user:password@host:port/database` or `chdb:///path`."""


SettingsT = TypeVar("SettingsT", bound=BaseSettings)


def load_settings(settings_class: type[SettingsT], **overrides: Any) -> SettingsT:
    """Read the settings of one service.

    Raises `SettingsError` whose message has one line a variable: its name, what was given (masked when its name says
    that it is a secret) and what is allowed.
    """
    config = os.environ.get(PREFIX + "CONFIG")
    if config:
        _config_values(config)
    try:
        return settings_class(**overrides)
    except OSError as error:
        raise SettingsError(f"{error.filename}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise SettingsError("The file .env is not text in UTF-8.") from None
    except ValidationError as error:
        lines: list[str] = []
        for problem in error.errors():
            field = str(problem["loc"][0]) if problem["loc"] else "settings"
            variable = PREFIX + field.upper()
            inside = problem["loc"][1:]
            message = problem["msg"].removeprefix("Value error, ").rstrip(".")
            if inside:
                lines.append(f"{variable} at {'.'.join(map(str, inside))}: {message}.")
                continue
            if problem["type"] == "missing":
                lines.append(f"{variable} is not set. Set it, or let `studio up` start the part for you.")
                continue
            shown = MASK if is_secret(field) or "url" in field else repr(problem["input"])
            lines.append(f"{variable} is {shown}: {message}.")
        raise SettingsError("\n".join(lines)) from None


def is_secret(field: str) -> bool:
    """Whether the setting is never shown. Addresses are, without the passwords in them: see `mask_url`."""
    return any(word in field for word in ("secret", "api_key", "password", "token", "upstreams"))


_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def references(text: str) -> frozenset[str]:
    """The names of all `${NAME}` in the text."""
    return frozenset(_REFERENCE.findall(text))


def expand_references(text: str) -> str:
    """Replace every `${NAME}` by the environment variable (or `.env` entry) of that name.

    Raises `ValueError` naming the variable that is not set.
    """

    def value_of(match: re.Match[str]) -> str:
        name = match[1]
        value = os.environ.get(name) or dotenv_values(".env").get(name)
        if not value:
            raise ValueError(f"refers to the environment variable {name}, which is not set")
        return value

    return _REFERENCE.sub(value_of, text)


def given(field: str) -> tuple[str, str] | None:
    """What was given for a setting, as text, and where; None for one that has its default. Like the settings
    themselves it looks into the environment, into `.env`, then into the file of `STUDIO_CONFIG`."""
    variable = PREFIX + field.upper()
    config = os.environ.get(PREFIX + "CONFIG")
    places: list[tuple[Mapping[str, Any], str]] = [(os.environ, "the environment"), (dotenv_values(".env"), ".env")]
    for values, place in places:
        found = next((value for name, value in values.items() if name.upper() == variable and value), None)
        if found is not None:
            return found, place
    value = _config_values(config).get(field) if config else None
    return None if value is None else (str(value), str(config))


def _config_values(path: str) -> Mapping[str, Any]:
    """Raises `SettingsError` when the file is not there, or is no mapping in YAML."""
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"STUDIO_CONFIG is {path!r}: {error.strerror}.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f" (line {mark.line + 1})" if mark else ""
        raise SettingsError(f"STUDIO_CONFIG is {path!r}, which is not YAML{place}.") from None
    if values is not None and not isinstance(values, dict):
        raise SettingsError(f"STUDIO_CONFIG is {path!r}, which holds no settings (name: value).")
    return cast("dict[str, Any]", values or {})


_SECRET_PARAMETER = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key)[^=&]*=)[^&#]+", re.IGNORECASE)


def mask_url(url: str) -> str:
    """Replace the password of a URL by `***`, also one among its parameters."""
    url = _SECRET_PARAMETER.sub(r"\1***", url)
    scheme, separator, rest = url.partition("://")
    userinfo, at, host = rest.rpartition("@")
    if not (separator and at and ":" in userinfo):
        return url
    return f"{scheme}://{userinfo.partition(':')[0]}:***@{host}"
