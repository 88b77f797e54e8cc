"""The definition language: one model per `kind`, the same for YAML documents, API bodies and stored rows."""

from typing import Annotated, Literal

from pydantic import Field

from studio.contracts.agents import AgentDefinition, AgentSpec
from studio.contracts.base import Contract, Json, JsonObject, Name, Wire
from studio.contracts.steps import Limits, SequentialBlock, Step

StepList = Annotated[list[Step], Field(min_length=1, max_length=2000)]


class WorkflowDefinition(SequentialBlock, Contract):
    kind: Literal["workflow"] = "workflow"
    name: Name
    project_id: Name = "default"
    description: str = ""
    input_schema: JsonObject | None = None
    """JSON Schema (2020-12) that a run's input must satisfy."""
    pattern: Literal["sequential"]
    steps: StepList
    output: Json = None
    """An expression; without it the last finished step's output."""
    limits: Limits | None = None
    finally_: Annotated[StepList | None, Field(alias="finally")] = None
    """Always run at the end, after success, failure and cancel; `error` is in their scope, null after success."""


Definition = Annotated[AgentDefinition | WorkflowDefinition, Field(discriminator="kind")]
DefinitionKind = Literal["agent", "workflow"]


class ResolvedAgent(Wire):
    """An agent at the version that a run uses."""

    name: str
    version: int | None = None
    """None for an agent written inline."""
    spec: AgentSpec


class ResolvedDefinition(Wire):
    """What a run carries: the workflow and all that it names, so that nothing changes under way."""

    workflow: WorkflowDefinition
    agents: dict[str, ResolvedAgent] = {}
    """By the reference that a step uses."""
