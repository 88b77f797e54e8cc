"""Retries and replays on the pure core: what runs again, what is recalled, and what the run then comes to."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from studio.contracts.base import JsonObject
from studio.contracts.definitions import parse_workflow
from studio.contracts.interaction import Decision, Resolution
from studio.contracts.runs import Resumption, StepRun
from studio.engine.plan import compile_plan
from studio.engine.recalls import has_more, resumed
from studio.engine.reruns import plan_rerun
from studio.engine.scheduler import advance
from studio.engine.state import (
    ApprovalDecided,
    EndRun,
    RunFacts,
    RunStarted,
    RunState,
    SignalReceived,
    StepResolved,
    Ticked,
)
from studio.engine.step_names import UnknownStep
from studio.engine.turn import TURN_COST
from tests.support.lives import START, USED, Life, ask

SECOND = timedelta(seconds=1)


class TestChain:
    def test_what_failed_and_what_was_not_reached_runs(self) -> None:
        life = Life(ask("a"), ask("b"), ask("c"))
        life.run("b")
        first = life.steps
        rerun = life.again()
        assert rerun.again == {"b": "it failed: invalid_request"}
        assert life.called == ["b", "c"]
        assert life.ended.end.status == "succeeded"
        assert life.steps["a"] == first["a"]
        assert [life.steps[path].attempt for path in ("a", "b", "c")] == [1, 2, 1]

    def test_what_only_comes_later_is_kept_and_what_uses_it_is_not(self) -> None:
        life = Life(
            ask("hole", on_error="continue"),
            ask("other", input=1),
            ask("uses", input="${{ steps.hole.output }}"),
            ask("previous"),
            ask("later", input="${{ [steps.other.output] }}"),
        )
        life.run("hole")
        life.again()
        assert life.called == ["hole", "uses", "previous"]
        assert life.input("uses") == "hole"
        assert life.ended.end.output == "later"

    def test_events_and_sums_go_on_and_kept_steps_are_not_told_again(self) -> None:
        life = Life(ask("a"), {"id": "s", "sequential": {"steps": [ask("b"), ask("c")]}}, ask("d"))
        life.run("s/c")
        assert life.told("run.started") == [(None, 1)]
        life.again("d")
        assert life.told("run.retried") == [(None, 2)]
        assert life.told("step.started") == [("s", 2), ("s/c", 2), ("d", 1)]
        assert life.told("run.failed") == [(None, 2)]
        life.again()
        assert life.told("step.started") == [("d", 2)]
        assert life.told("run.succeeded") == [(None, 3)]
        progress = life.ended.end.progress
        assert (progress.usage.llm_calls, progress.cost_usd) == (6, Decimal(6))
        assert life.steps["s/c"].usage.total_tokens == 2 * USED.total_tokens

    def test_a_skipped_step_is_asked_anew_only_when_what_it_names_changed(self) -> None:
        life = Life(
            ask("a", on_error="continue"),
            ask("b", when="${{ steps.a.status == 'succeeded' }}"),
            ask("c", when="${{ steps.a.status == 'failed' }}"),
        )
        life.run("a")
        rerun = life.again()
        assert list(rerun.again) == ["a", "c"]
        assert life.called == ["a", "b"]
        assert {path: step.status for path, step in life.steps.items()} == {
            "a": "succeeded",
            "b": "succeeded",
            "c": "skipped",
        }


class TestErrors:
    def test_a_failure_that_was_caught_stays_and_so_does_what_caught_it(self) -> None:
        handler: JsonObject = {"catch": "all", "steps": [ask("sorry", input="${{ error.type }}")]}
        block: JsonObject = {
            "id": "s",
            "retry": {"max_attempts": 2, "initial_interval": "1s"},
            "on_error": [{"catch": "all", "steps": [ask("instead")]}],
            "sequential": {"steps": [ask("x", input=1)]},
        }
        life = Life(ask("a", on_error=[handler]), block, ask("b"))
        life.run("a", "s/x", "b")
        before = life.steps
        rerun = life.again()
        assert list(rerun.again) == ["b"]
        assert life.called == ["b"]
        assert {path: life.steps[path] for path in ("a", "a/sorry", "s", "s/x", "s/instead")} == {
            path: before[path] for path in ("a", "a/sorry", "s", "s/x", "s/instead")
        }

    def test_a_handler_that_failed_means_that_its_step_runs_again(self) -> None:
        life = Life(ask("a", on_error=[{"catch": "all", "steps": [ask("sorry")]}]))
        life.run("a", "a/sorry")
        rerun = life.again()
        assert list(rerun.again) == ["a"]
        assert life.called == ["a"]

    def test_a_hole_in_a_handler_is_filled_without_the_step(self) -> None:
        handler: JsonObject = {"catch": "all", "steps": [ask("one"), ask("two", on_error="continue")]}
        life = Life(ask("a", on_error=[handler]), ask("b"))
        life.run("a", "a/two", "b")
        life.again()
        assert life.called == ["a/two", "b"]
        assert life.steps["a"].output == "a/two"

    def test_what_was_undone_runs_again(self) -> None:
        life = Life(ask("a", compensate=ask("undo")), ask("b", input=1), ask("c"), finally_=[ask("f")])
        life.run("c")
        assert life.called == ["a", "b", "c", "a/undo", "f"]
        rerun = life.again()
        assert rerun.again["a"] == "it was undone"
        assert life.called == ["a", "c", "f"]
        life.again("c", from_step="c")
        assert life.called == ["c", "a/undo", "f"]

    def test_an_answer_that_made_a_block_fail_is_asked_for_again(self) -> None:
        team: JsonObject = {"id": "t", "hierarchical": {"manager": {}, "workers": [{"name": "w", "agent": {}}]}}
        says = {"t/manager.round-1": '{"delegate": [{"worker": "w", "task": 1}]}', "t/manager.round-2": "{}"}
        life = Life(team, says=says)
        assert life.run().end.status == "failed"
        life.again()
        assert life.called == ["t/manager.round-2"]


class TestBlocks:
    def test_a_map_runs_the_items_that_were_left_out(self) -> None:
        do: JsonObject = {"id": "s", "sequential": {"steps": [ask("one"), ask("two")]}}
        block: JsonObject = {"for_each": "${{ input }}", "do": do, "on_branch_error": "collect", "max_concurrency": 2}
        life = Life({"id": "m", "parallel": block}, ask("sum"), given=["x", "y", "z"])
        life.run("m/s[1]/one")
        assert life.steps["m"].errors is not None
        life.again()
        assert life.called == ["m/s[1]/one", "m/s[1]/two", "sum"]
        assert life.input("sum") == [f"m/s[{index}]/two" for index in range(3)]
        assert life.steps["m"].errors == []

    def test_branches_beside_the_one_that_failed_keep_what_they_had(self) -> None:
        branches = [ask("bad"), {"id": "s", "sequential": {"steps": [ask("one"), ask("two")]}}]
        life = Life({"id": "p", "parallel": {"branches": branches}}, takes={"p/bad": 3, "p/s/two": 9})
        life.run("p/bad")
        assert life.steps["p/s/two"].status == "cancelled"
        life.again()
        assert life.called == ["p/bad", "p/s/two"]
        assert life.ended.end.output == {"bad": "p/bad", "s": "p/s/two"}

    @pytest.mark.parametrize("join", ["any", {"at_least": 1}])
    def test_a_join_that_was_met_does_not_need_the_others_now(self, join: str | JsonObject) -> None:
        branches = [ask("slow"), ask("quick"), ask("bad")]
        life = Life(
            {"id": "p", "parallel": {"branches": branches, "join": join, "on_branch_error": "collect"}},
            ask("last"),
            takes={"p/slow": 9, "p/quick": 2, "p/bad": 1},
        )
        life.run("p/bad", "last")
        before = life.steps
        life.again()
        assert life.called == ["last"]
        assert {path: step for path, step in life.steps.items() if path != "last"} == {
            path: step for path, step in before.items() if path != "last"
        }

    def test_a_race_is_run_again_as_a_whole_when_its_winner_is(self) -> None:
        block: JsonObject = {"branches": [ask("slow"), ask("quick")], "join": "any"}
        life = Life({"id": "p", "parallel": block}, takes={"p/slow": 9, "p/quick": 2})
        life.run()
        life.again(from_step="quick", status="succeeded")
        assert life.called == ["p/slow", "p/quick"]

    def test_a_loop_goes_on_with_the_round_that_failed(self) -> None:
        loop: JsonObject = {"do": [ask("draft"), ask("judge")], "while": "${{ iteration < 4 }}"}
        life = Life({"id": "l", "loop": loop}, ask("after"))
        life.run("l#2/judge")
        life.again()
        assert life.called == ["l#2/judge", "l#3/draft", "l#3/judge", "after"]
        life.again(from_step="l#1/judge")
        assert life.called == ["l#1/judge", "l#2/draft", "l#2/judge", "l#3/draft", "l#3/judge", "after"]

    def test_a_choice_follows_what_it_asks_about(self) -> None:
        cases: list[JsonObject] = [{"when": "${{ steps.a.output == null }}", "steps": [ask("none")]}]
        life = Life(ask("a", on_error="continue"), {"id": "c", "conditional": {"cases": cases, "else": [ask("some")]}})
        life.run("a")
        assert life.called == ["a", "c/none"]
        life.again()
        assert life.called == ["a", "c/some"]

    def test_a_team_keeps_the_rounds_before(self) -> None:
        team: JsonObject = {"manager": {}, "workers": [{"name": "w", "agent": {}}], "parallel": True}
        ask_two = '{"delegate": [{"worker": "w", "task": 1}, {"worker": "w", "task": 2}]}'
        says = {"t/manager.round-1": ask_two, "t/manager.round-2": ask_two, "t/manager.round-3": '{"answer": "done"}'}
        life = Life({"id": "t", "hierarchical": team}, says=says)
        life.run("t/worker.w-2", "t/manager.round-3")
        life.again()  # the report of the failure was part of what the manager went on with, and the team failed
        assert life.called == [
            *["t/worker.w-2", "t/manager.round-2", "t/worker.w-3", "t/worker.w-4", "t/manager.round-3"],
        ]
        assert life.ended.end.output == "done"

    def test_a_graph_runs_what_edges_led_to_later(self) -> None:
        again = "${{ steps.check.output == 'g/check' || steps.check.output == 'g/check@1' }}"
        graph: JsonObject = {
            "nodes": [
                ask("start"),
                ask("side", input=1),
                ask("work", join="any", max_visits=5),
                ask("check", max_visits=5),
                ask("end", input="${{ [steps.check.output, steps.side.output] }}"),
            ],
            "edges": [
                {"from": "start", "to": "work"},
                {"from": "start", "to": "side"},
                {"from": "work", "to": "check"},
                {"from": "check", "to": "work", "when": again},
                {"from": "check", "to": "end", "when": "${{ steps.check.output == 'g/check@2' }}"},
                {"from": "side", "to": "end"},
            ],
        }
        life = Life({"id": "g", "graph": graph})
        life.run("g/work@2")
        life.again("g/end")
        assert life.called == ["g/work@2", "g/check@2", "g/end"]
        life.again(from_step="g/work@1")
        assert life.called == ["g/work@1", "g/check@1", "g/work@2", "g/check@2", "g/end"]
        assert life.ended.end.output == "g/end"
        assert life.input("g/end") == ["g/check@2", "g/side"]


class TestNames:
    LIFE = (
        ask("a"),
        {"id": "m", "parallel": {"for_each": [1, 2, 3], "do": ask("item")}},
        {"id": "t", "transform": 1},
        ask("b", input=2),
    )

    def test_from_step_means_all_that_comes_after_but_not_what_is_beside(self) -> None:
        life = Life(*self.LIFE)
        life.run()
        life.again(from_step="m/item[1]", status="succeeded")
        assert life.called == ["m/item[1]", "b"]
        life.again(from_step="item", status="succeeded")
        assert life.called == ["m/item[0]", "m/item[1]", "m/item[2]", "b"]

    def test_an_input_is_given_to_one_item_or_to_all(self) -> None:
        life = Life(*self.LIFE)
        life.run()
        life.again(inputs={"item[2]": "third", "b": None})
        assert (life.called, life.input("m/item[2]"), life.input("b")) == (["m/item[2]", "b"], "third", None)
        life.again(inputs={"item": 0, "m/item[2]": 7})
        assert [life.input(f"m/item[{index}]") for index in range(3)] == [0, 0, 7]

    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"from_step": "nope"}, "no step 'nope'"),
            ({"from_step": "m/item[1]/x"}, "no step 'm/item[1]/x'"),
            ({"inputs": {"b/c": 1}}, "no step 'b/c'"),
            ({"inputs": {"t": 1}}, "takes no input"),
            ({"overrides": {"": 1}}, "names no step"),
            ({"from_step": "c/x"}, "is inside the child workflow of the step 'c'"),
        ],
    )
    def test_a_name_that_leads_nowhere_is_refused(self, options: JsonObject, says: str) -> None:
        inner: JsonObject = {"pattern": "sequential", "steps": [ask("x")]}
        life = Life(*self.LIFE, {"id": "c", "workflow": "inner"}, workflows={"inner": inner})
        life.run()
        with pytest.raises(UnknownStep) as refused:
            plan_rerun(life.plan, life.recorded, **options)
        assert says in str(refused.value)
        assert refused.value.name in str(options)


class TestReplay:
    def test_it_pays_for_what_it_does_alone(self) -> None:
        life = Life(ask("a"), ask("b"))
        life.run()
        life.again(replay=True, from_step="b", status="succeeded")
        assert life.called == ["b"]
        assert life.told("run.started") == [(None, 1)]
        assert life.ended.end.progress.usage == USED
        assert life.ended.end.progress.cost_usd == Decimal(1)
        assert [(step.attempt, step.usage) for step in life.recorded] == [(1, USED), (1, USED)]

    def test_an_output_that_is_given_counts_and_what_uses_it_runs(self) -> None:
        life = Life(ask("a"), ask("b"), ask("other", input=1), ask("d", when=False), ask("never"))
        life.run("other")
        life.again(replay=True, overrides={"a": "given", "never": {"not": "asked"}})
        assert life.called == ["b", "other"]
        assert life.input("b") == "given"
        assert life.ended.end.output == {"not": "asked"}

    def test_a_block_whose_output_is_given_is_not_entered(self) -> None:
        block: JsonObject = {"id": "s", "sequential": {"steps": [ask("x"), ask("y")]}}
        life = Life(block, ask("b", input="${{ steps.s.output }}"))
        life.run("s/y")
        life.again(overrides={"s": "given"})
        assert (life.called, life.input("b")) == (["b"], "given")

    def test_an_output_can_be_given_to_a_step_that_was_not_reached(self) -> None:
        inner: JsonObject = {
            "id": "s",
            "sequential": {"steps": [ask("x"), {"id": "t", "sequential": {"steps": [ask("y")]}}]},
        }
        life = Life(ask("a"), inner, ask("b", input="${{ steps.y.output }}"))
        life.run("a")
        life.again(overrides={"y": "given"})
        assert (life.called, life.input("b")) == (["a", "s/x", "b"], "given")
        looped = Life(ask("a"), {"id": "l", "loop": {"do": [ask("x")], "while": "${{ iteration < 1 }}"}})
        looped.run("a")
        with pytest.raises(UnknownStep, match="give its path"):
            plan_rerun(looped.plan, looped.recorded, overrides={"x": 1})
        looped.again(overrides={"l#0/x": "given"})
        assert (looped.called, looped.ended.end.output) == (["a"], "given")


class TestPeople:
    def test_what_was_decided_and_what_came_stays(self) -> None:
        life = Life(
            {"id": "ok", "approval": {"message": "fine?"}, "input": 1},
            {"id": "paid", "wait": {"signal": "paid"}},
            {"id": "pause", "wait": {"for": "1h"}},
            ask("a"),
            {"id": "more", "wait": {"signal": "paid"}},
        )
        signals = [SignalReceived(START + 2 * SECOND, "paid", number) for number in (1, 2)]
        decided = ApprovalDecided(START + SECOND, "ok", Decision(decision="approve", by="ada"))
        life.run("a", hears=[decided, *signals])
        life.again()
        assert life.called == ["a"]
        assert (life.steps["ok"].output["by"], life.steps["paid"].output) == ("ada", 1)
        assert life.ended.end.output == 2
        assert life.told("step.waiting") == []

    def test_a_step_that_somebody_skipped_stays_skipped(self) -> None:
        steps = (ask("a"), ask("b"), ask("c", input="${{ steps.b.output }}"))
        life = Life(*steps, on_failure="pause")
        skip, give_up = Resolution(action="skip", by="ada"), Resolution(action="fail", by="ada")
        hears = [StepResolved(START + SECOND, "b", skip), StepResolved(START + 2 * SECOND, "c", give_up)]
        life.run("b", "c", hears=hears)
        life.again()
        assert life.called == ["c"]
        assert (life.steps["b"].status, life.steps["b"].resolved_by) == ("skipped", "ada")
        assert life.ended.end.output == "c"
        assert life.told("step.skipped") == []
        assert list(life.again(inputs={"b": "repaired"}).again) == ["b", "c"]
        assert life.called == ["b", "c"]


class TestLargeRuns:
    def test_ten_thousand_kept_steps_take_turns_of_bounded_cost(self) -> None:
        document: JsonObject = {
            "name": "large",
            "pattern": "sequential",
            "steps": [{"id": "m", "parallel": {"for_each": "${{ input }}", "do": ask("s")}}, ask("end", input=0)],
        }
        plan, given = compile_plan(parse_workflow(document)), list(range(10_000))
        at = datetime(2026, 1, 1, tzinfo=UTC)
        ended = {"status": "succeeded", "started_at": at, "ended_at": at}
        steps = [StepRun(id="m", kind="parallel", started_at=at)]
        steps += [StepRun(id=f"m/s[{index}]", kind="agent", output=index).model_copy(update=ended) for index in given]
        rerun = plan_rerun(plan, steps)
        assert (len(rerun.kept), rerun.again) == (10_000, {})
        resume = Resumption(steps=rerun.steps, kept=rerun.kept)
        state = resumed(RunState(run=RunFacts(id="run_1"), input=given), resume, 1)
        state, _ = advance(plan, state, RunStarted(at))
        turns = 1
        while has_more(state):
            assert state.turn_cost <= TURN_COST + 1_000
            if turns == 2:  # once is enough: it is the same each time, and large
                state = RunState.model_validate_json(state.model_dump_json())
            state, commands = advance(plan, state, Ticked(at))
            turns += 1
            assert not any(isinstance(command, EndRun) for command in commands)
        assert turns > 2
        assert state.steps["m"].output == given
        assert state.steps["end"].status == "running"
