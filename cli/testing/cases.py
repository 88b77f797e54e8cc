"""What a test file says: each document is one case."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from studio.contracts.agents import CallErrorType
from studio.contracts.base import Contract, ErrorName, Json, JsonObject, Name, Timestamp
from studio.contracts.durations import Duration
from studio.contracts.events import EventType
from studio.contracts.interaction import ResolveAction
from studio.contracts.runs import RunStatus, ShortText, StepStatus
from studio.contracts.waits import SignalName
from studio.documents import Document
from studio.errors import FieldError
from studio.web.field_errors import field_errors

CLOCK = datetime(2026, 1, 1, tzinfo=UTC)
Money = Annotated[Decimal, Field(ge=0)]
Count = Annotated[int, Field(ge=0)]


class InjectedError(Contract):
    """What an attempt fails with. Whether it is tried again, its type and the step's `retry` say, as in production."""

    type: CallErrorType
    message: str = "A failure that the test injects."


class TokenCounts(Contract):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    total_tokens: Count | None = None
    """Default: the sum."""


class Reply(Contract):
    """What the model answers to one attempt: one of `text`, `output` and `error`."""

    text: str | None = None
    output: Json = None
    """What an agent with an `output_schema` answers."""
    error: InjectedError | None = None
    times: Annotated[int, Field(ge=1)] = 1
    """To so many attempts, one after the other."""
    after: Duration | None = None
    """How long the attempt takes, in virtual time."""
    finish_reason: Literal["stop", "length"] = "stop"
    """`length`: the text was cut at `max_tokens`."""
    usage: TokenCounts = TokenCounts()
    cost_usd: Money | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "Reply":
        if len({"text", "output", "error"} & self.model_fields_set) != 1:
            raise ValueError(
                "a reply has one of text, output and error (an answer with a field of such a name is written "
                "output: {…})"
            )
        return self


class SentSignal(Contract):
    name: SignalName
    payload: Json = None
    after: Duration = timedelta()
    """When it comes, counted from the start in virtual time."""


class GivenAnswer(Contract):
    """What a person says to an approval."""

    decision: Literal["approve", "reject"]
    comment: str | None = None
    edit: Json = None
    """What the input is changed to, where the approval allows it."""
    by: str = "test"
    after: Duration = timedelta()
    """How long the step waits for it, in virtual time."""


class GivenResolution(Contract):
    """What somebody says about a step that failed and waits for it."""

    action: ResolveAction
    output: Json = None
    """Of `done`."""
    by: str = "test"
    after: Duration = timedelta()
    """How long the step waits for it, in virtual time."""


class ExpectedError(Contract):
    type: ErrorName | None = None
    step_id: str | None = None
    message: str | None = None
    """A part of the message."""


class ExpectedStep(Contract):
    status: StepStatus | None = None
    output: Json = None
    attempt: Annotated[int | None, Field(ge=1)] = None


class ExpectedUsage(Contract):
    prompt_tokens: Count | None = None
    completion_tokens: Count | None = None
    total_tokens: Count | None = None
    llm_calls: Count | None = None
    tool_calls: Count | None = None


class ExpectedEvent(Contract):
    type: EventType
    step_id: str | None = None
    attempt: Annotated[int | None, Field(ge=1)] = None
    data: JsonObject = {}
    """Fields that the event's data must hold, among others."""


class Expect(Contract):
    """What must come; what is left out is not looked at, but for `status`."""

    status: RunStatus | None = None
    """Default: `succeeded`; with `error`, whatever it failed as."""
    output: Json = None
    error: ExpectedError | None = None
    path: list[str] | None = None
    """The steps in the order in which they started."""
    steps: dict[str, ExpectedStep] = {}
    """By path."""
    cost_usd: Money | None = None
    usage: ExpectedUsage | None = None
    events: list[ExpectedEvent] = []
    """These, in this order; others may be before, between and after."""


class Case(Contract):
    name: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    workflow: Name | None = None
    """Which one, when the file holds several."""
    input: Json = None
    session_id: ShortText | None = None
    user_id: ShortText | None = None
    metadata: dict[ShortText, str] = {}
    replies: dict[str, Json] = {}
    """By step path, in which `*` stands for any text: see `cli.testing.script`."""
    clock: Timestamp = CLOCK
    """When the run starts."""
    signals: list[SentSignal] = []
    decisions: dict[str, GivenAnswer] = {}
    """By step path, in which `*` stands for any text: given each time such a step waits."""
    resolves: dict[str, GivenResolution | list[GivenResolution]] = {}
    """By step path, in which `*` stands for any text: given each time such a step waits for it, a list one after
    the other."""
    pause_after: Duration | None = None
    resume_after: Duration | None = None
    cancel_after: Duration | None = None
    expect: Expect = Expect()


def read_case(document: Document) -> Case | list[FieldError]:
    """The case, or what is wrong with it; `loc` is relative to the document."""
    if not isinstance(document.value, dict):
        return [FieldError(loc=[], msg="a case is an object with a `name`", type="not_an_object")]
    try:
        return Case.model_validate(document.value)
    except ValidationError as error:
        return field_errors(error)
