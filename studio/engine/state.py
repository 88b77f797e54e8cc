"""What the core folds: one serialisable value, the events that change it and the commands that it answers with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Literal

from studio.contracts.agents import RetryPolicy
from studio.contracts.base import Json, JsonObject, Timestamp, Wire
from studio.contracts.durations import Duration
from studio.contracts.events import NewEvent
from studio.contracts.folding import Folded
from studio.contracts.interaction import Decision, Resolution
from studio.contracts.runs import OuterLimits, RecordedSteps, RunError, RunStatus, RunUsage, StepRun
from studio.contracts.steps import AgentUse
from studio.contracts.waits import Limits
from studio.engine.frames import Frame
from studio.engine.remembered import Remembered


class RunFacts(Wire):
    """What expressions see as `run`."""

    id: str
    session_id: str | None = None
    user_id: str | None = None
    metadata: dict[str, str] = {}


class Undo(Wire):
    """A step that succeeded and says what undoes it."""

    path: str
    node: str
    scope: dict[str, Json] = {}
    """What it saw of the blocks around it: `item`, `iteration` and the like."""
    seen: JsonObject | None = None
    """What expressions saw of it, once a block around it is tried again: its later attempts are not what is undone."""


class Pause(Wire):
    """Why no further step starts."""

    reason: Literal["requested", "limit_exceeded", "step_failed"]
    limit: str | None = None
    """The limit that is reached, `max_tokens, 5000`."""
    limit_of: str | None = None
    """The path of the step whose workflow has that limit, empty for the run; None when it is the paused one's own."""
    step_id: str | None = None
    """The parked step whose failure paused it."""


class Outcome(Wire):
    """How the run will end, once it is undone and `finally` is over."""

    status: RunStatus
    output: Json = None
    error: RunError | None = None


class RunState(Wire):
    """Everything about a run that a later turn needs.

    `steps` is by path in the order in which steps were reached; `frames` are the open ones; `rounds` says which round
    a loop is in, or ended with; `usage` and `cost_usd` are the steps' sums.
    """

    version: Literal[1] = 1
    run: RunFacts
    input: Json = None
    ended: bool = False
    steps: Annotated[dict[str, StepRun], Folded()] = {}
    frames: dict[str, Frame] = {}
    rounds: dict[str, int] = {}
    visits: dict[str, int] = {}
    """Of each node of a graph, by its first visit's path."""
    usage: RunUsage = RunUsage()
    cost_usd: Decimal | None = None
    output_bytes: int = 0
    """Of all outputs so far, those inside child workflows included: what `MAX_RUN_BYTES` limits."""
    calls: int = 0
    """Steps that were started, blocks not counted: what `max_steps` limits."""
    unreached: int = 0
    """Steps that never began and are recorded all the same: see `unreached.MAX_LISTED`."""
    limits: Limits | None = None
    """As the definition says."""
    outer: list[OuterLimits] = []
    """Of a child workflow: those around it, outermost first."""
    timers: dict[str, Timestamp] = {}
    """`KIND:PATH` of every open timer, with when it fires."""
    undo: list[Undo] = []
    """In the order in which the steps ended."""
    attempts_before: int = 0
    """Of a child workflow that its parent tries again: what its steps' attempts are counted on from."""
    started_at: Timestamp | None = None
    retry: int = 0
    """How often the run was retried before."""
    remembered: Remembered | None = None
    """Of a run that goes on where an earlier execution stopped."""
    paused: Pause | None = None
    pauses: int = 0
    """How often it was paused so far; those of a retry begin at `recalls.PAUSES_A_RETRY` for each."""
    held: list[str] = []
    """The paths of the steps that start, in this order, when the run is resumed, or when there is no more to recall."""
    parked: list[str] = []
    """The paths of the steps that wait for somebody to resolve them."""
    signals: dict[str, list[Json]] = {}
    """Payloads that no step waited for yet, by the signal's name."""
    heard: list[str] = []
    """The keys of the newest signals that had one, at most `waits.MAX_KEYS`."""
    phase: Literal["running", "undoing", "finally"] = "running"
    outcome: Outcome | None = None
    work: list[tuple[str, str]] = []
    """What a turn that became too long left to the next: what to do, and the path."""
    turn_cost: int = 0
    """Of the turn that led here, in the units of `studio.engine.turn.TURN_COST`."""


@dataclass(frozen=True)
class RunStarted:
    at: datetime


