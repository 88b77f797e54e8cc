"""Graphs, teams and routes on the core alone."""

import pytest

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import parse_workflow
from studio.contracts.runs import RunError
from studio.engine.checks import check_workflow
from studio.engine.state import RunAgent, StepFailed
from tests.studio.engine.test_patterns import answer, fail, run_of
from tests.studio.engine.test_scheduler import Run, ask


def edge(source: str, target: str, when: str | None = None) -> JsonObject:
    return {"from": source, "to": target} | ({} if when is None else {"when": when})


def graph(nodes: list[JsonObject], *edges: JsonObject, **fields: Json) -> Run:
    return run_of({"id": "g", "graph": {"nodes": nodes, "edges": list(edges), **fields}})


def statuses(run: Run) -> dict[str, str]:
    return {path: step.status for path, step in run.state.steps.items()}


class TestGraph:
    def test_a_node_runs_as_soon_as_its_own_join_is_met(self) -> None:
        run = graph([ask("a"), ask("b"), ask("c"), ask("d")], edge("a", "c"), edge("b", "d"))
        answer(run, "g/a")
        assert run.started() == ["g/a", "g/b", "g/c"]
        for path in ("g/b", "g/c", "g/d"):
            answer(run, path, path)
        assert run.ends[0].output == {"c": "g/c", "d": "g/d"}

    def test_all_waits_for_every_branch_that_can_still_come(self) -> None:
        run = graph([ask("a"), ask("b"), ask("end")], edge("a", "end"), edge("b", "end"))
        answer(run, "g/a", 1)
        assert "g/end" not in run.started()
        answer(run, "g/b", 2)
        assert [command.input for command in run.seen if isinstance(command, RunAgent)][-1] == {"a": 1, "b": 2}
        answer(run, "g/end", "over")
        assert run.ends[0].output == "over"

    def test_a_join_never_waits_for_a_branch_that_will_not_come(self) -> None:
        run = graph(
            [ask("a"), ask("left"), ask("right"), ask("end")],
            edge("a", "left", "${{ steps.a.output == 1 }}"),
            edge("a", "right", "${{ steps.a.output == 2 }}"),
            edge("left", "end"),
            edge("right", "end"),
        )
        answer(run, "g/a", 2)
        answer(run, "g/right")
        assert run.started() == ["g/a", "g/right", "g/end"]
        assert statuses(run)["g/left"] == "skipped"

    def test_any_runs_once_with_the_first_branch(self) -> None:
        run = graph([ask("a"), ask("b"), ask("end", join="any")], edge("a", "end"), edge("b", "end"))
        answer(run, "g/b")
        answer(run, "g/end", "first")
        answer(run, "g/a")
        assert run.ends[0].output == "first"
        assert "g/end@1" not in run.state.steps

    def test_at_least_that_got_tokens_and_cannot_be_met_fails_the_graph(self) -> None:
        end = ask("end", join={"at_least": 2})
        run = graph([ask("a"), ask("b"), end], edge("a", "end"), edge("b", "end", "${{ false }}"))
        answer(run, "g/a")
        answer(run, "g/b")
        assert statuses(run)["g/end"] == "skipped"
        assert run.ends[0].error == RunError(
            type="join_unmet",
            message="The join of the node 'end' needs 2 of 2, 1 came, and no more can come.",
            step_id="g",
        )

    def test_a_cycle_goes_round_until_its_exit(self) -> None:
        again = "${{ steps.check.output == 'again' }}"
        done = "${{ steps.check.output != 'again' }}"
        run = graph(
            [ask("write"), ask("check"), ask("end")],
            edge("write", "check"),
            edge("check", "write", again),
            edge("check", "end", done),
            start="write",
        )
        for path, output in (("g/write", 1), ("g/check", "again"), ("g/write@1", 2), ("g/check@1", "fine")):
            assert run.started()[-1] == path
            answer(run, path, output)
        answer(run, "g/end", "over")
        assert run.ends[0].output == "over"

    def test_past_max_visits_the_graph_fails(self) -> None:
        run = graph([ask("a", max_visits=2)], edge("a", "a"), start="a")
        answer(run, "g/a")
        answer(run, "g/a@1")
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "limit_exceeded"

    def test_a_node_that_fails_stops_the_others(self) -> None:
        run = graph([ask("a"), ask("b")])
        fail(run, "g/a")
        assert not run.ends
        fail(run, "g/b")
        assert run.ends[0].status == "failed"

    def test_a_thousand_nodes_end(self) -> None:
        nodes: list[JsonObject] = [{"id": f"n{n}", "transform": n} for n in range(1000)]
        edges = [edge(f"n{n}", f"n{n + 1}") for n in range(999)]
        assert graph(nodes, *edges).ends[0].output == 999

    @pytest.mark.parametrize(
        ("fields", "kind"),
        [
            ({"edges": [edge("a", "x")]}, "unknown_node"),
            ({"edges": [edge("a", "b")], "start": "b"}, "unreachable_node"),
            ({"edges": [edge("a", "b"), edge("b", "a")]}, "no_start"),
            ({"edges": [edge("a", "b"), edge("b", "a")], "start": "a"}, "endless_cycle"),
        ],
    )
    def test_what_could_never_work_is_refused(self, fields: JsonObject, kind: str) -> None:
        step = {"id": "g", "graph": {"nodes": [ask("a"), ask("b")], **fields}}
        definition = parse_workflow({"name": "x", "pattern": "sequential", "steps": [step]})
        assert kind in [error.type for error in check_workflow(definition)]


