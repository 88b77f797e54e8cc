"""From a definition to a plan: every step by its id, and the chains, branches and nodes that blocks hold."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from studio.contracts.agents import AgentSpec
from studio.contracts.definitions import AnyWorkflow, ResolvedAgent
from studio.contracts.runs import StepKind
from studio.contracts.steps import (
    STEP_KEYS,
    AgentStep,
    AgentUse,
    Block,
    ConditionalBlock,
    Edge,
    GraphBlock,
    HierarchicalBlock,
    LoopBlock,
    NodeJoin,
    ParallelBlock,
    SequentialBlock,
    Step,
    StepBase,
    block_in,
)
from studio.engine.cycles import strongly_connected

ROOT = ""
"""The definition itself, the outermost block; also its path."""
FINALLY = "~finally"
"""The group of the definition's `finally` steps."""
Loc = tuple[str | int, ...]


@dataclass(frozen=True)
class Group:
    """Steps that a block, a step or the definition holds together: a chain, or branches, or nodes."""

    key: str
    """Unique in the plan: the holder's id; `ID?0`, `ID?else`, `ID?=NAME` for what a conditional chooses from;
    `ID!0` for what catches its errors; `ID~` for what undoes it; `FINALLY`."""
    steps: list[Step]
    loc: Loc
    """Relative to the holder."""
    is_list: bool = True
    """Whether `loc` is a list's place rather than the one step's."""


@dataclass(frozen=True)
class PlanNode:
    """One step at its place."""

    step: StepBase
    kind: StepKind
    owner: str
    """The id of the step that holds it; `ROOT` for the definition's own steps."""
    group: str
    body: Block | None = None
    """What it holds, if it is a block."""
    agent: str | None = None
    """The agent's name; the step's id for one written inline."""

    @property
    def beside_rounds(self) -> bool:
        """Whether it is reached once its holder's own work is over: its path then names no round of the holder."""
        return "!" in self.group or "~" in self.group


@dataclass(frozen=True)
class Net:
    """A graph: its edges by their place in the definition, where they lead, and what is in cycles."""

    nodes: list[str]
    order: dict[str, int]
    """Of each node, its place in `nodes`."""
    joins: dict[str, NodeJoin]
    edges: list[Edge]
    into: dict[str, list[int]]
    out: dict[str, list[int]]
    components: list[list[str]]
    """Nodes that are in cycles with each other, each set before those that it leads to."""
    component: dict[str, int]
    """Of each node, its place in `components`."""
    outer: dict[str, int]
    """How many edges lead into a node from other components; none that would be zero."""


@dataclass(frozen=True)
class Plan:
    definition: AnyWorkflow
    nodes: dict[str, PlanNode] = field(default_factory=dict[str, PlanNode])
    """By step id (unique within a definition), in document order; `ROOT` is the definition itself. The router of a
    conditional block is `ID.router`, manager and workers of a hierarchical one `ID.manager` and `ID.worker.NAME`."""
    groups: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    """The step ids of each group, in order."""
    nets: dict[str, Net] = field(default_factory=dict[str, Net])
    """Of each graph, by its id."""

    def is_in_cycle(self, step_id: str) -> bool:
        """Whether the step is a node of a graph that can be visited again."""
        node = self.nodes[step_id]
        net = self.nets.get(node.owner) if node.group == node.owner else None
        if net is None:
            return False
        is_with_others = len(net.components[net.component[step_id]]) > 1
        return is_with_others or any(net.edges[place].target == step_id for place in net.out[step_id])


def compile_plan(definition: AnyWorkflow, agents: Mapping[str, ResolvedAgent] | None = None) -> Plan:
    """Lay the steps out; `agents` are by the references that steps use.

    The definition must have passed `checks.check_workflow`.
    """
    plan = Plan(definition)
    root = StepBase.model_construct(id=ROOT)
    plan.nodes[ROOT] = PlanNode(root, definition.pattern, ROOT, ROOT, body=definition)
    _add_block(plan, ROOT, definition, agents or {})
    if definition.finally_ is not None:
        _add(plan, ROOT, Group(FINALLY, definition.finally_, ("finally",)), agents or {})
    return plan


def _add(plan: Plan, owner: str, group: Group, agents: Mapping[str, ResolvedAgent]) -> None:
    plan.groups[group.key] = [step.id for step in group.steps]
    for step in group.steps:
        block = block_in(step)
        agent = _agent_name(step.agent, step.id, agents) if isinstance(step, AgentStep) else None
        plan.nodes[step.id] = PlanNode(step, kind_of(step), owner, group.key, block, agent)
        if block is not None:
            _add_block(plan, step.id, block, agents)
        for inner in step_groups(step):
            _add(plan, step.id, inner, agents)


def _add_block(plan: Plan, owner: str, block: Block, agents: Mapping[str, ResolvedAgent]) -> None:
    for place, use in agent_uses(block).items():
        step = AgentStep.model_construct(id=place.partition(".")[0], agent=use)
        name = _agent_name(use, place.rpartition(".")[2], agents)
        plan.nodes[f"{owner}.{place}"] = PlanNode(step, "agent", owner, owner, agent=name)
    if isinstance(block, GraphBlock):
        plan.nets[owner] = net_of(block)
    for group in block_groups(block, owner):
        _add(plan, owner, group, agents)


