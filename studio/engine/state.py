"""What the core folds: one serialisable value, the events that change it and the commands that it answers with."""

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal

from studio.contracts.base import Json, Wire
from studio.contracts.definitions import AgentStep
from studio.contracts.events import NewEvent
from studio.contracts.runs import RunError, RunProgress, RunStatus, RunUsage, StepRun


class RunFacts(Wire):
    """What expressions see as `run`."""

    id: str
    session_id: str | None = None
    user_id: str | None = None
    metadata: dict[str, str] = {}


class Fan(Wire):
    """The branches of an open parallel block."""

    items: list[Json] | None = None
    """What `for_each` gave; None for branches."""
    total: int
    needed: int | None
    """How many must succeed; None for all."""
    next: int = 0
    succeeded: int = 0
    over: int = 0
    errors: list[RunError] = []


class Frame(Wire):
    """An open step, or the run itself: what it still needs to know to go on."""

    node: str
    """Its id in the plan."""
    parent: str | None = None
    """The path of the step that is told when this one ends; None for the run."""
    group: str | None = None
    """Whose chain of steps it is going through, if it is."""
    position: int = 0
    """In the chain."""
    last: str | None = None
    """The path of the chain's step that finished last."""
    handling: bool = False
    """Whether the chain is one that catches its error."""
    open: list[str] = []
    """The paths of the steps inside that have not ended."""
    stopping: bool = False
    """Whether what is inside was told to stop."""
    cancelled: bool = False
    """Whether it was itself told to stop."""
    error: RunError | None = None
    """What it fails with once all inside has ended; also the error that it handles."""
    scope: dict[str, Json] = {}
    """What expressions here and further inside can name: `item` and `index`, `iteration` and `last`, `error`."""
    fan: Fan | None = None


class RunState(Wire):
    """Everything about a run that a later turn needs.

    `steps` is by path in the order in which steps were reached; `frames` are the open ones; `rounds` says which round
    a loop is in, or ended with; `usage` and `cost_usd` are the steps' sums.
    """

    version: Literal[1] = 1
    run: RunFacts
    input: Json = None
    ended: bool = False
    steps: dict[str, StepRun] = {}
    frames: dict[str, Frame] = {}
    rounds: dict[str, int] = {}
    usage: RunUsage = RunUsage()
    cost_usd: Decimal | None = None


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


@dataclass(frozen=True)
class StepFailed:
    at: datetime
    path: str
    error: RunError
    attempt: int = 1
    usage: RunUsage = field(default_factory=RunUsage)
    cost_usd: Decimal | None = None


@dataclass(frozen=True)
class StepCancelled:
    at: datetime
    path: str


@dataclass(frozen=True)
class CancelRequested:
    at: datetime


CoreEvent = RunStarted | StepSucceeded | StepFailed | StepCancelled | CancelRequested


@dataclass(frozen=True)
class RunAgent:
    """Run an agent for the step at `path`."""

    path: str
    step: AgentStep
    input: Json


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


Command = RunAgent | CancelStep | Publish | EndRun


def progress_of(state: RunState) -> RunProgress:
    """The steps so far with the sums of what they used."""
    return RunProgress(steps=list(state.steps.values()), usage=state.usage, cost_usd=state.cost_usd)
