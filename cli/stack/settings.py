"""What the embedded stack reads from the settings: an address that is set means that somebody else runs the part."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import orjson
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from studio.blob_url import parse_blob_url
from studio.settings import DatabaseSettings, WorkerProcessSettings, check_tls_pair, load_settings

ADDRESS_FIELDS: Mapping[str, str] = {
    "api": "api_url",
    "prompts": "prompt_url",
    "llm": "llm_url",
    "temporal": "temporal_address",
    "redis": "redis_url",
    "mongo": "mongo_url",
}
"""Part to the setting that says where somebody else runs it."""


class StackSettings(DatabaseSettings, WorkerProcessSettings):
    temporal_address: str | None = None
    temporal_namespace: str = "default"
    temporal_task_queue: str = "studio"
    temporal_api_key: SecretStr | None = None
    temporal_tls_cert: Path | None = None
    temporal_tls_key: Path | None = None
    temporal_ui_url: str | None = None
    redis_url: str | None = None
    mongo_url: str | None = None
    clickhouse_url: str | None = None
    blob_url: str | None = None
    upstreams: SecretStr | None = None
    model_aliases: str | None = None
    secret_keys: Annotated[SecretStr | None, NoDecode] = None
    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"

    @model_validator(mode="after")
    def _check_tls(self) -> "StackSettings":
        check_tls_pair(self.temporal_tls_cert, self.temporal_tls_key)
        return self

    @field_validator("blob_url")
    @classmethod
    def _check_blob_url(cls, url: str | None) -> str | None:
        if url:
            parse_blob_url(url)
        return url

    @field_validator("upstreams", "model_aliases", mode="before")
    @classmethod
    def _as_text(cls, value: Any) -> Any:
        """A YAML settings file may hold them as structures."""
        return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()

    def address_of(self, part: str) -> str | None:
        """The address that the user set for `part`, if any: a default does not count."""
        field = ADDRESS_FIELDS.get(part)
        if field is None or field not in self.model_fields_set:
            return None
        return getattr(self, field) or None


def own_environment() -> dict[str, str]:
    """What this process was given, for the parts that it starts."""
    return dict(os.environ)


def stack_settings(data: Path | None) -> StackSettings:
    return load_settings(StackSettings, **({"data_dir": data} if data else {}))