def net_of(block: GraphBlock) -> Net:
    """Every edge must be between two of the nodes."""
    nodes = [node.id for node in block.nodes]
    into: dict[str, list[int]] = {node: [] for node in nodes}
    out: dict[str, list[int]] = {node: [] for node in nodes}
    for place, edge in enumerate(block.edges):
        out[edge.source].append(place)
        into[edge.target].append(place)
    sources = {node: [block.edges[place].source for place in places] for node, places in into.items()}
    components = strongly_connected(sources)
    component = {node: number for number, members in enumerate(components) for node in members}
    outer = {node: sum(component[one] != component[node] for one in sources[node]) for node in nodes}
    return Net(
        nodes=nodes,
        order={node: number for number, node in enumerate(nodes)},
        joins={node.id: node.join for node in block.nodes},
        edges=block.edges,
        into=into,
        out=out,
        components=components,
        component=component,
        outer={node: count for node, count in outer.items() if count},
    )


def agent_uses(block: Block) -> dict[str, AgentUse]:
    """The agents that a block itself runs: `router`, `manager`, `worker.NAME`."""
    match block:
        case ConditionalBlock() if block.route is not None:
            return {"router": block.route.agent}
        case HierarchicalBlock():
            workers: dict[str, AgentUse] = {f"worker.{worker.name}": worker.agent for worker in block.workers}
            return {"manager": block.manager, **workers}
        case _:
            return {}


def agent_places(block: Block) -> list[tuple[Loc, AgentUse]]:
    """The agents that a block itself runs, each with its place in the block."""
    match block:
        case ConditionalBlock() if block.route is not None:
            return [(("route", "agent"), block.route.agent)]
        case HierarchicalBlock():
            workers: list[tuple[Loc, AgentUse]] = [
                (("workers", index, "agent"), worker.agent) for index, worker in enumerate(block.workers)
            ]
            return [(("manager",), block.manager), *workers]
        case _:
            return []


def block_groups(block: Block, owner: str) -> list[Group]:
    """The steps that a block holds, in document order; places are relative to the block."""
    match block:
        case SequentialBlock():
            return [Group(owner, block.steps, ("steps",))]
        case ParallelBlock() if block.do is not None:
            return [Group(owner, [block.do], ("do",), is_list=False)]
        case ParallelBlock():
            return [Group(owner, block.branches or [], ("branches",))]
        case ConditionalBlock():
            return _choices(block, owner)
        case GraphBlock():
            return [Group(owner, block.nodes, ("nodes",))]
        case LoopBlock() | HierarchicalBlock():
            return [Group(owner, block.do, ("do",))] if isinstance(block, LoopBlock) else []


def _choices(block: ConditionalBlock, owner: str) -> list[Group]:
    groups = [
        Group(f"{owner}?{index}", case.steps, ("cases", index, "steps")) for index, case in enumerate(block.cases or [])
    ]
    for name, choice in block.route.choices.items() if block.route else ():
        groups.append(Group(f"{owner}?={name}", choice.steps, ("route", "choices", name, "steps")))
    if block.otherwise is not None:
        groups.append(Group(f"{owner}?else", block.otherwise, ("else",)))
    return groups


def step_groups(step: StepBase) -> list[Group]:
    """What a step of any kind holds beside its own work: what catches its errors and what undoes it."""
    groups: list[Group] = []
    if not isinstance(step.on_error, str):
        for index, clause in enumerate(step.on_error):
            groups.append(Group(f"{step.id}!{index}", clause.steps, ("on_error", index, "steps")))
    if step.compensate is not None:
        groups.append(Group(f"{step.id}~", [step.compensate], ("compensate",), is_list=False))
    return groups


def groups_of(step: StepBase) -> list[Group]:
    """All that a step holds, in document order; places are relative to the step."""
    block = block_in(step)
    key = kind_of(step)
    inner = [] if block is None else block_groups(block, step.id)
    return [Group(group.key, group.steps, (key, *group.loc), group.is_list) for group in inner] + step_groups(step)


def definition_groups(definition: AnyWorkflow) -> list[Group]:
    """All that a definition holds, in document order."""
    groups = block_groups(definition, ROOT)
    if definition.finally_ is not None:
        groups.append(Group(FINALLY, definition.finally_, ("finally",)))
    return groups


def places(group: Group) -> Iterator[tuple[Loc, Step]]:
    """Each step of a group with its place relative to the holder."""
    for index, step in enumerate(group.steps):
        yield ((*group.loc, index) if group.is_list else group.loc), step


def _agent_name(use: AgentUse, inline: str, agents: Mapping[str, ResolvedAgent]) -> str:
    if isinstance(use, AgentSpec):
        return inline
    return agents[use].name if use in agents else use


def kind_of(step: StepBase) -> StepKind:
    return cast("StepKind", next(key for key in STEP_KEYS if hasattr(step, key)))


def walk(definition: AnyWorkflow) -> Iterator[tuple[Loc, Step]]:
    """Every step with its place in the document, outer before inner."""
    for group in definition_groups(definition):
        yield from _walk(group, ())


def _walk(group: Group, outer: Loc) -> Iterator[tuple[Loc, Step]]:
    for place, step in places(group):
        yield (*outer, *place), step
        for inner in groups_of(step):
            yield from _walk(inner, (*outer, *place))
