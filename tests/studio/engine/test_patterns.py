"""Parallel, conditional and loop blocks, and what catches errors, on the core alone."""

from typing import Any

import pytest

from studio.contracts.base import Json, JsonObject
from studio.contracts.runs import RunError
from studio.engine.state import CancelStep, RunAgent, StepCancelled, StepFailed, StepSucceeded
from tests.studio.engine.test_scheduler import Run, ask, plan_of


def run_of(*steps: JsonObject, value: Json = None, **fields: Json) -> Run:
    return Run(plan_of(list(steps), **fields), value)


def answer(run: Run, path: str, output: Json = "done") -> None:
    run.feed(StepSucceeded(run.at, path, output))


def fail(run: Run, path: str, kind: str = "upstream_error") -> None:
    run.feed(StepFailed(run.at, path, RunError(type=kind, message="broke")))


def cancelled(run: Run) -> list[str]:
    return [command.path for command in run.seen if isinstance(command, CancelStep)]


def each(items: Json, step: JsonObject | None = None, **fields: Json) -> JsonObject:
    return {"id": "map", "parallel": {"for_each": items, "do": step or ask("one"), **fields}}


def branches(*steps: JsonObject, **fields: Json) -> JsonObject:
    return {"id": "side", "parallel": {"branches": list(steps), **fields}}


