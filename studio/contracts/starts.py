"""What the workflows that start runs exchange with their activities."""

from studio.contracts.base import Timestamp, Wire
from studio.contracts.definitions import ResolvedDefinition
from studio.contracts.runs import RunError, RunRequest


class PrepareRunRequest(Wire):
    """A schedule fired."""

    schedule_id: str
    run_id: str
    """Of the run to come, chosen beforehand, so that a repeated attempt finds its row."""
    scheduled_at: Timestamp | None = None
    """The moment that it is for."""


class PreparedRun(Wire):
    """The run whose row is written, or why there is none to start."""

    request: RunRequest | None = None
    definition: ResolvedDefinition | None = None
    pattern: str | None = None
    error: RunError | None = None
    """Set when the run has failed before it began; its row says so. With neither, the schedule is gone."""


class BatchStarted(Wire):
    """How far an attempt came: the runs up to this id are started."""

    after: str = ""


class StartBatchRequest(Wire):
    """Start every run of a batch, all of the same definition."""

    batch_id: str
    definition: ResolvedDefinition
