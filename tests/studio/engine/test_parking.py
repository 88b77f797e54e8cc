"""Steps that wait for somebody after their failure, on the core alone."""

from datetime import timedelta
from typing import Any

import pytest

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import parse_workflow
from studio.contracts.interaction import Resolution
from studio.contracts.runs import RunError, RunUsage
from studio.contracts.waits import Limits
from studio.engine.plan import Plan, compile_plan
from studio.engine.progress import progress_of
from studio.engine.scheduler import answer_errors
from studio.engine.state import (
    CancelRequested,
    LimitsChanged,
    PauseRequested,
    Publish,
    ResumeRequested,
    RunAgent,
    RunChild,
    StepFailed,
    StepResolved,
    StepSucceeded,
    TimerFired,
)
from tests.studio.engine.test_scheduler import Run, ask
from tests.support import lives

SECOND = timedelta(seconds=1)
NO = RunError(type="upstream_error", message="no")


def parking(*steps: JsonObject, **fields: Json) -> Plan:
    document = {"name": "x", "pattern": "sequential", "steps": list(steps), "on_failure": "pause", **fields}
    return compile_plan(parse_workflow(document))


def fail(run: Run, path: str, **fields: Any) -> None:
    run.feed(StepFailed(run.at, path, NO, **fields))


def done(run: Run, path: str, output: Json = "ok") -> None:
    run.feed(StepSucceeded(run.at, path, output))


def resolve(run: Run, path: str, action: Any, output: Json = None) -> None:
    run.feed(StepResolved(run.at, path, Resolution(action=action, output=output, by="ann")))


def told(run: Run, event_type: str) -> list[tuple[str | None, int, JsonObject]]:
    events = [one.event for one in run.seen if isinstance(one, Publish)]
    return [(event.step_id, event.attempt, event.data) for event in events if event.type == event_type]


def statuses(run: Run) -> dict[str, str]:
    return {path: step.status for path, step in run.state.steps.items()}


def fan(*branches: JsonObject, **fields: Json) -> JsonObject:
    return {"id": "p", "parallel": {"branches": list(branches), **fields}}


