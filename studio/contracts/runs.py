"""Runs as the API shows them, and what travels into the workflow that carries one."""

from decimal import Decimal
from typing import Annotated, Any, Literal, Self, cast, get_args

from pydantic import (
    Field,
    ModelWrapValidatorHandler,
    SerializerFunctionWrapHandler,
    StringConstraints,
    model_serializer,
    model_validator,
)

from studio.contracts.base import Contract, Json, JsonObject, Timestamp, Wire
from studio.contracts.events import NewEvent
from studio.contracts.folding import SAME_AS, Folded, same_output
from studio.contracts.spans import SpanId, TraceId
from studio.contracts.waits import Limits

RunKind = Literal["workflow", "agent"]
RunStatus = Literal[
    "queued", "running", "paused", "waiting", "succeeded", "failed", "cancelled", "terminated", "timed_out"
]
RUN_STATUSES: tuple[RunStatus, ...] = get_args(RunStatus)
StepStatus = Literal["pending", "running", "waiting", "succeeded", "failed", "skipped", "cancelled"]
StepKind = Literal[
    "agent",
    "workflow",
    "transform",
    "wait",
    "approval",
    "fail",
    "sequential",
    "parallel",
    "conditional",
    "graph",
    "hierarchical",
    "loop",
]
FINAL_STATUSES: frozenset[RunStatus] = frozenset({"succeeded", "failed", "cancelled", "terminated", "timed_out"})


class RunUsage(Wire):
    """Sums over all calls, failed attempts that reported usage included."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    llm_calls: int = 0
    tool_calls: int = 0

    def plus(self, other: "RunUsage") -> "RunUsage":
        return RunUsage(
            prompt_tokens=self.prompt_tokens + other.prompt_tokens,
            completion_tokens=self.completion_tokens + other.completion_tokens,
            total_tokens=self.total_tokens + other.total_tokens,
            llm_calls=self.llm_calls + other.llm_calls,
            tool_calls=self.tool_calls + other.tool_calls,
        )


class RunError(Wire):
    """Why a run or a step failed. `type` is one of the definition language's error types."""

    type: str
    message: str
    step_id: str | None = None
    """The step's path."""
    also_failed: Annotated[list["RunError"], Field(exclude_if=lambda also: not also)] = []
    """Of a run: what failed afterwards, while its steps were undone or in `finally`. Left out when nothing did."""


class Retrying(Wire):
    """Why a step is tried again, and when: in the past while that attempt is under way."""

    error: RunError
    next_attempt_at: Timestamp


class StepRun(Wire):
    """One step of a run. `id` is its path, `research/answer`."""

    id: str
    kind: StepKind
    name: str | None = None
    agent: str | None = None
    """The agent's name; the step's id for one written inline."""
    status: StepStatus = "pending"
    attempt: int = 1
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    duration_ms: int | None = None
    output: Json = None
    error: RunError | None = None
    errors: list[RunError] | None = None
    """What failed inside a parallel block that collects."""
    waiting: JsonObject | None = None
    """While it waits: `for` is `timer` (`until` says when it ends), `signal` (with its `name`), `approval` (with
    `message`, `input`, `hash`, `allow_edit` and, if it may come to that, `escalate_to` and whether it is `escalated`)
    or `resolve` (with the `error` that parked it and the `actions` that resolve it)."""
    retrying: Retrying | None = None
    """Why the step is tried again, once an attempt has failed, until it ends."""
    usage: RunUsage = RunUsage()
    cost_usd: Decimal | None = None
    """Null when the step made no priced call."""
    cached: bool = False
    """Whether the output is that of an earlier call, as the step's `cache` allows."""
    handled: bool = False
    """Of a failed step: whether its `on_error` dealt with the failure."""
    resolved_by: str | None = None
    """Who said how it ends, when it was parked."""


RecordedSteps = Annotated[list[StepRun], Folded()]
"""A large output that was handed on from step to step is written once."""

CALL_KINDS: frozenset[StepKind] = frozenset({"agent", "workflow"})
"""Steps that somebody else carries out, so that they can be under way."""
BLOCK_KINDS: frozenset[StepKind] = frozenset({"sequential", "parallel", "conditional", "graph", "hierarchical", "loop"})
"""Steps that hold others and make no call themselves."""


def block_of(path: str) -> str:
    """The path of the step around the one at `path`, empty for a run's own steps: `refine` for `refine#3/critic`."""
    block = path.rpartition("/")[0]
    head, _, last = block.rpartition("/")
    last = last.partition("#")[0]
    return f"{head}/{last}" if head else last


def is_inside(path: str, block: str) -> bool:
    """Whether the step at `path` is inside the one at `block`: `refine#3/critic` is inside `refine`."""
    return path.startswith(block) and path[len(block) : len(block) + 1] in {"/", "#"}


class DefinitionRef(Wire):
    id: str
    name: str
    version: int


class TemporalRef(Wire):
    workflow_id: str
    run_id: str | None = None
    ui_url: str | None = None


class Stalled(Wire):
    """Of a run whose workflow task fails each time that it is tried: no worker can carry it on."""

    since: Timestamp
    attempts: int
    """Of the task that is tried now."""
    message: str


class Run(Wire):
    id: str
    kind: RunKind
    project_id: str
    workflow: DefinitionRef
    """The workflow, or the agent when `kind` is `agent`."""
    pattern: str | None
    status: RunStatus
    input: Json
    output: Json = None
    error: RunError | None = None
    steps: RecordedSteps = []
    usage: RunUsage = RunUsage()
    cost_usd: Decimal | None = None
    session_id: str | None = None
    user_id: str | None = None
    metadata: dict[str, str] = {}
    retry_count: int = 0
    replay_of: str | None = None
    replays: list[str] = []
    """Ids of the newest runs that replay this one, newest first; only where the run is read alone."""
    schedule_id: str | None = None
    """The schedule that started it."""
    batch_id: str | None = None
    """The batch that it is part of."""
    trace_id: TraceId
    created_at: Timestamp
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    stalled: Stalled | None = None
    """Null for a run that goes on; only where the run is read alone."""
    temporal: TemporalRef


