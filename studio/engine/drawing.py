"""A definition as nodes and edges, for drawing."""

from itertools import pairwise

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import AnyWorkflow
from studio.contracts.steps import (
    AgentStep,
    Block,
    ConditionalBlock,
    GraphBlock,
    HierarchicalBlock,
    LoopBlock,
    ParallelBlock,
    SequentialBlock,
    Step,
    WorkflowStep,
    block_in,
)
from studio.engine.plan import ROOT, Group, agent_uses, block_groups, kind_of, step_groups

Drawn = dict[str, list[dict[str, Json]]]


def workflow_graph(workflow: AnyWorkflow) -> Drawn:
    """Nodes (with the block that holds them) and edges, for drawing. Ids are step paths; a workflow that is itself a
    choice or a team has a node of its own, whose id is empty.

    An edge leads from step to step in a chain, from a conditional block to each of its cases, from a loop's last step
    back to its first, from a router to its choice, from a manager to each of its workers, and from a step to what
    catches its errors or undoes it; the branches of a parallel block have none.
    """
    drawn: Drawn = {"nodes": [], "edges": []}
    if isinstance(workflow, ConditionalBlock):
        drawn["nodes"].append({"id": ROOT, "kind": workflow.pattern, "label": workflow.name, "block": None})
    _draw_block(drawn, workflow, ROOT)
    if workflow.finally_ is not None:
        last = workflow.steps[-1].id if isinstance(workflow, SequentialBlock) else None
        _draw_chain(drawn, workflow.finally_, ROOT, begin=last, label="finally")
    return drawn


def _draw_block(drawn: Drawn, block: Block, path: str) -> None:
    groups = block_groups(block, path)
    match block:
        case SequentialBlock():
            _draw_chain(drawn, block.steps, path)
        case ParallelBlock():
            _draw_steps(drawn, groups[0].steps, path)
        case GraphBlock():
            _draw_steps(drawn, block.nodes, path)
            for edge in block.edges:
                label = None if edge.when is True else str(edge.when)
                _edge(drawn, _inside(path, edge.source), _inside(path, edge.target), label)
        case ConditionalBlock():
            _draw_agents(drawn, block, path)
            for group in groups:
                _draw_chain(drawn, group.steps, path, begin=path, label=_choice_label(group, block))
        case LoopBlock():
            _draw_chain(drawn, block.do, path)
            _edge(drawn, _inside(path, block.do[-1].id), _inside(path, block.do[0].id), "again")
        case HierarchicalBlock():
            _draw_agents(drawn, block, path)


def _draw_agents(drawn: Drawn, block: ConditionalBlock | HierarchicalBlock, path: str) -> None:
    for place, use in agent_uses(block).items():
        agent = use if isinstance(use, str) else None
        label = place.partition(".")[2] or place
        node: JsonObject = {"id": _inside(path, place), "kind": "agent", "label": label, "block": path or None}
        drawn["nodes"].append(node | {"agent": agent})
        if place == "router":
            _edge(drawn, _inside(path, place), path)
        elif place != "manager":
            _edge(drawn, _inside(path, "manager"), _inside(path, place), "delegates")


def _draw_chain(drawn: Drawn, steps: list[Step], path: str, *, begin: str | None = None, label: str = "") -> None:
    _draw_steps(drawn, steps, path)
    places = [_inside(path, step.id) for step in steps]
    for before, after in pairwise(places):
        _edge(drawn, before, after)
    if begin is not None:
        _edge(drawn, begin, places[0], label)


def _draw_steps(drawn: Drawn, steps: list[Step], block: str) -> None:
    for step in steps:
        path = _inside(block, step.id)
        node: JsonObject = {"id": path, "kind": kind_of(step), "label": step.name or step.id, "block": block or None}
        drawn["nodes"].append(node | {"agent": _named(step)})
        inner = block_in(step)
        if inner is not None:
            _draw_block(drawn, inner, path)
        for group in step_groups(step):
            _draw_chain(drawn, group.steps, path, begin=path, label=_detour_label(group, step))


def _named(step: Step) -> str | None:
    """The agent or workflow that a step names."""
    if isinstance(step, WorkflowStep):
        return step.workflow
    return step.agent if isinstance(step, AgentStep) and isinstance(step.agent, str) else None


def _inside(block: str, place: str) -> str:
    return f"{block}/{place}" if block else place


def _edge(drawn: Drawn, start: str, end: str, label: str | None = None) -> None:
    drawn["edges"].append({"from": start, "to": end} | ({"label": label} if label else {}))


def _choice_label(group: Group, block: ConditionalBlock) -> str:
    choice = group.key.rpartition("?")[2]
    if choice == "else" or choice.startswith("="):
        return choice.removeprefix("=")
    return str((block.cases or [])[int(choice)].when)


def _detour_label(group: Group, step: Step) -> str:
    """Why a step goes on with this group: it failed, or is undone."""
    if group.key.endswith("~") or isinstance(step.on_error, str):
        return "undo"
    clause = step.on_error[int(group.key.rpartition("!")[2])]
    return f"on error: {clause.catch if isinstance(clause.catch, str) else ', '.join(clause.catch)}"
