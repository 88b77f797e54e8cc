"""What people and outside systems say to a run that goes on."""

from typing import Annotated, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from studio.contracts.base import Contract, Json, JsonObject, Timestamp, Wire


class Decision(Wire):
    """A person's answer to an approval."""

    decision: Literal["approve", "reject"]
    comment: str | None = None
    edit: list[Json] = []
    """What the input was changed to, alone in the list; empty when it was left as it is."""
    by: str | None = None
    """`X-Studio-Actor`; None when nobody answered in time."""


class DecideApproval(Contract):
    """Body of `POST /runs/{id}/approvals/{step_id}`."""

    decision: Literal["approve", "reject"]
    comment: Annotated[str | None, Field(max_length=10_000)] = None
    edit: Json = None
    """A changed input, where the approval allows it; null is no edit."""
    hash: str | None = None
    """Of what was shown (`GET …/approvals`): answered with 409 when the step now shows something else."""


class PendingApproval(Wire):
    """A step that waits for a person."""

    run_id: str
    step_id: str
    project_id: str
    workflow: str
    """The name of the run's workflow."""
    waiting_since: Timestamp
    message: str
    input: Json = None
    hash: str
    """SHA-256 of message and input: what exactly is decided about."""
    allow_edit: bool = False
    until: Timestamp | None = None
    """When `on_timeout` decides, or escalates."""
    escalated: bool = False
    """Whether others are asked, too, since nobody answered in time."""
    escalate_to: str | None = None
    """Whom the escalation asks."""


ResolveAction = Literal["retry", "skip", "done", "fail"]


class ResolveStep(Contract):
    """Body of `POST /runs/{id}/steps/{step_id}/resolve`."""

    action: ResolveAction
    """`retry`: its next attempt. `skip`: go on without it. `done`: it succeeded, with `output`. `fail`: it fails."""
    output: Json = None
    """Of a step that is `done`."""

    @model_validator(mode="after")
    def _output_of_done(self) -> "ResolveStep":
        if "output" in self.model_fields_set and self.action != "done":
            context = {"at": "output", "hint": "leave it out, or write action: done"}
            raise PydanticCustomError("unused_output", "an output goes with the action done alone", context)
        return self


class Resolution(Wire):
    """What somebody says about a parked step."""

    action: ResolveAction
    output: Json = None
    """Of `done`."""
    by: str
    """`X-Studio-Actor`."""


class ResolveRequest(Wire):
    """Argument of a run's `resolve_step` update."""

    path: str
    resolution: Resolution


class WaitingApproval(Wire):
    """The same, as the workflow that it belongs to tells of it."""

    step_id: str
    waiting: JsonObject
    """The step's `waiting`."""
    since: Timestamp


class DecideRequest(Wire):
    """Argument of a run's `decide_approval` update."""

    path: str
    decision: Decision
    hash: str | None = None


class ApprovalOutcome(Wire):
    """What was decided; also the answer to a second or late decision."""

    decision: Literal["approve", "reject"]
    comment: str | None = None
    by: str | None = None
    accepted: bool
    """Whether this request decided it."""
