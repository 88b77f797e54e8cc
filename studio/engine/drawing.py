"""A definition as nodes and edges, for drawing."""

from itertools import pairwise

from studio.contracts.base import Json
from studio.contracts.definitions import WorkflowDefinition
from studio.contracts.steps import AgentStep, ConditionalStep, GraphStep, LoopStep, ParallelStep, Step, block_in
from studio.engine.plan import ROOT, Group, agent_uses, groups_of, kind_of


def workflow_graph(workflow: WorkflowDefinition) -> dict[str, list[dict[str, Json]]]:
    """Nodes (with the block that holds them) and edges, for drawing. Ids are step paths.

    An edge leads from step to step in a chain, from a conditional block to each of its cases, from a loop's last step
    back to its first, and from a step to what catches its errors; the branches of a parallel block have none. The
    agents that a block itself runs are `PATH/router`, `PATH/manager` and `PATH/worker.NAME`.
    """
    nodes: list[dict[str, Json]] = []
    edges: list[dict[str, Json]] = []
    _draw(Group(ROOT, workflow.steps, ("steps",)), None, nodes, edges)
    return {"nodes": nodes, "edges": edges}


def _draw(
    group: Group, holder: tuple[str, Step] | None, nodes: list[dict[str, Json]], edges: list[dict[str, Json]]
) -> None:
    block = holder[0] if holder else None
    paths = [f"{block}/{step.id}" if block else step.id for step in group.steps]
    for path, step in zip(paths, group.steps, strict=True):
        agent = step.agent if isinstance(step, AgentStep) and isinstance(step.agent, str) else None
        nodes.append({"id": path, "kind": kind_of(step), "label": step.name or step.id, "block": block, "agent": agent})
        _draw_agents(step, path, nodes, edges)
        for inner in groups_of(step):
            _draw(inner, (path, step), nodes, edges)
    is_fan = (
        holder is not None and isinstance(holder[1], ParallelStep) and "!" not in group.key and "~" not in group.key
    )
    if holder is not None and isinstance(holder[1], GraphStep) and group.key == holder[1].id:
        for edge in holder[1].graph.edges:
            why: dict[str, Json] = {} if edge.when is True else {"label": str(edge.when)}
            edges.append({"from": f"{block}/{edge.source}", "to": f"{block}/{edge.target}", **why})
        return
    if not is_fan:
        edges.extend({"from": before, "to": after} for before, after in pairwise(paths))
    if holder is None:
        return
    label = _edge_label(group, holder[1])
    if label is not None:
        edges.append({"from": holder[0], "to": paths[0], "label": label})
    elif isinstance(holder[1], LoopStep):
        edges.append({"from": paths[-1], "to": paths[0], "label": "again"})


def _draw_agents(step: Step, path: str, nodes: list[dict[str, Json]], edges: list[dict[str, Json]]) -> None:
    """A router leads to the choice, a manager to each worker."""
    body = block_in(step)
    for place, use in agent_uses(body).items() if body is not None else ():
        label = place.removeprefix("worker.")
        agent = use if isinstance(use, str) else None
        nodes.append({"id": f"{path}/{place}", "kind": "agent", "label": label, "block": path, "agent": agent})
        if place == "router":
            edges.append({"from": f"{path}/router", "to": path})
        elif place != "manager":
            edges.append({"from": f"{path}/manager", "to": f"{path}/{place}", "label": "delegates"})


def _edge_label(group: Group, step: Step) -> str | None:
    """Why a conditional block, or a step that failed, goes on with this group."""
    if group.key.endswith("~"):
        return "undo"
    if "!" in group.key and not isinstance(step.on_error, str):
        clause = step.on_error[int(group.key.rpartition("!")[2])]
        return f"on error: {clause.catch if isinstance(clause.catch, str) else ', '.join(clause.catch)}"
    if isinstance(step, ConditionalStep):
        choice = group.key.rpartition("?")[2]
        if choice == "else" or choice.startswith("="):
            return choice.removeprefix("=")
        return str((step.conditional.cases or [])[int(choice)].when)
    return None
