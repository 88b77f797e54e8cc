"""Settings of the worker."""

from typing import Annotated

from pydantic import Field

from studio.settings import DatabaseSettings, RedisSettings, TemporalSettings


class WorkerSettings(DatabaseSettings, RedisSettings, TemporalSettings):
    worker_max_activities: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Model calls and other activities at once in this process."""
    run_retention_days: Annotated[int, Field(ge=0, le=36_500)] = 90
    """Days after which an ended run is removed with everything that was kept of it; 0 keeps runs for ever."""
    worker_max_cached_runs: Annotated[int, Field(ge=1)] = 2_000
    """Runs whose state stays in memory; past it each step replays its run's history."""
