"""What a run may wait for, and what it may take: moments, signals, a person's decision, limits."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from studio.contracts.base import Contract
from studio.contracts.durations import Duration

SIGNAL_PATTERN = r"^[A-Za-z_][A-Za-z0-9_.-]{0,62}$"
ADD_TO = "add escalation: {to: whom, timeout: 1h}"
SignalName = Annotated[str, StringConstraints(pattern=SIGNAL_PATTERN)]


def _wrong(problem: str, at: str, hint: str) -> PydanticCustomError:
    return PydanticCustomError("escalation", "{problem}", {"problem": problem, "at": at, "hint": hint})


class Wait(Contract):
    """For a time, until a moment (the output is null), or for a signal (the output is its payload)."""

    duration: Annotated[Duration | None, Field(alias="for")] = None
    until: str | None = None
    """An expression that gives an RFC 3339 time, or such a time."""
    signal: SignalName | None = None
    """A signal that came before the step waited counts too: the first one that no other step took."""
    timeout: Duration | None = None
    """Of a signal: the step fails with `timeout` when none came until then."""

    @model_validator(mode="after")
    def _one_form(self) -> "Wait":
        if sum(form is not None for form in (self.duration, self.until, self.signal)) != 1:
            raise ValueError("give for, until or signal, one of them")
        if self.timeout is not None and self.signal is None:
            raise ValueError("timeout goes with signal; for and until end by themselves")
        return self


class Escalation(Contract):
    """Others are asked as well: the decision may then be anybody's."""

    to: Annotated[str, Field(min_length=1, max_length=1000)]
    """Whom, as the inbox shows it: a team, an address; may hold expressions."""
    timeout: Duration | None = None
    """From the escalation on; without it the step waits until somebody decides."""
    on_timeout: Literal["reject", "approve"] = "reject"
    """What counts as decided when nobody answered then either."""


class Approval(Contract):
    message: Annotated[str, Field(min_length=1, max_length=10_000)]
    """What the person is asked; may hold expressions."""
    timeout: Duration | None = None
    on_timeout: Literal["reject", "approve", "escalate"] = "reject"
    """What counts as decided when nobody answered in time; or that others are asked."""
    escalation: Escalation | None = None
    allow_edit: bool = False
    """Whether the person may change the input that is shown."""

    @model_validator(mode="after")
    def _escalates(self) -> "Approval":
        if (self.on_timeout == "escalate") != (self.escalation is not None):
            at, hint = ("escalation", "write on_timeout: escalate") if self.escalation else ("on_timeout", ADD_TO)
            raise _wrong("on_timeout: escalate and escalation go together", at, hint)
        if self.escalation is not None and self.timeout is None:
            raise _wrong("without `timeout` it is never escalated", "escalation", "add timeout: 1h, for example")
        return self


class Limits(Contract):
    """What a run may take. `finally` and `compensate` steps are exempt, so that they always run."""

    timeout: Duration | None = None
    """Ends the run as `timed_out`."""
    max_cost_usd: Annotated[float | None, Field(gt=0)] = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_steps: Annotated[int | None, Field(ge=1)] = None
    """Steps that were started, blocks not counted."""
    on_exceeded: Literal["pause", "fail"] = "pause"
    """`pause`: no further step starts until the limit is raised and the run resumed. `fail`: the run fails with
    `limit_exceeded`. The timeout ends the run either way.
    """
