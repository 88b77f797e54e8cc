"""What a drawing shows of the agents that a block itself runs."""

from studio.contracts.base import JsonObject
from studio.contracts.definitions import parse_workflow
from studio.engine.drawing import workflow_graph


def drawn(step: JsonObject) -> tuple[list[object], list[object]]:
    """The nodes' ids, and the edges as (from, to, label)."""
    document = {"name": "x", "pattern": "sequential", "steps": [step]}
    graph = workflow_graph(parse_workflow(document))
    edges = [(edge["from"], edge["to"], edge.get("label")) for edge in graph["edges"]]
    return [node["id"] for node in graph["nodes"]], list(edges)


class TestAgentsOfABlock:
    def test_a_router_leads_to_the_choice(self) -> None:
        choices = {"left": {"steps": [{"id": "l", "transform": 1}]}}
        nodes, edges = drawn({"id": "c", "conditional": {"route": {"agent": {}, "choices": choices}}})
        assert nodes == ["c", "c/router", "c/l"]
        assert edges == [("c/router", "c", None), ("c", "c/l", "left")]

    def test_a_manager_leads_to_each_worker(self) -> None:
        workers: list[JsonObject] = [{"name": "reader", "agent": {}}, {"name": "writer", "agent": "novelist"}]
        nodes, edges = drawn({"id": "team", "hierarchical": {"manager": {}, "workers": workers}})
        assert nodes == ["team", "team/manager", "team/worker.reader", "team/worker.writer"]
        assert edges == [("team/manager", f"team/worker.{name}", "delegates") for name in ("reader", "writer")]