class TestParking:
    def test_the_step_waits_and_the_run_is_paused_for_it(self) -> None:
        run = Run(parking(ask("a"), ask("b")))
        fail(run, "a")
        error = {"type": "upstream_error", "message": "no", "step_id": "a"}
        waiting = {"for": "resolve", "error": error, "actions": ["retry", "skip", "done", "fail"]}
        assert run.state.steps["a"].waiting == waiting
        assert told(run, "step.waiting") == [("a", 1, waiting)]
        assert told(run, "run.paused") == [(None, 1, {"status": "paused", "reason": "step_failed", "step_id": "a"})]
        assert progress_of(run.state).status == "paused"
        assert (run.ends, run.started()) == ([], ["a"])

    def test_branches_under_way_go_on_to_their_end_and_start_nothing(self) -> None:
        chain = {"id": "s", "sequential": {"steps": [ask("b"), ask("c")]}}
        run = Run(parking(fan(ask("a"), chain)))
        fail(run, "p/a")
        done(run, "p/s/b")
        assert run.started() == ["p/a", "p/s/b"]
        resolve(run, "p/a", "skip")
        assert run.started() == ["p/a", "p/s/b", "p/s/c"]
        done(run, "p/s/c", 1)
        assert run.ends[0].output == {"a": None, "s": 1}

    @pytest.mark.parametrize(
        ("step", "path"),
        [
            pytest.param({"id": "a", "transform": "${{ [][0] }}"}, "a", id="a transform"),
            pytest.param(ask("a", when="${{ [][0] }}"), "a", id="a condition"),
            pytest.param(ask("a", input="${{ [][0] }}"), "a", id="an input"),
        ],
    )
    def test_what_never_began_is_parked_too_and_tried_again(self, step: JsonObject, path: str) -> None:
        run = Run(parking(step))
        assert run.state.parked == [path]
        resolve(run, path, "retry")
        assert run.state.parked == [path]
        assert run.state.steps[path].attempt == 2
        resolve(run, path, "done", 5)
        assert run.ends[0].output == 5

    @pytest.mark.parametrize("timer", ["wait:a", "timeout:a"])
    def test_a_wait_that_was_in_vain(self, timer: str) -> None:
        run = Run(parking({"id": "a", "timeout": "2h", "wait": {"signal": "go", "timeout": "1h"}}))
        run.feed(TimerFired(run.at, timer))
        assert run.state.parked == ["a"]
        keys = [one.event.key() for one in run.seen if isinstance(one, Publish) and one.event.type == "step.waiting"]
        assert len(set(keys)) == 2
        resolve(run, "a", "retry")
        assert (run.state.steps["a"].waiting or {})["for"] == "signal"
        assert run.state.timers.keys() == {"wait:a", "timeout:a"}

    def test_a_child_workflow_begins_again(self) -> None:
        run = Run(parking({"id": "c", "workflow": "other"}))
        fail(run, "c")
        resolve(run, "c", "retry")
        assert [one.path for one in run.seen if isinstance(one, RunChild)] == ["c", "c"]
        done(run, "c", 1)
        assert run.ends[0].output == 1

    def test_a_child_workflow_that_is_tried_again_goes_on_where_it_failed(self) -> None:
        inner: JsonObject = {"pattern": "sequential", "steps": [lives.ask("a"), lives.ask("b")]}
        life = lives.Life({"id": "c", "workflow": "inner"}, workflows={"inner": inner}, on_failure="pause")
        again, give_up = Resolution(action="retry", by="ann"), Resolution(action="fail", by="ann")
        life.run(
            "c/b",
            hears=[StepResolved(lives.START + number * SECOND, "c", one) for number, one in [(1, again), (2, give_up)]],
        )
        assert life.called == ["c/a", "c/b", "c/b"]
        assert [life.steps[path].attempt for path in ("c/a", "c/b")] == [1, 2]

    def test_a_child_workflow_whose_answer_was_refused_begins_at_its_beginning(self) -> None:
        inner: JsonObject = {"pattern": "sequential", "steps": [lives.ask("a")]}
        step: JsonObject = {"id": "c", "workflow": "inner", "output_schema": {"type": "integer"}}
        life = lives.Life(step, workflows={"inner": inner}, on_failure="pause")
        again, give_up = Resolution(action="retry", by="ann"), Resolution(action="fail", by="ann")
        said = enumerate([again, give_up], start=1)
        life.run(hears=[StepResolved(lives.START + after * SECOND, "c", one) for after, one in said])
        assert life.called == ["c/a", "c/a"]

    def test_cancel_ends_it(self) -> None:
        run = Run(parking(ask("a"), **{"finally": [ask("f")]}))
        fail(run, "a")
        run.feed(CancelRequested(run.at))
        done(run, "f")
        assert (run.ends[0].status, statuses(run)["a"]) == ("cancelled", "cancelled")
        assert told(run, "run.resumed") == []

    def test_the_runs_timeout_ends_it(self) -> None:
        run = Run(parking(ask("a"), limits={"timeout": "1h"}))
        fail(run, "a")
        run.feed(TimerFired(run.at, "run:"))
        assert run.ends[0].status == "timed_out"

    def test_the_timeout_of_a_block_around_it_ends_it_and_the_pause(self) -> None:
        late = [{"catch": ["timeout"], "steps": [ask("x")]}]
        run = Run(parking({"id": "s", "timeout": "1h", "sequential": {"steps": [ask("a")]}, "on_error": late}))
        fail(run, "s/a")
        run.feed(TimerFired(run.at, "timeout:s"))
        assert (statuses(run)["s/a"], run.state.parked, run.started()) == ("cancelled", [], ["s/a", "s/x"])

    @pytest.mark.parametrize("phase", ["finally", "compensate"])
    def test_not_while_the_run_is_undone_or_in_finally(self, phase: str) -> None:
        first = {"id": "kept", "transform": 1, "compensate": ask("u")} if phase == "compensate" else ask("kept")
        run = Run(parking(first, ask("a"), **({"finally": [ask("f")]} if phase == "finally" else {})))
        if phase == "finally":
            done(run, "kept")
        fail(run, "a")
        resolve(run, "a", "fail")
        fail(run, "f" if phase == "finally" else "kept/u")
        assert run.ends[0].status == "failed"


