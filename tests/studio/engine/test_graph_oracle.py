"""The core's graphs, which keep account, against the same rules as plain searches."""

from dataclasses import dataclass
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from studio.contracts.base import Json, JsonObject
from studio.contracts.steps import GraphBlock
from studio.engine.graph_checks import graph_errors
from tests.studio.engine.slow_graph import Kind, Logged, SlowGraph
from tests.studio.engine.test_patterns import answer, run_of
from tests.studio.engine.test_scheduler import Run

KINDS: tuple[Kind, ...] = ("agent", "agent", "agent", "transform", "skipped")
COMPARED = ("step.started", "step.skipped", "edge.taken")


@dataclass(frozen=True)
class Drawn:
    document: JsonObject
    kinds: dict[str, Kind]


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    """Up to nine nodes; an edge's condition asks whether its place is in its source's output."""
    count = draw(st.integers(1, 9))
    numbers = st.integers(0, count - 1)
    pairs = [(draw(st.integers(0, node - 1)), node) for node in range(1, count) if draw(st.integers(0, 5))]
    pairs += draw(st.lists(st.tuples(numbers, numbers), max_size=8))
    draw(st.randoms(use_true_random=False)).shuffle(pairs)
    edges: list[JsonObject] = [
        {"from": f"n{source}", "to": f"n{target}", "when": f"${{{{ '{place}' in steps.n{source}.output }}}}"}
        for place, (source, target) in enumerate(pairs)
    ]
    nodes: list[JsonObject] = []
    kinds: dict[str, Kind] = {}
    for number in range(count):
        into = sum(target == number for _, target in pairs)
        at_least: Json = {"at_least": draw(st.integers(1, max(into, 1)))}
        node: JsonObject = {
            "id": f"n{number}",
            "max_visits": 3,
            "join": draw(st.sampled_from(["all", "any", at_least])),
        }
        kind = draw(st.sampled_from(KINDS))
        if kind == "transform":
            sent = [str(place) for place, (source, _) in enumerate(pairs) if source == number and draw(st.booleans())]
            node["transform"] = sent
        else:
            node |= {"agent": "writer", "when": kind != "skipped"}
        nodes.append(node)
        kinds[f"n{number}"] = kind
    document: JsonObject = {"nodes": nodes, "edges": edges}
    if any(target == 0 for _, target in pairs) or draw(st.booleans()):
        document["start"] = "n0"
    return Drawn(document, kinds)


def logged(run: Run) -> list[Logged]:
    return [(kind, path) for kind, path in run.events() if kind in COMPARED and path is not None and path != "g"]


def assert_same(run: Run, slow: SlowGraph) -> None:
    """Once the graph has failed, what was not reached is skipped."""
    found = logged(run)
    assert found[: len(slow.log)] == slow.log
    assert {kind for kind, _ in found[len(slow.log) :]} <= ({"step.skipped"} if slow.failed else set())


class TestAgainstTheOracle:
    @settings(max_examples=150, deadline=None)
    @given(graphs(), st.randoms(use_true_random=False))
    def test_the_same_nodes_start_and_are_skipped_in_the_same_order(self, drawn: Drawn, random: Random) -> None:
        block = GraphBlock.model_validate(drawn.document)
        assume(not graph_errors(block, ()))
        sent: dict[str, list[int]] = {}

        def taken(path: str) -> list[int]:
            node = next(one for one in block.nodes if one.id == path.removeprefix("g/").partition("@")[0])
            if drawn.kinds[node.id] == "transform":
                constant: list[str] = getattr(node, "transform")  # noqa: B009 - only transforms have it
                return [int(place) for place in constant]
            if path not in sent:
                own = [place for place, edge in enumerate(block.edges) if edge.source == node.id]
                sent[path] = [place for place in own if random.random() < 0.7]
            return sent[path]

        slow = SlowGraph(block, drawn.kinds, taken)
        step: dict[str, Any] = {"id": "g", "graph": drawn.document}
        run = run_of(step)
        assert_same(run, slow)
        while slow.open and not slow.failed:
            path = random.choice(list(slow.open))
            answer(run, path, [str(place) for place in taken(path)])
            slow.over(path)
            assert_same(run, slow)
        assert [end.status for end in run.ends] == (["succeeded"] if slow.ended else [] if slow.open else ["failed"])
