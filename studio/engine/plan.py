"""From a definition to a plan: every step by its id, and the chains and branches of steps that blocks hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import assert_never

from studio.contracts.definitions import (
    AgentStep,
    ConditionalStep,
    LoopStep,
    ParallelStep,
    ResolvedAgent,
    SequentialStep,
    Step,
    TransformStep,
    WorkflowDefinition,
)
from studio.contracts.runs import StepKind

ROOT = ""
"""The definition itself, the outermost block; also its path."""
Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Group:
    """Steps that a step, or the definition, holds together: a chain, or the branches of a parallel block."""

    key: str
    """Unique in the plan: the holder's id, `ID?0` and `ID?else` for cases, `ID!0` for what catches its errors."""
    steps: list[Step]
    loc: Loc
    """Relative to the step."""


@dataclass(frozen=True)
class PlanNode:
    """One step at its place."""

    step: Step
    kind: StepKind
    owner: str
    """The id of the step that holds it; `ROOT` for the definition's own steps."""
    group: str
    agent: str | None = None
    """The agent's name; the step's id for one written inline."""

    @property
    def is_handler(self) -> bool:
        return "!" in self.group


@dataclass(frozen=True)
class Plan:
    definition: WorkflowDefinition
    nodes: dict[str, PlanNode] = field(default_factory=dict[str, PlanNode])
    """By step id (unique within a definition), in document order."""
    groups: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """The step ids of each group, in order."""


def compile_plan(definition: WorkflowDefinition, agents: Mapping[str, ResolvedAgent] | None = None) -> Plan:
    """Lay the steps out; `agents` are by the references that steps use.

    The definition must have passed `checks.check_workflow`.
    """
    plan = Plan(definition)
    _add(plan, ROOT, Group(ROOT, definition.steps, ("steps",)), agents or {})
    return plan


def _add(plan: Plan, owner: str, group: Group, agents: Mapping[str, ResolvedAgent]) -> None:
    plan.groups[group.key] = [step.id for step in group.steps]
    for step in group.steps:
        plan.nodes[step.id] = PlanNode(step, kind_of(step), owner, group.key, _agent_name(step, agents))
        for inner in groups_of(step):
            _add(plan, step.id, inner, agents)


def groups_of(step: Step) -> list[Group]:
    """What a step holds, in document order."""
    groups: list[Group] = []
    match step:
        case SequentialStep():
            groups.append(Group(step.id, step.sequential.steps, ("sequential", "steps")))
        case ParallelStep():
            if step.parallel.branches is not None:
                groups.append(Group(step.id, step.parallel.branches, ("parallel", "branches")))
            elif step.parallel.do is not None:
                groups.append(Group(step.id, [step.parallel.do], ("parallel", "do")))
        case ConditionalStep():
            block = step.conditional
            for index, case in enumerate(block.cases):
                groups.append(Group(f"{step.id}?{index}", case.steps, ("conditional", "cases", index, "steps")))
            if block.otherwise is not None:
                groups.append(Group(f"{step.id}?else", block.otherwise, ("conditional", "else")))
        case LoopStep():
            groups.append(Group(step.id, step.loop.do, ("loop", "do")))
        case AgentStep() | TransformStep():
            pass
        case _:
            assert_never(step)
    if not isinstance(step.on_error, str):
        for index, clause in enumerate(step.on_error):
            groups.append(Group(f"{step.id}!{index}", clause.steps, ("on_error", index, "steps")))
    return groups


def places(group: Group) -> Iterator[tuple[Loc, Step]]:
    """Each step of a group with its place relative to the holder; `do` of a parallel block is no list."""
    for index, step in enumerate(group.steps):
        yield (group.loc if group.loc == ("parallel", "do") else (*group.loc, index)), step


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
        case ParallelStep():
            return "parallel"
        case ConditionalStep():
            return "conditional"
        case LoopStep():
            return "loop"
        case _:
            assert_never(step)


def walk(steps: list[Step], loc: Loc = ("steps",)) -> Iterator[tuple[Loc, Step]]:
    """Every step with its place in the document, outer before inner."""
    yield from _walk(Group(ROOT, steps, loc), ())


def _walk(group: Group, outer: Loc) -> Iterator[tuple[Loc, Step]]:
    for place, step in places(group):
        yield (*outer, *place), step
        for inner in groups_of(step):
            yield from _walk(inner, (*outer, *place))