class TestWhatIsDealtWith:
    @pytest.mark.parametrize(
        ("step", "paths"),
        [
            pytest.param(ask("a", on_error="continue"), ["a"], id="continue"),
            pytest.param(
                ask("a", on_error=[{"catch": ["upstream_error"], "steps": [ask("x")]}]), ["a"], id="a clause of its own"
            ),
            pytest.param(
                {"id": "s", "on_error": "continue", "sequential": {"steps": [fan(ask("a"))]}}, ["s/p/a"], id="around it"
            ),
            pytest.param(
                {"id": "s", "retry": {"max_attempts": 2}, "sequential": {"steps": [ask("a")]}}, ["s/a"], id="retry left"
            ),
            pytest.param(fan(ask("a"), ask("b"), on_branch_error="collect"), ["p/a"], id="collected"),
            pytest.param(fan(ask("a"), ask("b"), join="any"), ["p/a"], id="a join that can be met"),
        ],
    )
    def test_is_not_parked(self, step: JsonObject, paths: list[str]) -> None:
        run = Run(parking(step, ask("after")))
        for path in paths:
            fail(run, path)
        assert run.state.parked == []

    @pytest.mark.parametrize(
        ("step", "paths"),
        [
            pytest.param(
                ask("a", on_error=[{"catch": ["timeout"], "steps": [ask("x")]}]), ["a"], id="a clause for other errors"
            ),
            pytest.param(fan(ask("a"), ask("b"), join="any"), ["p/a", "p/b"], id="a join that cannot be met any more"),
            pytest.param(fan(ask("a"), ask("b")), ["p/b"], id="a join of all"),
            pytest.param(
                {"id": "g", "graph": {"nodes": [ask("a"), ask("b")], "edges": []}}, ["g/a"], id="a node of a graph"
            ),
            pytest.param(
                {"id": "l", "loop": {"do": [ask("a")], "until": "${{ last == 1 }}"}}, ["l#0/a"], id="in a round"
            ),
            pytest.param(
                ask("a", on_error=[{"catch": "all", "steps": [ask("x")]}]), ["a", "a/x"], id="what catches an error"
            ),
        ],
    )
    def test_anything_else_is(self, step: JsonObject, paths: list[str]) -> None:
        run = Run(parking(step, ask("after")))
        for path in paths:
            fail(run, path)
        assert run.state.parked == paths[-1:]
        resolve(run, paths[-1], "fail")
        assert not run.state.parked
        assert "after" not in run.started()

    def test_a_retry_is_used_up_before_the_step_is_parked(self) -> None:
        run = Run(parking({"id": "s", "retry": {"max_attempts": 2}, "sequential": {"steps": [ask("a")]}}))
        fail(run, "s/a")
        run.feed(TimerFired(run.at, "retry:s"))
        fail(run, "s/a")
        assert run.state.parked == ["s/a"]

    def test_a_workers_failure_is_a_report_and_a_managers_is_parked(self) -> None:
        team = {"id": "t", "hierarchical": {"manager": "m", "workers": [{"name": "w", "agent": "w"}], "input": "x"}}
        run = Run(parking(team))
        done(run, "t/manager.round-1", {"delegate": [{"worker": "w", "task": "x"}]})
        fail(run, "t/worker.w-1")
        fail(run, "t/manager.round-2")
        assert run.state.parked == ["t/manager.round-2"]
        assert (run.state.steps["t/manager.round-2"].waiting or {})["actions"] == ["retry", "done", "fail"]
        assert answer_errors(run.plan, run.state, "t/manager.round-2", "text", run.at)
        resolve(run, "t/manager.round-2", "done", {"answer": "done"})
        assert run.ends[0].output == "done"

    def test_a_router_for_which_there_is_no_else_is_parked(self) -> None:
        route = {"agent": "r", "input": 1, "choices": {"left": {"steps": [ask("l")]}}}
        run = Run(parking({"id": "r", "conditional": {"route": route}}))
        run.feed(StepFailed(run.at, "r/router.choice", NO.model_copy(update={"type": "schema_mismatch"})))
        assert run.state.parked == ["r/router.choice"]
        (error,) = answer_errors(run.plan, run.state, "r/router.choice", {"choice": "up"}, run.at)
        assert error.loc == ["choice"]
        resolve(run, "r/router.choice", "done", {"choice": "left"})
        assert run.started()[-1] == "r/l"

    def test_without_on_failure_the_run_fails(self) -> None:
        run = Run(parking(ask("a"), on_failure="fail"))
        fail(run, "a")
        assert run.ends[0].status == "failed"


