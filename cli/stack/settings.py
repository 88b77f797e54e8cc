"""What the embedded stack reads from the settings: an address that is set means that somebody else runs the part."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import orjson
from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import NoDecode

from cli.stack.ports import LOOPBACK, is_free
from studio.blob_url import parse_blob_url
from studio.secret_keys import read_key, split_keys
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

    @field_validator("secret_keys")
    @classmethod
    def _check_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        found = split_keys(keys.get_secret_value()) if keys else None
        if found == []:
            raise ValueError("holds no key")
        for key in found or ():
            read_key(key)
        return keys

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

    def without_own(self, ports: Mapping[str, int]) -> "StackSettings":
        """Without the addresses at which this stack is about to serve itself, as when they are exported for the CLI."""
        own = [field for part, field in ADDRESS_FIELDS.items() if self._is_own(self.address_of(part), ports[part])]
        settings = self.model_copy()
        settings.model_fields_set.difference_update(own)
        return settings

    def _is_own(self, address: str | None, port: int) -> bool:
        """Whether it is nothing but this port of this machine, and nobody serves there yet."""
        if address is None:
            return False
        url = urlsplit(address if "://" in address else f"//{address}")
        plain = not (url.username or url.password or url.query or url.path.strip("/"))
        try:
            same = url.port == port and url.hostname in {"localhost", LOOPBACK, "::1", self.host}
        except ValueError:  # no port is as large as that
            return False
        return plain and same and is_free(LOOPBACK, port)

    def address_of(self, part: str) -> str | None:
        """The address that the user set for `part`, if any: a default does not count."""
        field = ADDRESS_FIELDS.get(part)
        if field is None or field not in self.model_fields_set:
            return None
        return getattr(self, field) or None


def stack_settings(data: Path | None) -> StackSettings:
    return load_settings(StackSettings, **({"data_dir": data} if data else {}))
