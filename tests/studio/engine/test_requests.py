"""Signals, approvals, pauses, limits and child workflows on the core alone."""

from datetime import datetime, timedelta
from typing import Any, ClassVar

import pytest

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import parse_workflow
from studio.contracts.interaction import Decision
from studio.contracts.runs import Resumption, RunError, RunUsage, StepRun
from studio.contracts.waits import Limits
from studio.engine import waits
from studio.engine.plan import compile_plan
from studio.engine.progress import progress_of
from studio.engine.recalls import resumed
from studio.engine.state import (
    ApprovalDecided,
    CancelRequested,
    LimitsChanged,
    PauseRequested,
    Publish,
    ResumeRequested,
    RunChild,
    SignalReceived,
    StartTimer,
    StepFailed,
    StepSucceeded,
    TimerFired,
)
from tests.studio.engine.test_scheduler import Run, ask, new_state, plan_of


def listen(step_id: str, name: str, **wait: Json) -> JsonObject:
    return {"id": step_id, "wait": {"signal": name, **wait}}


def approve(step_id: str, **fields: Json) -> JsonObject:
    approval = {"message": "Send ${{ input }}?", **fields.pop("approval", {})}
    return {"id": step_id, "approval": approval, "input": "the letter", **fields}


def done(run: Run, path: str, output: Json = "ok", **fields: Any) -> None:
    run.feed(StepSucceeded(run.at, path, output, **fields))


def statuses(run: Run) -> dict[str, str]:
    return {path: step.status for path, step in run.state.steps.items()}