class TestResolving:
    def test_retry_is_the_next_attempt_and_usage_counts_on(self) -> None:
        run = Run(parking(ask("a", timeout="1h"), ask("b")))
        fail(run, "a", attempt=3, usage=RunUsage(total_tokens=5))
        resolve(run, "a", "retry")
        call = [one for one in run.seen if isinstance(one, RunAgent)][1]
        assert (call.path, call.attempts_before) == ("a", 3)
        assert told(run, "step.retrying")[0][1:] == (
            4,
            {
                "superseded_attempt": 3,
                "error": NO.model_copy(update={"step_id": "a"}).model_dump(),
                "resolved_by": "ann",
            },
        )
        run.feed(StepSucceeded(run.at, "a", "ok", attempt=4, usage=RunUsage(total_tokens=7)))
        assert (run.state.steps["a"].attempt, run.state.steps["a"].usage.total_tokens) == (4, 12)
        assert run.started() == ["a", "a", "b"]

    def test_skip_gives_null(self) -> None:
        run = Run(parking(ask("a"), ask("b")), "question")
        fail(run, "a")
        resolve(run, "a", "skip")
        step = run.state.steps["a"]
        assert (step.status, step.output, step.error, step.resolved_by) == ("skipped", None, None, "ann")
        assert told(run, "step.skipped")[0][2]["resolved_by"] == "ann"
        done(run, "b", 1)
        assert run.ends[0].output == 1

    def test_done_gives_the_output_and_is_compensated_later(self) -> None:
        run = Run(parking(ask("a", compensate={"id": "u", "transform": 1}), ask("b")))
        fail(run, "a")
        resolve(run, "a", "done", {"x": 1})
        fail(run, "b")
        resolve(run, "b", "fail")
        assert run.state.steps["a"].output == {"x": 1}
        assert statuses(run)["a/u"] == "succeeded"
        assert run.ends[0].error == NO.model_copy(update={"step_id": "b"})

    def test_an_output_must_fit_the_schema(self) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        run = Run(parking(ask("a", output_schema=schema)))
        fail(run, "a")
        (error,) = answer_errors(run.plan, run.state, "a", {"n": "x"}, run.at)
        assert error.loc == ["n"]
        assert answer_errors(run.plan, run.state, "a", {"n": 1}, run.at) == []

    def test_one_of_several_is_retried_beside_the_others(self) -> None:
        run = Run(parking(fan(ask("a"), ask("b")), ask("after")))
        fail(run, "p/a")
        fail(run, "p/b")
        assert len(told(run, "run.paused")) == 1
        resolve(run, "p/a", "retry")
        assert run.started() == ["p/a", "p/b", "p/a"]
        done(run, "p/a")
        assert progress_of(run.state).status == "paused"
        resolve(run, "p/b", "done", 2)
        assert len(told(run, "run.resumed")) == 1
        assert run.started()[-1] == "after"

    def test_twice_counts_once(self) -> None:
        run = Run(parking(ask("a"), ask("b")))
        fail(run, "a")
        resolve(run, "a", "done", 1)
        before = run.state
        resolve(run, "a", "fail")
        assert run.state.steps == before.steps


class TestOtherPauses:
    def test_one_that_somebody_asked_for_stays(self) -> None:
        run = Run(parking(ask("a"), ask("b")))
        fail(run, "a")
        run.feed(PauseRequested(run.at))
        resolve(run, "a", "retry")
        assert (run.started(), progress_of(run.state).status) == (["a"], "paused")
        run.feed(ResumeRequested(run.at))
        assert run.started() == ["a", "a"]
        assert [data["reason"] for _, _, data in told(run, "run.paused")] == ["step_failed", "requested"]

    @pytest.mark.parametrize("asked_first", [True, False])
    def test_resuming_leaves_it_paused_for_what_is_parked(self, asked_first: bool) -> None:
        run = Run(parking(fan(ask("a"), ask("b")), ask("after")))
        if asked_first:
            run.feed(PauseRequested(run.at))
        fail(run, "p/a")
        run.feed(ResumeRequested(run.at))
        assert run.state.paused is not None
        assert run.state.paused.reason == "step_failed"
        resolve(run, "p/a", "skip")
        done(run, "p/b")
        assert run.started()[-1] == "after"

    def test_a_limit_that_is_reached_meanwhile_holds_what_follows(self) -> None:
        run = Run(parking(ask("a"), ask("b"), limits={"max_steps": 1}))
        fail(run, "a")
        resolve(run, "a", "skip")
        assert run.state.paused is not None
        assert run.state.paused.reason == "limit_exceeded"
        run.feed(LimitsChanged(run.at, Limits(max_steps=5)))
        run.feed(ResumeRequested(run.at))
        assert run.started() == ["a", "b"]
