"""Joins of a graph that cannot be met, tokens that come to nothing, and what a node's own name means in a cycle."""

from studio.contracts.base import Json, JsonObject
from studio.contracts.runs import RunError
from studio.engine.memory_driver import MemoryRun
from tests.support.memory_runs import ask, carry, refuses, says


def graph(nodes: list[JsonObject], *edges: tuple[str, str] | tuple[str, str, str], **fields: Json) -> MemoryRun:
    written = [{"from": edge[0], "to": edge[1], **({"when": edge[2]} if len(edge) > 2 else {})} for edge in edges]
    return carry(pattern="graph", nodes=nodes, edges=written, **fields)


def given(step_id: str, value: Json, **fields: Json) -> JsonObject:
    return {"id": step_id, "transform": value, **fields}


class TestAJoinThatCannotBeMet:
    def test_a_graph_that_waits_for_two_and_gets_one_fails(self) -> None:
        nodes = [given("s", 1), given("a", "a"), given("b", "b", when=False), given("j", 1, join={"at_least": 2})]
        run = graph(nodes, ("s", "a"), ("s", "b"), ("a", "j"), ("b", "j"))
        message = "The join of the node 'j' needs 2 of 2, 1 came, and no more can come."
        assert (run.end.status, run.end.error) == ("failed", RunError(type="join_unmet", message=message))

    def test_one_that_gets_nothing_is_skipped(self) -> None:
        nodes = [
            given("s", 1),
            given("a", 1, when=False),
            given("b", 1, when=False),
            given("j", 1, join={"at_least": 2}),
        ]
        run = graph(nodes, ("s", "a"), ("s", "b"), ("a", "j"), ("b", "j"))
        assert (run.end.status, run.end.output) == ("succeeded", None)

    def test_a_block_says_what_it_needs_and_what_failed(self) -> None:
        block: JsonObject = {"branches": [ask("a"), ask("b"), ask("c")], "join": {"at_least": 2}}
        replies = {"p/a": [says()], "p/b": [refuses(after=1)], "p/c": [refuses("rate_limited", after=2)]}
        error = carry({"id": "p", "parallel": block}, replies=replies).end.error
        assert error is not None
        assert error.type == "join_unmet"
        assert error.message == (
            "The join needs 2 of 3; 1 succeeded, 2 failed: p/b (upstream_error): broke; p/c (rate_limited): broke"
        )

    def test_a_join_that_was_too_slow_says_so(self) -> None:
        block: JsonObject = {"branches": [ask("a"), ask("b")], "join": {"at_least": 2}, "timeout": "1500ms"}
        replies = {"p/a": [says()], "p/b": [says(after=10)]}
        error = carry({"id": "p", "parallel": block}, replies=replies).end.error
        assert error is not None
        assert (error.type, error.message) == ("timeout", "The join needs 2 of 2 within 1s500ms; 1 succeeded.")

    def test_a_token_that_the_join_did_not_wait_for_says_so(self) -> None:
        nodes = [given("s", 1), given("a", 1), {"id": "b", "wait": {"for": "1s"}}, given("j", 1, join="any")]
        run = graph(nodes, ("s", "a"), ("s", "b"), ("a", "j"), ("b", "j"))
        dropped = [event.step_id for event in run.events if event.type == "edge.taken" and "dropped" in event.data]
        assert (run.end.status, dropped) == ("succeeded", ["b"])


class TestANodesOwnName:
    def test_a_counter_counts(self) -> None:
        node = given("n", "${{ steps.n.output == null ? 1 : steps.n.output + 1 }}", join="any")
        run = graph([node], ("n", "n", "${{ steps.n.output < 3 }}"), start="n")
        assert run.end.output == 3

    def test_a_block_and_what_is_in_it_mean_the_visit_before(self) -> None:
        seen = "${{ [steps.b.output, steps.x.output, steps.y.output, steps.x.status] }}"
        steps = [
            given("see", seen),
            given("x", "${{ steps.x.output == null ? 1 : steps.x.output + 1 }}"),
            given("y", READ_X),
        ]
        block: JsonObject = {"id": "b", "sequential": {"steps": steps}, "join": "any"}
        run = graph([block], ("b", "b", "${{ steps.y.output < 20 }}"), start="b")
        found = {step.id: step.output for step in run.end.progress.steps}
        assert found["b/see"] == [None, None, None, "pending"]
        assert found["b@1/see"] == [10, 1, 10, "succeeded"]
        assert run.end.output == 20

    def test_what_undoes_a_visit_sees_that_visit(self) -> None:
        node = given("n", "${{ steps.n.output == null ? 1 : steps.n.output + 1 }}", join="any")
        node["compensate"] = given("undo", "${{ steps.n.output }}")
        end: JsonObject = {"id": "end", "fail": {"type": "broken", "message": "x"}}
        run = graph(
            [node, end], ("n", "n", "${{ steps.n.output < 2 }}"), ("n", "end", "${{ steps.n.output == 2 }}"), start="n"
        )
        found = {step.id: step.output for step in run.end.progress.steps if step.id.endswith("undo")}
        assert found == {"n@1/undo": 2, "n/undo": 1}


READ_X = "${{ steps.x.output * 10 }}"
