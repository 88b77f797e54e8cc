"""Timers, retries, limits, compensation and `finally` on the core alone."""

from studio.contracts.base import JsonObject
from studio.engine.state import CancelRequested, CancelStep, StartTimer, StepCancelled, TimerFired
from tests.studio.engine.test_patterns import answer, branches, fail, run_of
from tests.studio.engine.test_scheduler import Run, ask


def timers(run: Run) -> list[str]:
    return [command.id for command in run.seen if isinstance(command, StartTimer)]


def undone(step: JsonObject) -> JsonObject:
    return step | {"compensate": {"id": f"undo_{step['id']}", "transform": f"${{{{ steps.{step['id']}.output }}}}"}}


class TestTimers:
    def test_a_wait_ends_with_its_timer(self) -> None:
        run = run_of({"id": "w", "wait": {"for": "1h"}}, ask("a"))
        assert run.state.steps["w"].status == "waiting"
        run.feed(TimerFired(run.at, "wait:w"))
        assert run.started() == ["a"]

    def test_a_moment_that_is_over_is_not_waited_for(self) -> None:
        assert run_of({"id": "w", "wait": {"until": "2020-01-01T00:00:00Z"}}).ends[0].status == "succeeded"

    def test_a_time_outside_the_calendar_in_utc_fails_the_step(self) -> None:
        (end,) = run_of({"id": "w", "wait": {"until": "${{ '0001-01-01T00:00:00+01:00' }}"}}).ends
        assert end.error is not None
        assert (end.error.type, end.error.step_id) == ("expression_error", "w")
        assert "years 1 to 9999" in end.error.message

    def test_a_block_that_takes_too_long_is_stopped_and_fails(self) -> None:
        run = run_of({"id": "b", "timeout": "5s", "sequential": {"steps": [ask("a")]}})
        run.feed(TimerFired(run.at, "timeout:b"))
        assert [command.path for command in run.seen if isinstance(command, CancelStep)] == ["b/a"]
        run.feed(StepCancelled(run.at, "b/a"))
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "timeout"

    def test_when_the_time_of_a_join_is_over_all_goes_on_with_what_came(self) -> None:
        run = run_of(branches(ask("a"), ask("b"), timeout="5s"))
        answer(run, "side/a", 1)
        run.feed(TimerFired(run.at, "join:side"))
        run.feed(StepCancelled(run.at, "side/b"))
        assert run.ends[0].output == {"a": 1, "b": None}

    def test_a_count_that_is_not_met_in_time_fails(self) -> None:
        run = run_of(branches(ask("a"), ask("b"), join={"at_least": 2, "timeout": "5s"}))
        answer(run, "side/a", 1)
        run.feed(TimerFired(run.at, "join:side"))
        run.feed(StepCancelled(run.at, "side/b"))
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "timeout"

    def test_a_block_is_tried_again_from_its_beginning(self) -> None:
        run = run_of({"id": "b", "retry": {"max_attempts": 2}, "sequential": {"steps": [ask("a"), ask("c")]}})
        answer(run, "b/a")
        fail(run, "b/c")
        assert timers(run) == ["retry:b"]
        run.feed(TimerFired(run.at, "retry:b"))
        answer(run, "b/a")
        fail(run, "b/c")
        assert run.ends[0].status == "failed"
        assert {path: step.attempt for path, step in run.state.steps.items()} == {"b": 2, "b/a": 2, "b/c": 2}

    def test_a_block_is_not_tried_again_after_what_the_model_refuses(self) -> None:
        run = run_of({"id": "b", "retry": {"max_attempts": 2}, "sequential": {"steps": [ask("a")]}})
        fail(run, "b/a", "invalid_request")
        assert run.ends[0].status == "failed"


