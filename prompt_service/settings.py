"""Settings of the prompt engine."""

from typing import Annotated

from pydantic import Field, field_validator

from studio.contracts.spans import MAX_PAYLOAD_BYTES
from studio.settings import ClickHouseSettings, MongoSettings, RedisSettings


class PromptSettings(MongoSettings, RedisSettings, ClickHouseSettings):
    port: Annotated[int, Field(ge=1, le=65535)] = 8001
    trace_retention_days: Annotated[int, Field(ge=1, le=3650)] = 90
    trace_payload_bytes: Annotated[int, Field(ge=1024, le=MAX_PAYLOAD_BYTES)] = MAX_PAYLOAD_BYTES
    """An input or output past this is cut, with its length and SHA-256 kept."""

    @field_validator("clickhouse_url")
    @classmethod
    def _check_clickhouse(cls, url: str) -> str:
        if not url.startswith(("clickhouse://", "clickhouses://", "http://", "https://", "chdb://")):
            raise ValueError("must start with clickhouse://, clickhouses:// (TLS), http://, https:// or chdb:///path")
        return url

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, url: str) -> str:
        if not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        return url

    @field_validator("mongo_url")
    @classmethod
    def _check_mongo(cls, url: str) -> str:
        if not url.startswith(("mongodb://", "mongodb+srv://")):
            raise ValueError("must start with mongodb:// or mongodb+srv://")
        return url

    @property
    def embedded_traces(self) -> bool:
        """Whether the trace store is chDB, which only one process may open."""
        return self.clickhouse_url.startswith("chdb:")
