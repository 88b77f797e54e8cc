"""The definition language: one model per `kind`, the same for YAML documents, API bodies and stored rows."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, StringConstraints, Tag, model_validator

from studio.contracts.base import Contract, Identifier, Json, JsonObject, Name, Wire
from studio.contracts.durations import Duration

ErrorType = Literal[
    "timeout",
    "upstream_error",
    "rate_limited",
    "cancelled",
    "expression_error",
    "prompt_error",
    "payload_too_large",
    "invalid_request",
    "dependency_unavailable",
    "internal_error",
]
"""What a failed step says in `error.type`."""
CallErrorType = Literal[
    "timeout",
    "upstream_error",
    "rate_limited",
    "prompt_error",
    "invalid_request",
    "dependency_unavailable",
    "internal_error",
]
"""What a call may fail with, and `retry.non_retryable` may name."""

Ref = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
"""A name or an id."""
Label = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")]
ModelRef = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class RetryPolicy(Contract):
    """When an attempt of a step's call fails: wait `initial_interval`, then `backoff` times longer each time."""

    max_attempts: Annotated[int, Field(ge=1, le=1000)] = 10
    initial_interval: Duration = timedelta(seconds=1)
    backoff: Annotated[float, Field(ge=1, le=100)] = 2.0
    max_interval: Duration = timedelta(seconds=30)
    non_retryable: list[CallErrorType] = []


class PromptRef(Contract):
    """A prompt of the prompt engine: a label's version (default `production`) or one version."""

    name: Ref
    label: Label | None = None
    version: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _one_selector(self) -> "PromptRef":
        if self.label is not None and self.version is not None:
            raise ValueError("give a label or a version, not both")
        return self


class AgentSpec(Contract):
    """What an agent does, without its name: also written inline in a step."""

    framework: Literal["native"] = "native"
    model: ModelRef = "default"
    params: JsonObject = {}
    """Passed to the model as they are: temperature, max_tokens, ..."""
    instructions: str | None = None
    """Jinja2 template of the system message, over the step's input."""
    prompt: PromptRef | None = None
    message: str | None = None
    """Jinja2 template of the user message; default: the input when it is text, else its `message`, else its JSON."""

    @model_validator(mode="after")
    def _one_source(self) -> "AgentSpec":
        if self.instructions is not None and self.prompt is not None:
            raise ValueError("give instructions or a prompt, not both")
        reserved = {"model", "messages", "stream", "stream_options"} & self.params.keys()
        if reserved:
            raise ValueError(f"params must not hold {', '.join(sorted(reserved))}: the agent sets them")
        return self


class AgentDefinition(AgentSpec):
    kind: Literal["agent"] = "agent"
    name: Name
    project_id: Name = "default"
    description: str = ""


def _when_tag(value: Any) -> str:
    return "<bool>" if isinstance(value, bool) else "<expression>"


class StepBase(Contract):
    id: Identifier
    name: str | None = None
    """Shown instead of the id in the terminal and in the Temporal UI."""
    when: Annotated[Annotated[bool, Tag("<bool>")] | Annotated[str, Tag("<expression>")], Discriminator(_when_tag)] = (
        True
    )
    """`${{ expression }}`; the step is skipped when it gives false."""


STEP_KEYS = ("agent", "transform", "sequential")
UNION_TAGS = frozenset({"<bool>", "<expression>", "<name>", "<inline>", *(f"<{key}>" for key in STEP_KEYS)})
"""Written so that an error's place can leave them out."""


def _one_key(value: Any) -> Any:
    if isinstance(value, dict):
        found = [key for key in STEP_KEYS if key in value]
        if len(found) != 1:
            given = f"found {' and '.join(found)}" if found else "found none"
            raise ValueError(f"exactly one of {', '.join(STEP_KEYS)} says what a step is: {given}")
    return value  # pyright: ignore[reportUnknownVariableType]


def _tag(value: Any) -> str:
    if isinstance(value, StepBase):
        key = next(key for key in STEP_KEYS if hasattr(value, key))
        return f"<{key}>"
    found = next((key for key in STEP_KEYS if isinstance(value, dict) and key in value), STEP_KEYS[0])
    return f"<{found}>"


def _agent_tag(value: Any) -> str:
    return "<name>" if isinstance(value, str) else "<inline>"


class AgentStep(StepBase):
    agent: Annotated[Annotated[Ref, Tag("<name>")] | Annotated[AgentSpec, Tag("<inline>")], Discriminator(_agent_tag)]
    """By name, by id, or written inline."""
    input: Json = None
    timeout: Duration | None = None
    """From the step's start to its end, all attempts and waits included."""
    retry: RetryPolicy | None = None


class TransformStep(StepBase):
    transform: Json
    """An expression, or any JSON with expressions inside."""


class SequentialBlock(Contract):
    steps: Annotated[list["Step"], Field(min_length=1, max_length=2000)]


class SequentialStep(StepBase):
    sequential: SequentialBlock


Step = Annotated[
    Annotated[AgentStep, Tag("<agent>")]
    | Annotated[TransformStep, Tag("<transform>")]
    | Annotated[SequentialStep, Tag("<sequential>")],
    Discriminator(_tag),
    BeforeValidator(_one_key),
]


class WorkflowDefinition(Contract):
    kind: Literal["workflow"] = "workflow"
    name: Name
    project_id: Name = "default"
    description: str = ""
    input_schema: JsonObject | None = None
    """JSON Schema (2020-12) that a run's input must satisfy."""
    pattern: Literal["sequential"]
    steps: Annotated[list[Step], Field(min_length=1, max_length=2000)]
    output: Json = None
    """An expression; without it the last finished step's output."""


Definition = Annotated[AgentDefinition | WorkflowDefinition, Field(discriminator="kind")]
DefinitionKind = Literal["agent", "workflow"]


class ResolvedAgent(Wire):
    """An agent at the version that a run uses."""

    name: str
    version: int | None = None
    """None for an agent written inline."""
    spec: AgentSpec


class ResolvedDefinition(Wire):
    """What a run carries: the workflow and every agent that it names, so that nothing changes under way."""

    workflow: WorkflowDefinition
    agents: dict[str, ResolvedAgent] = {}
    """By the reference that a step uses."""