class TestBlockedJoin:
    """`x` did not wait for all, and holds enough for its next visit."""

    MORE = "${{ steps.a.output == 'more' }}"

    def test_what_came_too_early_on_the_other_edges_is_owed_anew(self) -> None:
        more = "${{ steps.b.output == 'more' }}"
        run = graph(
            [ask("s"), ask("a"), ask("b"), ask("x", join="any")],
            *[edge("s", "a"), edge("s", "b"), edge("a", "a", self.MORE), edge("b", "b", more)],
            *[edge("a", "x"), edge("b", "x")],
            start="s",
        )
        answer(run, "g/s")
        answer(run, "g/a", "more")
        answer(run, "g/a@1")
        answer(run, "g/b", "more")
        assert run.waiting() == ["g/x", "g/b@1"]
        answer(run, "g/x")
        assert run.waiting() == ["g/b@1", "g/x@1"]
        answer(run, "g/b@1")
        answer(run, "g/x@1")
        assert [end.status for end in run.ends] == ["succeeded"]
        assert "g/x@2" not in run.started()

    @pytest.mark.parametrize("others", ["stopped", "skipped"])
    def test_an_edge_that_nothing_can_come_along_any_more_opens_it(self, others: str) -> None:
        run = graph(
            [ask("s"), ask("a"), ask("b"), ask("c", when=others != "skipped"), ask("x", join={"at_least": 1})],
            *[edge("s", "a"), edge("s", "b"), edge("a", "a", self.MORE), edge("a", "x")],
            *[edge("b", "c", None if others == "skipped" else "${{ false }}"), edge("c", "x")],
            start="s",
        )
        answer(run, "g/s")
        answer(run, "g/a", "more")
        answer(run, "g/x")
        answer(run, "g/a@1")
        assert run.waiting() == ["g/b"]
        answer(run, "g/b")
        assert run.waiting() == ["g/x@1"]

    @pytest.mark.parametrize(("nodes", "then"), [("saxy", ["g/x@1"]), ("sayx", ["g/y"])])
    def test_of_nodes_that_wait_only_for_each_other_the_first_runs(self, nodes: str, then: list[str]) -> None:
        run = graph(
            [ask(node, join="any" if node == "x" else "all") for node in nodes],
            *[edge("s", "a"), edge("s", "y"), edge("a", "a", self.MORE), edge("a", "x")],
            *[edge("x", "y", "${{ steps.x.output == 'go' }}"), edge("y", "x")],
            start="s",
        )
        answer(run, "g/s")
        answer(run, "g/a", "more")
        answer(run, "g/x")
        answer(run, "g/a@1")
        assert run.waiting() == then
        answer(run, then[0])
        (last,) = run.waiting()
        answer(run, last)
        assert {then[0], last} == {"g/x@1", "g/y"}
        assert [end.status for end in run.ends] == ["succeeded"]

    def test_what_it_was_owed_is_forgotten_when_it_runs_as_the_first_of_a_ring(self) -> None:
        run = graph(
            [ask("s"), ask("a"), ask("x", join="any"), ask("y")],
            *[edge("s", "a"), edge("s", "y"), edge("a", "a", self.MORE), edge("a", "x")],
            *[edge("x", "y", "${{ false }}"), edge("y", "x"), edge("y", "y", "${{ steps.y.output == 'more' }}")],
            start="s",
        )
        answer(run, "g/s")
        answer(run, "g/a", "more")
        answer(run, "g/x")
        answer(run, "g/a@1")
        answer(run, "g/x@1")
        answer(run, "g/y", "more")
        assert run.waiting() == ["g/y@1"]
        answer(run, "g/y@1")
        assert run.waiting() == ["g/x@2"]


