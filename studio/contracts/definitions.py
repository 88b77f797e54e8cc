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
    "limit_exceeded",
    "join_unmet",
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


class Catch(Contract):
    """Steps that run instead when the step failed; `error` is in their scope."""

    catch: Literal["all"] | Annotated[list[ErrorType], Field(min_length=1)]
    steps: Annotated[list["Step"], Field(min_length=1, max_length=2000)]


def _on_error_tag(value: Any) -> str:
    return "<policy>" if isinstance(value, str) else "<catches>"


class StepBase(Contract):
    id: Identifier
    name: str | None = None
    """Shown instead of the id in the terminal and in the Temporal UI."""
    when: Annotated[Annotated[bool, Tag("<bool>")] | Annotated[str, Tag("<expression>")], Discriminator(_when_tag)] = (
        True
    )
    """`${{ expression }}`; the step is skipped when it gives false."""
    on_error: Annotated[
        Annotated[Literal["fail", "continue"], Tag("<policy>")]
        | Annotated[list[Catch], Field(min_length=1, max_length=50), Tag("<catches>")],
        Discriminator(_on_error_tag),
    ] = "fail"
    """`continue`: go on with null as output. Catches: the first whose types match; its last output is the step's."""


STEP_KEYS = ("agent", "transform", "sequential", "parallel", "conditional", "loop")
UNION_TAGS = frozenset(
    {"<bool>", "<expression>", "<name>", "<inline>", "<policy>", "<catches>", *(f"<{key}>" for key in STEP_KEYS)}
)
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


StepList = Annotated[list["Step"], Field(min_length=1, max_length=2000)]


class SequentialBlock(Contract):
    steps: StepList


class SequentialStep(StepBase):
    sequential: SequentialBlock


class AtLeast(Contract):
    at_least: Annotated[int, Field(ge=1, le=10_000)]


class Quorum(Contract):
    quorum: Annotated[float, Field(gt=0, le=1)]
    """The share of the branches that must succeed, rounded up."""


def _join_tag(value: Any) -> str:
    if isinstance(value, str):
        return "<word>"
    is_quorum = "quorum" in value if isinstance(value, dict) else isinstance(value, Quorum)
    return "<quorum>" if is_quorum else "<at_least>"


Join = Annotated[
    Annotated[Literal["all", "any"], Tag("<word>")]
    | Annotated[AtLeast, Tag("<at_least>")]
    | Annotated[Quorum, Tag("<quorum>")],
    Discriminator(_join_tag),
]


class ParallelBlock(Contract):
    """Branches side by side, or one step for each item of a list.

    `on_branch_error`: `fail` ends the block with the first branch that fails; `collect` goes on and puts null in its
    place. Without it `all` fails at once and the other joins only when they can no longer be met.
    """

    branches: StepList | None = None
    for_each: Json = None
    """An expression that gives a list, or a list."""
    do: "Step | None" = None
    join: Join = "all"
    max_concurrency: Annotated[int, Field(ge=1, le=500)] = 500
    """Temporal takes about 2,000 pending activities a workflow."""
    on_branch_error: Literal["fail", "collect"] | None = None

    @model_validator(mode="after")
    def _one_form(self) -> "ParallelBlock":
        each = {"for_each", "do"} & self.model_fields_set
        if self.branches is not None and each:
            raise ValueError("give branches, or for_each with do, not both")
        if self.branches is None and len(each) < 2:
            raise ValueError("give branches, or for_each with do")
        return self


class ParallelStep(StepBase):
    parallel: ParallelBlock


class Case(Contract):
    when: Annotated[Annotated[bool, Tag("<bool>")] | Annotated[str, Tag("<expression>")], Discriminator(_when_tag)]
    steps: StepList


class ConditionalBlock(Contract):
    """The first case whose `when` is true; else `else`; else nothing, and the output is null."""

    cases: Annotated[list[Case], Field(min_length=1, max_length=200)]
    otherwise: Annotated[StepList | None, Field(alias="else")] = None


class ConditionalStep(StepBase):
    conditional: ConditionalBlock


class LoopBlock(Contract):
    """Rounds of `do`. `while` is asked before a round, `until` after one; going past `max_iterations` fails."""

    do: StepList
    until: str | None = None
    condition: Annotated[str | None, Field(alias="while")] = None
    max_iterations: Annotated[int, Field(ge=1, le=100_000)] = 100

    @model_validator(mode="after")
    def _one_exit(self) -> "LoopBlock":
        if (self.until is None) == (self.condition is None):
            raise ValueError("give until or while, one of them")
        return self


class LoopStep(StepBase):
    loop: LoopBlock


Step = Annotated[
    Annotated[AgentStep, Tag("<agent>")]
    | Annotated[TransformStep, Tag("<transform>")]
    | Annotated[SequentialStep, Tag("<sequential>")]
    | Annotated[ParallelStep, Tag("<parallel>")]
    | Annotated[ConditionalStep, Tag("<conditional>")]
    | Annotated[LoopStep, Tag("<loop>")],
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