class TestParallel:
    def test_all_branches_run_at_once_and_join_in_branch_order(self) -> None:
        run = run_of(branches(ask("a"), ask("b"), ask("c")))
        assert run.started() == ["side/a", "side/b", "side/c"]
        for name in "cab":
            assert not run.ends
            answer(run, f"side/{name}", name)
        assert run.ends[0].output == {"a": "a", "b": "b", "c": "c"}

    def test_a_map_gives_a_list_in_item_order_and_each_step_its_item(self) -> None:
        run = run_of(each([5, 6], ask("one", input="${{ item * 10 + index }}")))
        calls = [command for command in run.seen if isinstance(command, RunAgent)]
        assert [(call.path, call.input) for call in calls] == [("map/one[0]", 50), ("map/one[1]", 61)]
        answer(run, "map/one[1]", "second")
        answer(run, "map/one[0]", "first")
        assert run.ends[0].output == ["first", "second"]

    def test_an_item_is_the_input_of_a_step_without_one(self) -> None:
        run = run_of(each(["x"]))
        assert [command.input for command in run.seen if isinstance(command, RunAgent)] == ["x"]

    def test_an_empty_list_is_over_at_once(self) -> None:
        assert run_of(each([])).ends[0].output == []

    def test_no_more_than_max_concurrency_are_under_way(self) -> None:
        run = run_of(each([1, 2, 3, 4], max_concurrency=2))
        assert run.started() == ["map/one[0]", "map/one[1]"]
        answer(run, "map/one[1]")
        assert run.started()[2:] == ["map/one[2]"]

    def test_a_branch_that_ends_at_once_makes_room_only_once_its_join_is_asked(self) -> None:
        run = run_of(branches({"id": "a", "transform": 1}, ask("b"), join="any", max_concurrency=1))
        assert run.started() == []
        assert run.ends[0].output == {"a": 1, "b": None}

    def test_the_first_failure_stops_the_others_and_then_fails_the_block(self) -> None:
        run = run_of(branches(ask("a"), ask("b")))
        fail(run, "side/a")
        assert cancelled(run) == ["side/b"]
        assert not run.ends
        run.feed(StepCancelled(run.at, "side/b"))
        (end,) = run.ends
        assert end.error is not None
        assert (end.status, end.error.type, end.error.step_id) == ("failed", "upstream_error", "side/a")

    def test_collect_puts_null_in_the_place_of_what_failed(self) -> None:
        steps = [each([1, 2], on_branch_error="collect"), {"id": "errors", "transform": "${{ steps.map.errors }}"}]
        run = run_of(*steps, output=["${{ steps.map.output }}", "${{ steps.errors.output[0].type }}"])
        fail(run, "map/one[0]", "timeout")
        answer(run, "map/one[1]", 2)
        assert run.ends[0].output == [[None, 2], "timeout"]

    @pytest.mark.parametrize(("join", "needed"), [("any", 1), ({"at_least": 2}, 2), ({"quorum": 0.7}, 7)])
    def test_a_join_is_met_by_its_number_and_stops_the_rest(self, join: Json, needed: int) -> None:
        run = run_of(each(list(range(10)), join=join), ask("after"))
        for index in range(needed):
            assert not cancelled(run)
            answer(run, f"map/one[{index}]", index)
        rest = [f"map/one[{index}]" for index in range(needed, 10)]
        assert cancelled(run) == rest
        for path in rest:
            assert "after" not in run.started()
            run.feed(StepCancelled(run.at, path))
        assert run.started()[-1] == "after"
        assert run.state.steps["map"].output == [*range(needed), *[None] * (10 - needed)]

    def test_any_outlives_failures_while_one_may_come(self) -> None:
        run = run_of(branches(ask("a"), ask("b"), join="any"))
        fail(run, "side/a")
        answer(run, "side/b", "won")
        assert run.ends[0].output == {"a": None, "b": "won"}

    def test_a_join_that_cannot_be_met_says_what_it_needs_and_what_failed(self) -> None:
        run = run_of(branches(ask("a"), ask("b"), ask("c"), join={"at_least": 2}))
        fail(run, "side/a", "timeout")
        fail(run, "side/b")
        run.feed(StepCancelled(run.at, "side/c"))
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "join_unmet"
        failed = "side/a (timeout): broke; side/b (upstream_error): broke"
        assert run.ends[0].error.message == f"The join needs 2 of 3; 0 succeeded, 2 failed: {failed}"

    def test_a_join_that_only_skipped_branches_could_meet_is_unmet(self) -> None:
        run = run_of(branches({"id": "a", "when": False, "transform": 1}, join="any"))
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "join_unmet"

    def test_a_branch_that_was_decided_before_it_began_is_stopped(self) -> None:
        run = run_of(branches({"id": "a", "transform": 1}, ask("b"), join="any"))
        assert cancelled(run) == ["side/b"]
        run.feed(StepCancelled(run.at, "side/b"))
        assert run.ends[0].output == {"a": 1, "b": None}

    def test_a_block_inside_a_loser_stops_with_it(self) -> None:
        inner: JsonObject = {"id": "deep", "sequential": {"steps": [ask("x"), ask("y")]}}
        run = run_of(branches(ask("a"), inner, join="any"))
        answer(run, "side/a", 1)
        run.feed(StepCancelled(run.at, "side/deep/x"))
        assert run.ends[0].output == {"a": 1, "deep": None}
        assert run.state.steps["side/deep"].status == "cancelled"
        assert run.state.steps["side/deep/y"].status == "skipped"

    def test_ten_thousand_items_are_taken_and_one_more_is_not(self) -> None:
        step: JsonObject = {"id": "one", "transform": "${{ item }}"}
        run = run_of(each("${{ input }}", step), value=[1] * 10_000)
        assert len(run.ends[0].output) == 10_000
        run = run_of(each("${{ input }}", step), value=[1] * 10_001)
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "limit_exceeded"

    def test_a_value_that_is_no_list_is_refused(self) -> None:
        run = run_of(each("${{ input }}"), value="text")
        assert run.ends[0].error is not None
        assert "must give a list, not text" in run.ends[0].error.message