TEAM: JsonObject = {
    "manager": {},
    "workers": [{"name": "reader", "agent": {}}, {"name": "writer", "agent": {}}],
    "parallel": True,
    "input": "the task",
}


class TestTeam:
    def test_the_manager_delegates_reads_reports_and_answers(self) -> None:
        run = run_of({"id": "team", "hierarchical": TEAM})
        tasks = [{"worker": "reader", "task": "read"}, {"worker": "writer", "task": "write"}]
        answer(run, "team/manager.round-1", {"delegate": tasks})
        assert run.started()[-2:] == ["team/worker.reader-1", "team/worker.writer-1"]
        fail(run, "team/worker.writer-1")
        answer(run, "team/worker.reader-1", "seen")
        asked = [command for command in run.seen if isinstance(command, RunAgent)][-1]
        assert asked.path == "team/manager.round-2"
        assert asked.input["reports"] == [tasks[0] | {"output": "seen"}, tasks[1] | {"error": "broke"}]
        answer(run, "team/manager.round-2", {"answer": "over"})
        assert run.ends[0].output == "over"

    def test_plain_text_is_the_answer(self) -> None:
        run = run_of({"id": "team", "hierarchical": TEAM})
        answer(run, "team/manager.round-1", "over")
        assert run.ends[0].output == "over"

    def test_the_last_round_may_not_delegate(self) -> None:
        run = run_of({"id": "team", "hierarchical": TEAM | {"max_rounds": 1}})
        answer(run, "team/manager.round-1", {"delegate": [{"worker": "reader", "task": "read"}]})
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "limit_exceeded"


LEFT: JsonObject = {"steps": [{"id": "l", "transform": "L"}]}
RIGHT: JsonObject = {"steps": [{"id": "r", "transform": "R"}]}
ROUTE: JsonObject = {"agent": {}, "choices": {"left": LEFT, "right": RIGHT}}


class TestRoute:
    @pytest.mark.parametrize("said", [{"choice": "right"}, "Right.", "**right**", "<think>left?</think>\n'right'"])
    def test_the_model_picks_a_choice(self, said: Json) -> None:
        run = run_of({"id": "c", "conditional": {"route": ROUTE}}, value="where?")
        answer(run, "c/router.choice", said)
        assert run.ends[0].output == "R"

    @pytest.mark.parametrize(
        "said",
        [
            "neither",
            "left or right",
            "I would go right here",
            "not right",
            {"choice": "not right"},
            {"choice": "up"},
            None,
        ],
    )
    def test_an_answer_that_names_none_goes_to_else_or_fails(self, said: Json) -> None:
        run = run_of({"id": "c", "conditional": {"route": ROUTE}})
        answer(run, "c/router.choice", said)
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "schema_mismatch"
        block = {"route": ROUTE, "else": [{"id": "e", "transform": "E"}]}
        other = run_of({"id": "c", "conditional": block})
        answer(other, "c/router.choice", said)
        assert other.ends[0].output == "E"

    @pytest.mark.parametrize(("kind", "output"), [("schema_mismatch", "E"), ("upstream_error", None)])
    def test_an_answer_that_was_cut_goes_to_else_and_a_call_that_failed_does_not(self, kind: str, output: Json) -> None:
        block = {"route": ROUTE, "else": [{"id": "e", "transform": "E"}]}
        run = run_of({"id": "c", "conditional": block})
        run.feed(StepFailed(run.at, "c/router.choice", RunError(type=kind, message="no")))
        assert run.ends[0].output == output
