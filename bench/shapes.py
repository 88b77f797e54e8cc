"""Definitions of many no-op steps."""

from random import Random

from studio.contracts.agents import AgentSpec
from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import ResolvedAgent, ResolvedDefinition, parse_workflow

LAYER = 25
"""Nodes side by side in a layered graph."""


def chain(steps: int) -> ResolvedDefinition:
    return _resolved([_noop(f"s{number}", number) for number in range(steps)])


def mapped(items: int, at_once: int) -> ResolvedDefinition:
    block = {"for_each": list(range(items)), "do": _noop("one", "${{ item }}"), "max_concurrency": at_once}
    return _resolved([{"id": "map", "parallel": block}])


def rounds(count: int) -> ResolvedDefinition:
    until = f"${{{{ iteration == {count - 1} }}}}"
    return _resolved(
        [{"id": "loop", "loop": {"do": [_noop("one", "${{ iteration }}")], "until": until, "max_iterations": count}}]
    )


def layered(nodes: int, edges: int) -> ResolvedDefinition:
    """Layers of `LAYER` nodes, edges from each to the next in a fixed order, at least one into each node."""
    random = Random(1)

    def before(target: int) -> tuple[int, int]:
        return ((target // LAYER - 1) * LAYER + random.randrange(LAYER), target)

    pairs = dict.fromkeys(before(target) for target in range(LAYER, nodes))
    while len(pairs) < edges:
        pairs[before(random.randrange(LAYER, nodes))] = None
    return _graph(nodes, list(pairs))


def waiting(joins: int) -> ResolvedDefinition:
    """A start, then as many nodes side by side as there are joins, each of which waits for three of them."""
    pairs = [(0, 1 + number) for number in range(joins)]
    for number in range(joins):
        pairs += [(1 + (number + offset) % joins, 1 + joins + number) for offset in (0, 7, 101)]
    return _graph(1 + 2 * joins, pairs)


def _graph(nodes: int, pairs: list[tuple[int, int]]) -> ResolvedDefinition:
    edges = [{"from": f"n{source}", "to": f"n{target}"} for source, target in pairs]
    block = {"nodes": [_noop(f"n{number}", number) for number in range(nodes)], "edges": edges}
    return _resolved([{"id": "g", "graph": block}])


def _noop(step_id: str, given: Json) -> JsonObject:
    return {"id": step_id, "agent": "noop", "input": given}


def _resolved(steps: list[JsonObject]) -> ResolvedDefinition:
    document = {"name": "bench", "pattern": "sequential", "steps": steps}
    return ResolvedDefinition(
        workflow=parse_workflow(document),
        agents={"noop": ResolvedAgent(name="noop", version=1, spec=AgentSpec(message="x"))},
    )
