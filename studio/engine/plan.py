"""From a definition to a plan: the steps with their paths, and which block holds which."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from studio.contracts.definitions import (
    AgentStep,
    ResolvedAgent,
    SequentialStep,
    Step,
    TransformStep,
    WorkflowDefinition,
)
from studio.contracts.runs import StepKind

ROOT = ""
"""The path of the definition itself, the outermost block."""


@dataclass(frozen=True)
class PlanNode:
    """One step at its place."""

    path: str
    step: Step
    kind: StepKind
    block: str
    """The path of the block that holds it."""
    agent: str | None = None
    """The agent's name; the step's id for one written inline."""


@dataclass(frozen=True)
class Plan:
    definition: WorkflowDefinition
    nodes: dict[str, PlanNode] = field(default_factory=dict[str, PlanNode])
    """By path, in document order."""
    blocks: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """The paths inside each block, in order."""
    paths: dict[str, str] = field(default_factory=dict[str, str])
    """A step's path by its id; ids are unique within a definition."""


def compile_plan(definition: WorkflowDefinition, agents: Mapping[str, ResolvedAgent] | None = None) -> Plan:
    """Lay the steps out; `agents` are by the references that steps use.

    The definition must have passed `checks.check_workflow`.
    """
    plan = Plan(definition)
    _add_block(plan, ROOT, definition.steps, agents or {})
    return plan


def _add_block(plan: Plan, block: str, steps: list[Step], agents: Mapping[str, ResolvedAgent]) -> None:
    plan.blocks[block] = []
    for step in steps:
        path = f"{block}/{step.id}" if block else step.id
        plan.blocks[block].append(path)
        plan.nodes[path] = PlanNode(path, step, kind_of(step), block, _agent_name(step, agents))
        plan.paths[step.id] = path
        if isinstance(step, SequentialStep):
            _add_block(plan, path, step.sequential.steps, agents)


def _agent_name(step: Step, agents: Mapping[str, ResolvedAgent]) -> str | None:
    if not isinstance(step, AgentStep):
        return None
    if not isinstance(step.agent, str):
        return step.id
    return agents[step.agent].name if step.agent in agents else step.agent


def kind_of(step: Step) -> StepKind:
    match step:
        case AgentStep():
            return "agent"
        case TransformStep():
            return "transform"
        case SequentialStep():
            return "sequential"
        case _:
            assert_never(step)


def walk(steps: list[Step], loc: tuple[str | int, ...] = ("steps",)) -> Iterator[tuple[tuple[str | int, ...], Step]]:
    """Every step with its place in the document, outer before inner."""
    for index, step in enumerate(steps):
        place = (*loc, index)
        yield place, step
        if isinstance(step, SequentialStep):
            yield from walk(step.sequential.steps, (*place, "sequential", "steps"))