ShortText = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")]
"""One line without control characters: it travels in HTTP headers."""


RunPriority = Annotated[int, Field(ge=1, le=5)]
"""Temporal's priority key: 1 goes first."""
DEFAULT_PRIORITY = 3
MAX_METADATA = 50
Metadata = Annotated[
    dict[ShortText, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=MAX_METADATA)
]


class StartRun(Contract):
    """Body of `POST …/runs`."""

    input: Json = None
    session_id: ShortText | None = None
    user_id: ShortText | None = None
    metadata: Metadata = {}
    version: Annotated[int, Field(ge=1)] | None = None
    """A stored version; default the newest."""
    priority: RunPriority = DEFAULT_PRIORITY
    """Where runs wait for a worker, those of a lower number come first."""


class RunContext(Wire):
    """What every activity of a run needs to label what it does."""

    run_id: str
    project_id: str
    workflow_name: str
    workflow_version: int
    trace_id: TraceId
    session_id: str | None = None
    user_id: str | None = None
    retry: int = 0
    """How often the run was retried before."""


class ParentStep(Wire):
    """The step of a run that a child workflow carries out."""

    path: str
    """As the root run names it; the child's steps are told under it."""
    depth: int = 1
    """How many workflows it is inside."""
    attempts_before: int = 0
    """Of the steps inside, when the parent tries the child again."""
    events: list[NewEvent] = []
    """What the parent had to tell the run's readers; goes first."""


class Resumption(Wire):
    """Where a run goes on: what an earlier execution of it, or the run that it replays, left."""

    steps: RecordedSteps = []
    """As they were recorded, in the order in which they were reached."""
    kept: list[str] = []
    """The paths whose recorded end counts, in the order in which they ended: they are not done again."""
    inputs: dict[str, Json] = {}
    """By step id or path, what a step gets instead of what its definition says."""
    usage: RunUsage = RunUsage()
    """So far, whatever becomes of the steps."""
    cost_usd: Decimal | None = None
    limits: Limits | None = None
    """Instead of the definition's."""
    signals: dict[str, list[Json]] = {}
    """Payloads that no step took yet, by the signal's name."""
    heard: list[str] = []
    """The keys of signals that had one."""


class OuterLimits(Wire):
    """Limits of a workflow around a child workflow: what the child uses counts for them, too."""

    path: str
    """Of the step that runs the workflow whose limits they are; empty for the run itself."""
    limits: Limits
    tokens: int = 0
    """Used outside the child, when it began or the limits were changed."""
    cost_usd: Decimal | None = None
    """Likewise."""


class RunRequest(Wire):
    """First argument of every run's workflow; the second is its `ResolvedDefinition`, the third what an earlier
    execution of the same run carries on, if there was one.
    """

    context: RunContext
    root_span_id: SpanId
    parent_span_id: SpanId | None = None
    """The caller's span, from `traceparent`."""
    input: Json = None
    metadata: dict[str, str] = {}
    parent: ParentStep | None = None
    """None for a run; a child workflow has the `context` of the run that it is part of."""
    priority: RunPriority = DEFAULT_PRIORITY
    resume: Resumption | None = None
    """Of a run that is retried or a replay; None for one that begins at its beginning."""
    outer: list[OuterLimits] = []
    """Of a child workflow, outermost first."""


class RunProgress(Wire):
    """Answer of the workflow's `progress` query."""

    status: RunStatus = "running"
    """`running`, `waiting` or `paused`."""
    steps: RecordedSteps = []
    usage: RunUsage = RunUsage()
    cost_usd: Decimal | None = None
    limits: Limits | None = None
    """As they are now."""
    signals: dict[str, list[Json]] = {}
    """Payloads that no step took yet, by the signal's name."""
    heard: list[str] = []
    """The keys of signals that had one."""


class RunEnd(Wire):
    """How a run ended. Its output, when it is large, is mostly that of a step, and then written once."""

    status: RunStatus
    output: Json = None
    error: RunError | None = None
    progress: RunProgress
    started_at: Timestamp
    ended_at: Timestamp

    @model_serializer(mode="wrap")
    def _fold(self, handler: SerializerFunctionWrapHandler) -> Any:
        first = same_output(self.output, self.progress.steps)
        if first is None:
            return handler(self)
        written: JsonObject = handler(self.model_copy(update={"output": None}))
        return {**written, SAME_AS: first}

    @model_validator(mode="wrap")
    @classmethod
    def _unfold(cls, written: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        end = handler(written)
        first = cast("JsonObject", written).get(SAME_AS) if isinstance(written, dict) else None
        if first is None:
            return end
        outputs = {step.id: step.output for step in end.progress.steps}
        if first not in outputs:
            raise ValueError(f"{SAME_AS}: there is no step {first!r}")
        return end.model_copy(update={"output": outputs[first]})


class ChildStatus(Wire):
    """What a child workflow tells its parent when it comes to wait, or goes on."""

    path: str
    """The step's, as the parent names it."""
    status: RunStatus
    """`running`, `waiting` or `paused`."""


class ChildResult(Wire):
    """What a child workflow hands its parent, also with its failure."""

    output: Json = None
    error: RunError | None = None
    steps: RecordedSteps = []
    """By their paths in the child."""
    usage: RunUsage = RunUsage()
    cost_usd: Decimal | None = None
    events: list[NewEvent] = []
    """What is still to be told to the run's readers."""
