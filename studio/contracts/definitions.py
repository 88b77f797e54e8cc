"""The definition language: one model per `kind`, the same for YAML documents, API bodies and stored rows."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, TypeAdapter

from studio.contracts.agents import AgentSpec
from studio.contracts.base import Contract, Json, JsonObject, Name, Wire
from studio.contracts.steps import (
    ConditionalBlock,
    GraphBlock,
    HierarchicalBlock,
    Limits,
    ParallelBlock,
    SequentialBlock,
    Step,
    StepList,
)

assert Step  # the forward reference in `StepList`
Pattern = Literal["sequential", "parallel", "conditional", "graph", "hierarchical"]


class WorkflowDefinition(Contract):
    """What the workflows of all patterns have in common; each of them is the pattern's block besides."""

    kind: Literal["workflow"] = "workflow"
    name: Name
    project_id: Name = "default"
    description: str = ""
    input_schema: JsonObject | None = None
    """JSON Schema (2020-12) that a run's input must satisfy."""
    pattern: Pattern
    output: Json = None
    """An expression; without it what the pattern gives."""
    limits: Limits | None = None
    finally_: Annotated[StepList | None, Field(alias="finally")] = None
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


def pattern_tag(value: Any) -> str | None:
    """The tag of the pattern's model, written like those of steps so that an error's place can leave it out."""
    pattern = value.get("pattern") if isinstance(value, dict) else getattr(value, "pattern", None)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return f"<{pattern}>" if isinstance(pattern, str) else None


AnyWorkflow = Annotated[
    Annotated[SequentialDefinition, Tag("<sequential>")]
    | Annotated[ParallelDefinition, Tag("<parallel>")]
    | Annotated[ConditionalDefinition, Tag("<conditional>")]
    | Annotated[GraphDefinition, Tag("<graph>")]
    | Annotated[HierarchicalDefinition, Tag("<hierarchical>")],
    Discriminator(pattern_tag),
]
WORKFLOW: TypeAdapter[AnyWorkflow] = TypeAdapter(AnyWorkflow)
"""Reads a workflow's document."""
DefinitionKind = Literal["agent", "workflow"]


class ResolvedAgent(Wire):
    """An agent at the version that a run uses."""

    name: str
    version: int | None = None
    """None for an agent written inline."""
    spec: AgentSpec


class ResolvedWorkflow(Wire):
    """A workflow at the version that a run uses."""

    version: int
    workflow: AnyWorkflow


class ResolvedDefinition(Wire):
    """What a run carries: the workflow and all that it names, so that nothing changes under way."""

    workflow: AnyWorkflow
    agents: dict[str, ResolvedAgent] = {}
    """By the reference that a step uses, here or in one of `workflows`."""
    workflows: dict[str, ResolvedWorkflow] = {}
    """By the reference that a step uses, here or in another of them."""