class TestConditional:
    STEP: JsonObject = {
        "id": "triage",
        "conditional": {
            "cases": [
                {"when": "${{ input > 10 }}", "steps": [{"id": "high", "transform": "high"}]},
                {"when": "${{ input > 5 }}", "steps": [{"id": "middle", "transform": "middle"}]},
            ],
            "else": [{"id": "low", "transform": "low"}],
        },
    }

    @pytest.mark.parametrize(("value", "chosen"), [(20, "high"), (7, "middle"), (1, "low")])
    def test_the_first_true_case_runs_alone(self, value: int, chosen: str) -> None:
        run = run_of(self.STEP, value=value)
        assert run.ends[0].output == chosen
        statuses = {path: step.status for path, step in run.state.steps.items()}
        others = {f"triage/{name}": "skipped" for name in ("high", "middle", "low")}
        assert statuses == others | {"triage": "succeeded", f"triage/{chosen}": "succeeded"}
        assert ("edge.taken", "triage") in run.events()

    @pytest.mark.parametrize(("value", "word"), [(1, "a number"), ({}, "an object"), (None, "null")])
    def test_a_condition_that_is_no_answer_is_refused(self, value: Json, word: str) -> None:
        run = run_of(ask("one", when="${{ input }}"), value=value)
        assert run.ends[0].error is not None
        assert run.ends[0].error.message.endswith(f"`when` must give true or false, not {word}")

    def test_nothing_runs_without_a_true_case_and_else(self) -> None:
        block: Any = self.STEP["conditional"]
        run = run_of({"id": "triage", "conditional": {"cases": block["cases"]}}, value=1)
        assert (run.ends[0].status, run.ends[0].output) == ("succeeded", None)

    def test_steps_of_the_cases_not_taken_are_null_afterwards(self) -> None:
        out = ["${{ steps.high.status }}", "${{ steps.low.output }}"]
        assert run_of(self.STEP, value=1, output=out).ends[0].output == ["skipped", "low"]


class TestLoop:
    def test_rounds_have_paths_of_their_own_and_hand_on_what_they_gave(self) -> None:
        block: JsonObject = {"do": [ask("draft", input="${{ [iteration, last] }}")], "until": "${{ last == 'good' }}"}
        run = run_of({"id": "refine", "loop": block})
        answer(run, "refine#0/draft", "bad")
        answer(run, "refine#1/draft", "good")
        calls = [command for command in run.seen if isinstance(command, RunAgent)]
        assert [(call.path, call.input) for call in calls] == [
            ("refine#0/draft", [0, None]),
            ("refine#1/draft", [1, "bad"]),
        ]
        assert run.ends[0].output == "good"

    def test_while_is_asked_before_a_round(self) -> None:
        block: JsonObject = {"do": [{"id": "n", "transform": "${{ iteration }}"}], "while": "${{ iteration < 3 }}"}
        run = run_of({"id": "count", "loop": block})
        assert run.ends[0].output == 2
        assert [path for path in run.state.steps if path != "count"] == ["count#0/n", "count#1/n", "count#2/n"]

    def test_going_past_max_iterations_fails(self) -> None:
        block: JsonObject = {"do": [{"id": "n", "transform": 1}], "until": "${{ false }}", "max_iterations": 3}
        run = run_of({"id": "count", "loop": block})
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "limit_exceeded"
        assert "count#3/n" not in run.state.steps

    def test_a_name_means_the_step_of_its_own_round_and_afterwards_of_the_last(self) -> None:
        first: JsonObject = {"id": "a", "transform": "${{ iteration }}"}
        second: JsonObject = {"id": "b", "transform": "${{ steps.a.output * 10 }}"}
        block: JsonObject = {"do": [first, second], "until": "${{ steps.b.output >= 20 }}"}
        run = run_of({"id": "count", "loop": block}, output="${{ [steps.a.output, steps.b.output] }}")
        assert run.ends[0].output == [2, 20]

    def test_after_while_and_past_max_iterations_a_name_means_the_step_of_the_last_round_that_ran(self) -> None:
        step: JsonObject = {"id": "n", "transform": "${{ iteration }}"}
        over: JsonObject = {"do": [step], "while": "${{ iteration < 2 }}"}
        assert run_of({"id": "count", "loop": over}, output="${{ steps.n.output }}").ends[0].output == 1
        never: JsonObject = {"do": [step], "while": "${{ true }}", "max_iterations": 3}
        run = run_of({"id": "count", "loop": never, "on_error": "continue"}, output="${{ steps.n.output }}")
        assert run.ends[0].output == 2

    def test_three_hundred_rounds_of_steps_that_end_at_once(self) -> None:
        block: JsonObject = {"do": [{"id": "n", "transform": 1}], "until": "${{ iteration == 299 }}"}
        run = run_of({"id": "count", "loop": block | {"max_iterations": 300}})
        assert len(run.state.steps) == 301
        assert run.ends[0].status == "succeeded"

    def test_a_round_of_skipped_steps_gives_null_and_not_what_the_round_before_gave(self) -> None:
        step: JsonObject = {"id": "n", "when": "${{ iteration == 0 }}", "transform": 1}
        block: JsonObject = {"do": [step], "until": "${{ iteration == 1 }}"}
        assert run_of({"id": "count", "loop": block}).ends[0].output is None

    def test_a_loop_inside_a_map_inside_a_loop(self) -> None:
        inner: JsonObject = {
            "id": "inner",
            "loop": {"do": [{"id": "n", "transform": "${{ [item, iteration] }}"}], "until": "${{ iteration == item }}"},
        }
        outer: JsonObject = {"do": [each("${{ [0, iteration + 1] }}", inner)], "until": "${{ iteration == 1 }}"}
        run = run_of({"id": "outer", "loop": outer})
        assert run.ends[0].output == [[0, 0], [2, 2]]
        assert "outer#1/map/inner[1]#2/n" in run.state.steps


