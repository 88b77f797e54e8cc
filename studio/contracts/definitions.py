"""The definition language: one model per `kind`, the same for YAML documents, API bodies and stored rows."""

import difflib
from typing import Annotated, Any, Literal, cast

from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter
from pydantic_core import PydanticCustomError

from studio.contracts.agents import AgentDefinition, AgentSpec
from studio.contracts.base import Contract, Json, JsonObject, Name, Wire
from studio.contracts.schedules import ScheduleDefinition
from studio.contracts.steps import (
    ConditionalBlock,
    GraphBlock,
    HierarchicalBlock,
    ParallelBlock,
    SequentialBlock,
    Step,
)
from studio.contracts.waits import Limits

Pattern = Literal["sequential", "parallel", "conditional", "graph", "hierarchical"]
PATTERNS: tuple[Pattern, ...] = ("sequential", "parallel", "conditional", "graph", "hierarchical")


def _known_pattern(value: Any) -> Any:
    """Without it a wrong pattern would be told as what the fields of another one lack."""
    if not isinstance(value, dict):
        return value
    pattern = cast("JsonObject", value).get("pattern")
    if pattern in PATTERNS:
        return cast("JsonObject", value)
    one_of = f"write one of {', '.join(PATTERNS)}"
    if pattern is None:
        misspelt = difflib.get_close_matches("pattern", cast("JsonObject", value), 1)
        at, also = (misspelt[0], f": found {misspelt[0]!r}") if misspelt else ("pattern", "")
        context = {"problem": f"`pattern` is missing, which says how the steps run{also}", "at": at, "hint": one_of}
        raise PydanticCustomError("unknown_pattern", "{problem}", context)
    close = difflib.get_close_matches(str(pattern), PATTERNS, 1)
    hint = f"did you mean {close[0]!r}?" if close else one_of
    raise PydanticCustomError("unknown_pattern", "this is no pattern", {"at": "pattern", "hint": hint})


class WorkflowDefinition(Contract):
    """What all workflows have; each has a `pattern` too, which says what block's fields come beside these."""

    kind: Literal["workflow"] = "workflow"
    name: Name
    project_id: Name = "default"
    description: str = ""
    input_schema: JsonObject | None = None
    """JSON Schema (2020-12) that a run's input must satisfy."""
    output: Json = None
    """An expression; without it what the pattern gives: a sequence its last finished step's output, a parallel or
    graph a list or map, a conditional that of the case it took, a team the manager's answer."""
    limits: Limits | None = None
    on_failure: Literal["fail", "pause"] = "fail"
    """What a step's failure that nothing around it deals with means. `pause`: the step waits until somebody retries,
    skips, finishes or fails it, and no further step starts meanwhile."""
    finally_: Annotated[list[Step] | None, Field(alias="finally", min_length=1, max_length=2000)] = None
    """Always run at the end, after success, failure and cancel; `error` is in their scope, null after success."""


class SequentialDefinition(WorkflowDefinition, SequentialBlock):
    pattern: Literal["sequential"]


class ParallelDefinition(WorkflowDefinition, ParallelBlock):
    pattern: Literal["parallel"]


class ConditionalDefinition(WorkflowDefinition, ConditionalBlock):
    pattern: Literal["conditional"]


class GraphDefinition(WorkflowDefinition, GraphBlock):
    pattern: Literal["graph"]


class HierarchicalDefinition(WorkflowDefinition, HierarchicalBlock):
    pattern: Literal["hierarchical"]


def _pattern_tag(value: Any) -> str:
    held = cast("JsonObject", value).get("pattern") if isinstance(value, dict) else getattr(value, "pattern", None)
    return f"<{held}>" if held in PATTERNS else "<sequential>"


AnyWorkflow = Annotated[
    Annotated[SequentialDefinition, Tag("<sequential>")]
    | Annotated[ParallelDefinition, Tag("<parallel>")]
    | Annotated[ConditionalDefinition, Tag("<conditional>")]
    | Annotated[GraphDefinition, Tag("<graph>")]
    | Annotated[HierarchicalDefinition, Tag("<hierarchical>")],
    Discriminator(_pattern_tag),
    BeforeValidator(_known_pattern),
]
WORKFLOW: TypeAdapter[AnyWorkflow] = TypeAdapter(AnyWorkflow)
DefinitionKind = Literal["agent", "workflow", "schedule"]
AnyDefinition = AgentDefinition | AnyWorkflow | ScheduleDefinition
SHAPES: dict[DefinitionKind, Any] = {
    "agent": AgentDefinition,
    "workflow": AnyWorkflow,
    "schedule": ScheduleDefinition,
}
"""What a document of each kind is read as, for messages about it."""


def parse_workflow(document: Json) -> AnyWorkflow:
    """Raises `pydantic.ValidationError`."""
    return WORKFLOW.validate_python(document)


def parse_definition(kind: DefinitionKind, document: Json) -> AnyDefinition:
    """Raises `pydantic.ValidationError`."""
    match kind:
        case "agent":
            return AgentDefinition.model_validate(document)
        case "schedule":
            return ScheduleDefinition.model_validate(document)
        case "workflow":
            return parse_workflow(document)


class ResolvedAgent(Wire):
    """An agent at the version that a run uses."""

    name: str
    version: int | None = None
    """None for an agent written inline."""
    spec: AgentSpec


class ResolvedWorkflow(Wire):
    """A workflow that a step runs as a child, at the version that a run uses."""

    name: str
    version: int
    workflow: AnyWorkflow


class ResolvedDefinition(Wire):
    """What a run carries: the workflow and all that it and its child workflows name, so that nothing changes under way.

    `agents` and `workflows` are by the reference that a step uses. Both are flat: a child finds there what it names, so
    that a workflow may run itself.
    """

    workflow: AnyWorkflow
    agents: dict[str, ResolvedAgent] = {}
    workflows: dict[str, ResolvedWorkflow] = {}
