"""Settings of the worker."""

from typing import Annotated, Literal

from pydantic import Field

from studio.settings import DatabaseSettings, RedisSettings, TemporalSettings, WorkerProcessSettings

Share = Annotated[float, Field(gt=0, le=1)]


class WorkerSettings(DatabaseSettings, RedisSettings, TemporalSettings, WorkerProcessSettings):
    worker_tuner: Literal["fixed", "resource"] = "fixed"
    """`resource` takes on fewer activities than it may while the machine is busier than the targets."""
    worker_max_activities: Annotated[int, Field(ge=1, le=10_000)] = 200
    """Model calls and other activities at once in this process."""
    worker_max_workflow_tasks: Annotated[int, Field(ge=2, le=10_000)] = 20
    """Runs that are taken a step further at once; a run that waits takes none. They share the interpreter: more at once
    are not done sooner, but each takes longer, and one that takes six seconds is held for stuck."""
    run_retention_days: Annotated[int, Field(ge=0, le=36_500)] = 90
    """Days after which an ended run is removed with everything that was kept of it; 0 keeps runs for ever."""
    worker_max_cached_runs: Annotated[int, Field(ge=1)] = 2_000
    """Runs whose state stays in memory; past it each step replays its run's history."""
    worker_max_pollers: Annotated[int, Field(ge=5, le=1_000)] = 100
    """Open requests for work of each kind at most; Temporal says how many are worth it."""
    worker_target_memory: Share = 0.8
    """Of the machine, for the tuner `resource`."""
    worker_target_cpu: Share = 0.9
