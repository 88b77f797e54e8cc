"""Bodies and answers of `POST /runs/{id}/retry` and `POST /runs/{id}/replay`."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StringConstraints, Tag

from studio.contracts.base import Contract, Json, Wire
from studio.contracts.runs import ShortText, StepKind, StepStatus
from studio.contracts.waits import Limits

StepName = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
"""A step's id, which means all its rounds and items, or its path."""


def _version_tag(value: Any) -> str:
    return "<word>" if isinstance(value, str) else "<number>"


OtherVersion = Annotated[
    Annotated[Literal["latest"], Tag("<word>")] | Annotated[int, Field(ge=1), Tag("<number>")],
    Discriminator(_version_tag),
]
"""A stored version of the workflow or agent, or its newest one."""


class RetryRun(Contract):
    """How a run goes on. Without anything, where it stopped."""

    from_step: StepName | None = None
    """This step, and all that comes after it, runs again."""
    inputs: dict[StepName, Json] = {}
    """By step, the input that it gets instead of what its definition says: it runs again."""
    plan_only: bool = False
    """Only say what would run again."""
    limits: Limits | None = None
    """Only the fields that are set change; the timeout counts from the retry."""
    version: OtherVersion | None = None
    """Go on with this version instead of the one that the run had: what means the same in it is kept."""


class ReplayRun(Contract):
    """What is different in the new run. Without anything it is the same run once more, from its beginning."""

    input: Json = None
    """Instead of the other run's. Then nothing of that is kept but what comes before `from_step`."""
    from_step: StepName | None = None
    """What comes before keeps its recorded output."""
    overrides: dict[StepName, Json] = {}
    """By step, the output that it has without running. Only what depends on it runs, with the same input."""
    version: OtherVersion | None = None
    """Instead of the one that the other run had: of what would be kept, only what means the same in it is."""
    session_id: ShortText | None = None
    user_id: ShortText | None = None
    metadata: (
        Annotated[dict[ShortText, Annotated[str, StringConstraints(max_length=1024)]], Field(max_length=50)] | None
    ) = None
    """The other run's, like session and user, where left out."""


class StepAgain(Wire):
    """A step that runs again; `status` is how it ended."""

    step_id: str
    """Its path."""
    kind: StepKind
    status: StepStatus
    why: str


class RetryPlan(Wire):
    """What a retry would do. What was never reached is in neither list."""

    again: list[StepAgain]
    """In the order in which they were reached, blocks left out."""
    kept: list[str]
    """Paths of the steps, blocks among them, that keep what they ended with, in the order in which they ended."""
    dropped: list[str] = []
    """Paths of recorded steps for which another `version` has no place: what they did is not used any more."""