class TestSignals:
    def test_a_step_waits_for_its_signal_and_gives_the_payload(self) -> None:
        run = Run(plan_of([listen("a", "go")]))
        assert progress_of(run.state).status == "waiting"
        run.feed(SignalReceived(run.at, "other", 1))
        assert not run.ends
        run.feed(SignalReceived(run.at, "go", {"x": 1}))
        assert run.ends[0].output == {"x": 1}

    def test_of_those_with_the_same_key_one_counts_also_in_a_retry(self) -> None:
        plan = plan_of([listen("a", "go"), listen("b", "go"), ask("c")])
        run = Run(plan)
        for payload in (1, 2):
            run.feed(SignalReceived(run.at, "go", payload, "key"))
        assert (run.state.steps["a"].output, run.state.steps["b"].status) == (1, "waiting")
        run.feed(SignalReceived(run.at, "other", 3, "key"))
        assert run.state.signals == {"other": [3]}
        left = progress_of(run.state)
        again = resumed(new_state(None), Resumption(signals=left.signals, heard=left.heard), 1)
        assert (again.heard, again.signals) == (["go/key", "other/key"], {"other": [3]})

    def test_the_newest_keys_are_remembered(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(waits, "MAX_KEYS", 3)
        run = Run(plan_of([ask("a")]))
        for key in "abcdb":
            run.feed(SignalReceived(run.at, "go", None, key))
        assert run.state.heard == ["go/b", "go/c", "go/d"]
        assert len(run.state.signals["go"]) == 4

    def test_signals_that_came_before_are_taken_in_their_order(self) -> None:
        run = Run(plan_of([ask("first"), listen("a", "go"), listen("b", "go")], output="${{ steps.a.output }}"))
        run.feed(SignalReceived(run.at, "go", 1))
        run.feed(SignalReceived(run.at, "go", 2))
        done(run, "first")
        assert (run.state.steps["a"].output, run.state.steps["b"].output) == (1, 2)

    def test_one_signal_wakes_the_step_that_waited_longest(self) -> None:
        branches = [listen("a", "go"), listen("b", "go")]
        run = Run(plan_of([{"id": "p", "parallel": {"branches": branches}}]))
        run.feed(SignalReceived(run.at, "go", 1))
        assert statuses(run) == {"p": "running", "p/a": "succeeded", "p/b": "waiting"}

    def test_one_that_does_not_come_in_time_fails_the_step(self) -> None:
        run = Run(plan_of([listen("a", "go", timeout="1h")]))
        run.feed(TimerFired(run.at, "wait:a"))
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "timeout"

    def test_a_step_whose_failure_is_being_handled_takes_no_signal(self) -> None:
        step = listen("a", "go", timeout="1h") | {"on_error": [{"catch": "all", "steps": [ask("b")]}]}
        run = Run(plan_of([step]))
        run.feed(TimerFired(run.at, "wait:a"))
        run.feed(SignalReceived(run.at, "go", 1))
        assert statuses(run) == {"a": "running", "a/b": "running"}
        done(run, "a/b", "instead")
        assert run.ends[0].output == "instead"

    def test_a_payload_must_fit_the_output_schema(self) -> None:
        run = Run(plan_of([listen("a", "go") | {"output_schema": {"type": "integer"}}]))
        run.feed(SignalReceived(run.at, "go", "x"))
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "schema_mismatch"


class TestApprovals:
    def test_what_is_shown_is_told_and_hashed(self) -> None:
        run = Run(plan_of([approve("a")]), "it")
        told = [one.event.data for one in run.seen if isinstance(one, Publish) and one.event.type == "step.waiting"]
        assert told[0]["message"] == "Send it?"
        assert told[0]["input"] == "the letter"
        other = Run(plan_of([approve("a")]), "else")
        assert told[0]["hash"] == (run.state.steps["a"].waiting or {})["hash"]
        assert told[0]["hash"] != (other.state.steps["a"].waiting or {})["hash"]

    def test_the_decision_is_the_output(self) -> None:
        run = Run(plan_of([approve("a")]))
        run.feed(ApprovalDecided(run.at, "a", Decision(decision="reject", comment="no", by="someone")))
        assert run.ends[0].output == {
            "decision": "reject",
            "value": "the letter",
            "edited": False,
            "comment": "no",
            "by": "someone",
            "timed_out": False,
        }

    @pytest.mark.parametrize(("allowed", "value"), [(True, "better"), (False, "the letter")])
    def test_an_edit_counts_where_it_is_allowed(self, allowed: bool, value: str) -> None:
        run = Run(plan_of([approve("a", approval={"allow_edit": allowed})]))
        run.feed(ApprovalDecided(run.at, "a", Decision(decision="approve", edit=["better"], by="someone")))
        assert run.ends[0].output["value"] == value

    def test_a_second_decision_changes_nothing(self) -> None:
        run = Run(plan_of([approve("a"), ask("b")]))
        run.feed(ApprovalDecided(run.at, "a", Decision(decision="approve", by="one")))
        before = run.state
        run.feed(ApprovalDecided(run.at, "a", Decision(decision="reject", by="two")))
        assert run.state.steps == before.steps

    @pytest.mark.parametrize("decision", ["approve", "reject"])
    def test_time_decides_when_nobody_does(self, decision: str) -> None:
        run = Run(plan_of([approve("a", approval={"timeout": "1h", "on_timeout": decision})]))
        run.feed(TimerFired(run.at, "wait:a"))
        assert run.ends[0].output["decision"] == decision
        assert run.ends[0].output["timed_out"]

    ESCALATES: ClassVar[JsonObject] = {
        "timeout": "1h",
        "on_timeout": "escalate",
        "escalation": {"to": "boss of ${{ input }}", "timeout": "2h", "on_timeout": "approve"},
    }

    def test_in_vain_it_is_escalated_and_then_the_default_decides(self) -> None:
        run = Run(plan_of([approve("a", approval=self.ESCALATES)]), "it")
        run.feed(TimerFired(run.at, "wait:a"))
        first, second = (one.event for one in run.seen if isinstance(one, Publish) and one.event.type == "step.waiting")
        assert first.key() != second.key()
        assert (first.data["escalated"], first.data["escalate_to"]) == (False, "boss of it")
        assert second.data == first.data | {"escalated": True, "until": second.data["until"]}
        assert second.ts + timedelta(hours=2) == datetime.fromisoformat(second.data["until"])
        run.feed(TimerFired(run.at, "wait:a"))
        assert (run.ends[0].output["decision"], run.ends[0].output["timed_out"]) == ("approve", True)

    def test_what_is_escalated_can_be_decided_by_anybody_without_end(self) -> None:
        escalation = {"escalation": {"to": "boss"}}
        run = Run(plan_of([approve("a", approval=self.ESCALATES | escalation)]))
        run.feed(TimerFired(run.at, "wait:a"))
        assert "until" not in (run.state.steps["a"].waiting or {})
        assert run.state.timers == {}
        run.feed(ApprovalDecided(run.at, "a", Decision(decision="reject", by="someone")))
        assert (run.ends[0].output["decision"], run.ends[0].output["by"]) == ("reject", "someone")

    def test_in_parallel_branches_inside_a_loop_each_round_asks_anew(self) -> None:
        branches = [approve("x"), approve("y")]
        do = [{"id": "p", "parallel": {"branches": branches}}]
        run = Run(plan_of([{"id": "l", "loop": {"do": do, "until": "${{ iteration == 1 }}"}}]))
        for number in (0, 1):
            for branch in ("y", "x"):
                path = f"l#{number}/p/{branch}"
                assert run.state.steps[path].status == "waiting"
                run.feed(ApprovalDecided(run.at, path, Decision(decision="approve", by="me")))
        assert run.ends[0].status == "succeeded"


class TestPauses:
    def test_no_step_starts_until_the_run_is_resumed(self) -> None:
        run = Run(plan_of([ask("a"), ask("b")]))
        run.feed(PauseRequested(run.at))
        done(run, "a")
        assert run.started() == ["a"]
        assert progress_of(run.state).status == "paused"
        run.feed(ResumeRequested(run.at))
        assert run.started() == ["a", "b"]
        assert [kind for kind, _ in run.events() if kind in {"run.paused", "run.resumed"}] == [
            "run.paused",
            "run.resumed",
        ]

    def test_held_steps_start_in_the_order_in_which_they_were_reached(self) -> None:
        do = {"id": "x", "agent": "writer"}
        run = Run(plan_of([ask("a"), {"id": "m", "parallel": {"for_each": [1, 2, 3], "do": do}}]))
        run.feed(PauseRequested(run.at))
        done(run, "a")
        run.feed(ResumeRequested(run.at))
        assert run.started() == ["a", "m/x[0]", "m/x[1]", "m/x[2]"]

    def test_a_paused_run_can_be_cancelled(self) -> None:
        run = Run(plan_of([ask("a"), ask("b")], **{"finally": [ask("f")]}))
        run.feed(PauseRequested(run.at))
        done(run, "a")
        run.feed(CancelRequested(run.at))
        assert run.waiting() == ["f"]
        done(run, "f")
        assert run.ends[0].status == "cancelled"
        assert statuses(run)["b"] == "skipped"

    def test_each_pause_is_told_though_there_were_others(self) -> None:
        run = Run(plan_of([ask("a")]))
        for _ in range(2):
            run.feed(PauseRequested(run.at))
            run.feed(PauseRequested(run.at))
            run.feed(ResumeRequested(run.at))
        keys = [one.event.key() for one in run.seen if isinstance(one, Publish) and one.event.type == "run.paused"]
        assert keys == ["run.paused::1", "run.paused::2"]


class TestLimits:
    def test_a_reached_limit_pauses_and_raising_it_lets_the_run_go_on(self) -> None:
        run = Run(plan_of([ask("a"), ask("b")], limits={"max_tokens": 10}))
        done(run, "a", usage=RunUsage(total_tokens=12))
        assert (run.started(), progress_of(run.state).status) == (["a"], "paused")
        run.feed(ResumeRequested(run.at))
        assert progress_of(run.state).status == "paused"
        run.feed(LimitsChanged(run.at, Limits(max_tokens=20)))
        run.feed(ResumeRequested(run.at))
        done(run, "b")
        assert run.ends[0].status == "succeeded"

    def test_what_a_change_does_not_name_stays(self) -> None:
        run = Run(plan_of([ask("a")], limits={"max_tokens": 10, "max_steps": 5, "on_exceeded": "fail"}))
        run.feed(LimitsChanged(run.at, Limits(max_tokens=None)))
        assert run.state.limits == Limits(max_steps=5, on_exceeded="fail")

    def test_a_new_timeout_counts_from_the_start(self) -> None:
        run = Run(plan_of([ask("a")], limits={"timeout": "1h"}))
        run.feed(LimitsChanged(run.at, Limits.model_validate({"timeout": "2h"})))
        timers = [one for one in run.seen if isinstance(one, StartTimer)]
        assert (timers[1].at - timers[0].at).total_seconds() == 3600


class TestChildWorkflows:
    STEP: JsonObject = {"id": "c", "workflow": "other", "input": 5}

    def test_is_asked_for_and_its_output_is_the_steps(self) -> None:
        run = Run(plan_of([self.STEP]))
        assert [one for one in run.seen if isinstance(one, RunChild)] == [RunChild(path="c", workflow="other", input=5)]
        inner = [StepRun(id="c/x", kind="transform", status="succeeded", output=1)]
        done(run, "c", "out", inner=inner, usage=RunUsage(total_tokens=3))
        assert run.ends[0].output == "out"
        assert list(run.state.steps) == ["c", "c/x"]
        assert run.state.usage.total_tokens == 3

    def test_its_failure_keeps_the_place_inside_and_can_be_caught(self) -> None:
        run = Run(plan_of([self.STEP | {"on_error": "continue"}, ask("b")]))
        error = RunError(type="upstream_error", message="no", step_id="c/x")
        run.feed(StepFailed(run.at, "c", error))
        assert run.state.steps["c"].error == error
        assert run.waiting() == ["b"]

    def test_one_that_is_tried_again_counts_its_steps_attempts_on(self) -> None:
        run = Run(plan_of([self.STEP | {"retry": {"max_attempts": 2, "initial_interval": "1s"}}]))
        inner = [StepRun(id="c/x", kind="agent", status="failed", attempt=3)]
        run.feed(StepFailed(run.at, "c", RunError(type="upstream_error", message="no"), inner=inner))
        run.feed(TimerFired(run.at, "retry:c"))
        assert [one.attempts_before for one in run.seen if isinstance(one, RunChild)] == [0, 3]


class TestAnyPatternAsTheWhole:
    def test_a_map_gives_its_list_and_output_may_reshape_it(self) -> None:
        document = {"name": "x", "pattern": "parallel", "for_each": "${{ input }}", "do": ask("one")}
        plan = compile_plan(parse_workflow(document | {"output": "${{ size(prev.output) }}"}))
        run = Run(plan, ["a", "b"])
        done(run, "one[1]", 2)
        done(run, "one[0]", 1)
        assert run.ends[0].output == 2
        assert [step.output for step in run.state.steps.values()] == [1, 2]

    def test_a_choice(self) -> None:
        cases = [{"when": "${{ input > 3 }}", "steps": [ask("big")]}]
        plan = compile_plan(
            parse_workflow({"name": "x", "pattern": "conditional", "cases": cases, "else": [ask("small")]})
        )
        run = Run(plan, 5)
        done(run, "big", "B")
        assert run.ends[0].output == "B"

    def test_a_graph(self) -> None:
        nodes, edges = [ask("a"), ask("b")], [{"from": "a", "to": "b"}]
        run = Run(compile_plan(parse_workflow({"name": "x", "pattern": "graph", "nodes": nodes, "edges": edges})))
        done(run, "a")
        done(run, "b", "end")
        assert run.ends[0].output == "end"

    def test_a_team(self) -> None:
        team = {"manager": "boss", "workers": [{"name": "w", "agent": "hand"}]}
        run = Run(compile_plan(parse_workflow({"name": "x", "pattern": "hierarchical", **team})), "task")
        done(run, "manager.round-1", {"delegate": [{"worker": "w", "task": "t"}]})
        done(run, "worker.w-1", "r")
        done(run, "manager.round-2", {"answer": "A"})
        assert run.ends[0].output == "A"

    def test_what_collects_failures_ends_well(self) -> None:
        document: JsonObject = {"name": "x", "pattern": "parallel", "branches": [ask("a"), ask("b")]}
        run = Run(compile_plan(parse_workflow(document | {"on_branch_error": "collect"})))
        run.feed(StepFailed(run.at, "a", RunError(type="timeout", message="slow")))
        done(run, "b", 2)
        assert run.ends[0].output == {"a": None, "b": 2}
