"""Settings of the worker."""

from typing import Annotated

from pydantic import Field

from studio.settings import DatabaseSettings, RedisSettings, TemporalSettings


class WorkerSettings(DatabaseSettings, RedisSettings, TemporalSettings):
    worker_max_activities: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Model calls and other activities at once in this process."""
    worker_max_cached_runs: Annotated[int, Field(ge=1)] = 2_000
    """Runs whose state stays in memory; past it each step replays its run's history."""