class TestLimits:
    def test_the_run_ends_timed_out_when_its_time_is_over(self) -> None:
        run = run_of(ask("a"), limits={"timeout": "1m", "on_exceeded": "fail"})
        run.feed(TimerFired(run.at, "run:"))
        run.feed(StepCancelled(run.at, "a"))
        assert run.ends[0].status == "timed_out"

    def test_no_step_starts_past_max_steps_and_nothing_catches_that(self) -> None:
        limits = {"max_steps": 1, "on_exceeded": "fail"}
        run = run_of(ask("a"), ask("b", on_error="continue"), limits=limits)
        answer(run, "a")
        assert run.started() == ["a"]
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "limit_exceeded"

    def test_a_router_that_may_not_start_is_no_answer(self) -> None:
        choices: JsonObject = {"left": {"steps": [ask("l")]}}
        step: JsonObject = {"id": "c", "conditional": {"route": {"agent": {}, "choices": choices}}}
        run = run_of(ask("a"), step, limits={"max_steps": 1, "on_exceeded": "fail"})
        answer(run, "a")
        assert {path: step.status for path, step in run.state.steps.items()} == {
            "a": "succeeded",
            "c": "cancelled",
            "c/router.choice": "skipped",
            "c/l": "skipped",
        }

    def test_nothing_more_is_delegated_or_begun_past_max_steps(self) -> None:
        workers: list[JsonObject] = [{"name": "reader", "agent": {}}]
        step: JsonObject = {"id": "team", "hierarchical": {"manager": {}, "workers": workers}}
        run = run_of(step, limits={"max_steps": 1, "on_exceeded": "fail"})
        answer(run, "team/manager.round-1", {"delegate": [{"worker": "reader", "task": "read"}] * 2})
        assert list(run.state.steps) == ["team", "team/manager.round-1", "team/worker.reader-1"]
        run = run_of(branches(ask("a"), ask("b"), ask("c")), limits={"max_steps": 1, "on_exceeded": "fail"})
        assert list(run.state.steps) == ["side", "side/a", "side/b"]


class TestEndings:
    def test_what_succeeded_is_undone_in_reverse_order_and_then_comes_finally(self) -> None:
        last = [{"id": "last", "transform": "${{ error.type }}"}]
        run = run_of(undone(ask("a")), undone(ask("b")), ask("c"), **{"finally": last})
        answer(run, "a", 1)
        answer(run, "b", 2)
        fail(run, "c")
        assert list(run.state.steps)[3:] == ["b/undo_b", "a/undo_a", "last"]
        outputs = {path: step.output for path, step in run.state.steps.items()}
        assert (outputs["b/undo_b"], outputs["a/undo_a"], outputs["last"]) == (2, 1, "upstream_error")
        assert run.ends[0].status == "failed"

    def test_what_undoes_a_step_sees_the_attempt_that_succeeded(self) -> None:
        block: JsonObject = {
            "id": "b",
            "retry": {"max_attempts": 2},
            "sequential": {"steps": [undone(ask("a")), ask("c")]},
        }
        run = run_of(block)
        answer(run, "b/a", "first")
        fail(run, "b/c")
        run.feed(TimerFired(run.at, "retry:b"))
        fail(run, "b/a")
        assert run.state.steps["b/a/undo_a"].output == "first"

    def test_finally_runs_after_a_cancel_and_after_success(self) -> None:
        last = {"finally": [{"id": "last", "transform": "${{ error == null }}"}]}
        run = run_of(ask("a"), **last)
        run.feed(CancelRequested(run.at))
        run.feed(StepCancelled(run.at, "a"))
        assert (run.ends[0].status, run.state.steps["last"].output) == ("cancelled", False)
        good = run_of(ask("a"), **last)
        answer(good, "a", "done")
        assert (good.ends[0].output, good.state.steps["last"].output) == ("done", True)

    def test_a_failure_in_finally_fails_a_run_that_had_succeeded(self) -> None:
        run = run_of(ask("a"), **{"finally": [ask("last")]})
        answer(run, "a")
        fail(run, "last")
        assert run.ends[0].status == "failed"

    def test_an_output_that_does_not_fit_its_schema_fails_the_step(self) -> None:
        run = run_of({"id": "t", "transform": {"n": "x"}, "output_schema": {"properties": {"n": {"type": "integer"}}}})
        assert run.ends[0].error is not None
        assert run.ends[0].error.type == "schema_mismatch"