class TestOnError:
    def test_continue_goes_on_with_null(self) -> None:
        run = run_of(ask("a", on_error="continue"), ask("b", input="${{ [steps.a.status, steps.a.error.type] }}"))
        fail(run, "a")
        calls = [command for command in run.seen if isinstance(command, RunAgent)]
        assert calls[-1].input == ["failed", "upstream_error"]
        answer(run, "b")
        assert run.ends[0].status == "succeeded"

    def test_the_first_clause_that_names_the_type_runs_with_the_error(self) -> None:
        catches = [
            {"catch": ["rate_limited"], "steps": [{"id": "wrong", "transform": 1}]},
            {"catch": ["timeout", "upstream_error"], "steps": [{"id": "sorry", "transform": "${{ error.type }}!"}]},
            {"catch": "all", "steps": [{"id": "late", "transform": 2}]},
        ]
        run = run_of(ask("a", on_error=catches), {"id": "after", "transform": "${{ prev.output }}"})
        fail(run, "a")
        assert run.ends[0].output == "upstream_error!"
        assert list(run.state.steps) == ["a", "a/sorry", "after"]
        assert run.state.steps["a"].status == "failed"

    def test_an_error_that_no_clause_names_fails_the_run(self) -> None:
        run = run_of(ask("a", on_error=[{"catch": ["timeout"], "steps": [{"id": "h", "transform": 1}]}]))
        fail(run, "a")
        assert run.ends[0].status == "failed"

    def test_an_error_in_what_catches_fails_the_step(self) -> None:
        run = run_of(ask("a", on_error=[{"catch": "all", "steps": [ask("h")]}]))
        fail(run, "a", "timeout")
        fail(run, "a/h", "rate_limited")
        assert run.ends[0].error is not None
        assert (run.ends[0].error.type, run.ends[0].error.step_id) == ("rate_limited", "a/h")

    def test_a_block_catches_what_fails_inside_and_names_its_place(self) -> None:
        block = each([1, 2]) | {
            "on_error": [{"catch": "all", "steps": [{"id": "h", "transform": "${{ error.step_id }}"}]}]
        }
        run = run_of(block)
        fail(run, "map/one[1]")
        run.feed(StepCancelled(run.at, "map/one[0]"))
        assert run.ends[0].output == "map/one[1]"

    def test_a_loop_that_is_caught_goes_on_with_the_handler_s_path(self) -> None:
        block: JsonObject = {"do": [ask("a")], "until": "${{ false }}"}
        catches = [{"catch": "all", "steps": [{"id": "h", "transform": "${{ steps.a.status }}"}]}]
        run = run_of({"id": "again", "loop": block, "on_error": catches})
        answer(run, "again#0/a")
        fail(run, "again#1/a")
        assert run.ends[0].output == "failed"
        assert "again/h" in run.state.steps
