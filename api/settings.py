"""Settings of the workflow engine's API."""

from typing import Annotated

from pydantic import Field

from studio.settings import DatabaseSettings, RedisSettings, TemporalSettings


class ApiSettings(DatabaseSettings, RedisSettings, TemporalSettings):
    port: Annotated[int, Field(ge=0, le=65535)] = 8000

    def temporal_ui_root(self) -> str | None:
        """Where the Temporal UI shows the namespace's workflows; None when no UI is configured."""
        if self.temporal_ui_url is None:
            return None
        return f"{self.temporal_ui_url.rstrip('/')}/namespaces/{self.temporal_namespace}/workflows"