@dataclass(frozen=True)
class StepSucceeded:
    at: datetime
    path: str
    output: Json
    attempt: int = 1
    usage: RunUsage = field(default_factory=RunUsage)
    cost_usd: Decimal | None = None
    inner: Sequence[StepRun] = ()
    """The steps of a child workflow, by their paths in this run."""
    cached: bool = False
    """Whether the output is an earlier call's."""


@dataclass(frozen=True)
class StepFailed:
    at: datetime
    path: str
    error: RunError
    attempt: int = 1
    usage: RunUsage = field(default_factory=RunUsage)
    cost_usd: Decimal | None = None
    inner: Sequence[StepRun] = ()


@dataclass(frozen=True)
class StepCancelled:
    at: datetime
    path: str
    usage: RunUsage = field(default_factory=RunUsage)
    cost_usd: Decimal | None = None
    inner: Sequence[StepRun] = ()


@dataclass(frozen=True)
class CancelRequested:
    at: datetime


@dataclass(frozen=True)
class TimerFired:
    at: datetime
    id: str


@dataclass(frozen=True)
class Ticked:
    """Goes on with the work that the turn before left."""

    at: datetime


@dataclass(frozen=True)
class SignalReceived:
    at: datetime
    name: str
    payload: Json = None
    key: str | None = None
    """Of two of the same name with the same key the second changes nothing."""


@dataclass(frozen=True)
class ApprovalDecided:
    at: datetime
    path: str
    decision: Decision


@dataclass(frozen=True)
class StepResolved:
    at: datetime
    path: str
    resolution: Resolution


@dataclass(frozen=True)
class PauseRequested:
    at: datetime


@dataclass(frozen=True)
class ResumeRequested:
    at: datetime


@dataclass(frozen=True)
class LimitsChanged:
    """Only the fields that are set in `changes` change."""

    at: datetime
    changes: Limits


@dataclass(frozen=True)
class OuterLimitsChanged:
    """What a child workflow hears once limits around it were changed."""

    at: datetime
    outer: list[OuterLimits]


StepEnded = StepSucceeded | StepFailed | StepCancelled
Request = (
    CancelRequested
    | SignalReceived
    | ApprovalDecided
    | StepResolved
    | PauseRequested
    | ResumeRequested
    | LimitsChanged
    | OuterLimitsChanged
)
"""What somebody outside wants of the run."""
CoreEvent = RunStarted | StepEnded | TimerFired | Ticked | Request


class CacheUse(Wire):
    """Whether an earlier answer to the same will do."""

    ttl: Duration
    key: list[Json] = []
    """What the step says makes two calls the same, evaluated, alone in the list; empty for all that the model sees."""


class RunAgent(Wire):
    """Run an agent for the step at `path`; a `StepSucceeded`, `StepFailed` or `StepCancelled` must follow."""

    path: str
    name: str
    """The agent's, or its place for one written inline."""
    agent: AgentUse
    input: Json = None
    timeout: Duration | None = None
    retry: RetryPolicy | None = None
    output_schema: JsonObject | None = None
    """Asked of the model as structured output; goes before the agent's own."""
    is_choice: bool = False
    """Whether the answer decides which way the run goes: then objects in it that differ give none."""
    cache: CacheUse | None = None
    attempts_before: int = 0
    """Attempts of the step that an earlier attempt of a block around it made."""


class RunChild(Wire):
    """Run a workflow as a child for the step at `path`; answered like `RunAgent`."""

    path: str
    workflow: str
    """The reference that the step uses."""
    input: Json = None
    attempts_before: int = 0
    """Of the steps inside, in earlier attempts."""
    steps: RecordedSteps = []
    """What an earlier execution of the child left, by paths in the child; empty when it begins at its beginning."""
    inputs: dict[str, Json] = {}
    """By step id or path in the child, what a step gets instead of what its definition says."""


@dataclass(frozen=True)
class StartTimer:
    """A `TimerFired` must follow at `at` or, after a restart, as soon as possible; unless it is cancelled."""

    id: str
    at: datetime


@dataclass(frozen=True)
class CancelTimer:
    id: str


@dataclass(frozen=True)
class Tick:
    """The turn became too long: a `Ticked` must follow, after other work had its chance."""


@dataclass(frozen=True)
class CancelStep:
    """Stop the step at `path`; a `StepCancelled` (or its result, if that came first) must follow."""

    path: str


@dataclass(frozen=True)
class Publish:
    """Put an event on the run's stream."""

    event: NewEvent


@dataclass(frozen=True)
class EndRun:
    """The run is over. Nothing follows."""

    status: RunStatus
    output: Json = None
    error: RunError | None = None


Call = RunAgent | RunChild
Command = Call | CancelStep | StartTimer | CancelTimer | Tick | Publish | EndRun
