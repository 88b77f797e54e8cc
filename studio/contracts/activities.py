"""What activities take and give: one model in, one model out; new fields get defaults."""

from decimal import Decimal

from studio.contracts.agents import PromptRef
from studio.contracts.base import Json, JsonObject, Timestamp, Wire
from studio.contracts.durations import Duration
from studio.contracts.events import NewEvent
from studio.contracts.interaction import WaitingApproval
from studio.contracts.runs import RunContext, RunEnd, RunStatus, RunUsage
from studio.contracts.spans import SpanId

WORKER_SHUTDOWN = "WorkerShutdown"
"""The error type of a call whose worker shut down under it; Temporal's SDK uses the same."""


class FailureDetails(Wire):
    """What a step's attempts have used so far: travels with a failed activity's error and in its heartbeats."""

    attempt: int = 1
    usage: RunUsage = RunUsage()
    cost_usd: Decimal | None = None


class StepContext(Wire):
    """The step on whose behalf an activity works. Whose run it is, the activity's workflow id says."""

    path: str
    agent: str
    attempts_before: int = 0
    """Attempts of earlier calls of the step that failed: the step's attempts are counted through all its calls."""
    events: list[NewEvent] = []
    """What the workflow has to tell the run's readers: published before anything else."""
    taken_over: FailureDetails | None = None
    """What the step's attempts had used when the worker that made the last of them shut down."""


class Opening(Wire):
    """The first messages of an agent without a stored prompt: Jinja2 templates over the step's input."""

    instructions: str | None = None
    message: str | None = None
    input: Json = None


class RenderPromptRequest(Wire):
    step: StepContext
    prompt: PromptRef
    message: str | None = None
    input: Json = None


class RenderPromptResult(Wire):
    length: int
    """Of the conversation, the rendered messages included."""
    prompt: str
    """`name@version`, for the spans of the calls that use it."""
    attempt: int
    """The step's attempt that succeeded."""


class AnswerCaching(Wire):
    """Whether an earlier answer to the same will do."""

    key: Json
    """What makes two calls of a project the same."""
    ttl: Duration
    output_schema: JsonObject | None = None
    """Only an answer that fits is kept."""


class CompletionRequest(Wire):
    step: StepContext
    length: int = 0
    """How many messages of the conversation the model sees."""
    opening: Opening | None = None
    """Given when the conversation is still empty."""
    model: str
    params: JsonObject = {}
    prompt: str | None = None
    cache: AnswerCaching | None = None


class CompletionResult(Wire):
    length: int
    text: str
    finish_reason: str | None = None
    attempt: int
    usage: RunUsage
    cost_usd: Decimal | None = None
    cached: bool = False


class WorkflowView(Wire):
    """What one workflow of a run, the run itself or a child, looks like from outside: whole each time it changes."""

    at: Timestamp
    """An older one never takes the place of a newer one."""
    status: RunStatus
    """`running`, `waiting` or `paused`."""
    approvals: list[WaitingApproval] = []
    """Its own that wait, by the root run's paths."""


class PublishEventsRequest(Wire):
    """What a run that comes to rest has to tell its readers."""

    events: list[NewEvent]
    view: WorkflowView | None = None
    """When it is another one than was told last."""


class RecordEndRequest(Wire):
    """The last word of a run."""

    run: RunContext
    root_span_id: SpanId
    parent_span_id: SpanId | None = None
    input: Json = None
    metadata: dict[str, str] = {}
    end: RunEnd
    events: list[NewEvent] = []
