"""What the outputs of a run may hold together. Nothing here is written down, so that the sizes are the real ones."""

from datetime import UTC, datetime

from studio.contracts.base import JsonObject
from studio.contracts.definitions import parse_workflow
from studio.contracts.runs import Resumption, RunError, StepRun
from studio.engine.limits import ITEM_BYTES, MAX_BYTES, MAX_RUN_BYTES
from studio.engine.plan import Plan, compile_plan
from studio.engine.recalls import resumed
from studio.engine.scheduler import advance, answer_errors
from studio.engine.state import (
    CoreEvent,
    RunFacts,
    RunStarted,
    RunState,
    StepFailed,
    StepSucceeded,
    Tick,
    Ticked,
    TimerFired,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
FIT = MAX_RUN_BYTES // MAX_BYTES
"""So many outputs of the largest size."""


def asks(count: int) -> list[JsonObject]:
    return [{"id": f"s{number}", "agent": {"message": "say"}} for number in range(count)]


def plan_of(steps: list[JsonObject], **fields: object) -> Plan:
    return compile_plan(parse_workflow({"name": "test", "pattern": "sequential", "steps": steps, **fields}))


def run_of(steps: list[JsonObject], *events: CoreEvent, **fields: object) -> RunState:
    """A run after the events."""
    plan = plan_of(steps, **fields)
    state = RunState(run=RunFacts(id="run_1"))
    for event in (RunStarted(AT), *events):
        state, commands = advance(plan, state, event)
        while any(isinstance(command, Tick) for command in commands):
            state, commands = advance(plan, state, Ticked(AT))
    return state


def large(number: int) -> str:
    """One of the largest outputs, another one for each number up to a thousand."""
    return f"{number:03}" + "x" * (MAX_BYTES - ITEM_BYTES - 67)


def ends(count: int) -> list[StepSucceeded]:
    return [StepSucceeded(AT, f"s{number}", large(number)) for number in range(count)]


def error_of(state: RunState, path: str) -> str | None:
    error = state.steps[path].error
    return None if error is None else error.type


class TestOutputs:
    def test_that_are_too_much_together_fail_the_step_that_adds_the_last(self) -> None:
        state = run_of(asks(FIT + 2), *ends(FIT + 1))
        assert state.ended
        assert error_of(state, f"s{FIT}") == "payload_too_large"
        assert state.steps[f"s{FIT}"].output is None
        assert state.steps[f"s{FIT - 1}"].status == "succeeded"

    def test_that_are_small_still_fit_then(self) -> None:
        cleanup: list[JsonObject] = [{"id": "clean", "transform": "done"}]
        state = run_of(asks(FIT + 1), *ends(FIT + 1), **{"finally": cleanup})
        assert state.steps["clean"].output == "done"

    def test_of_one_value_count_once(self) -> None:
        many = FIT * 3
        state = run_of(asks(many), *(StepSucceeded(AT, f"s{number}", large(0)) for number in range(many)))
        assert state.steps[f"s{many - 1}"].status == "succeeded"

    def test_of_an_earlier_execution_count(self) -> None:
        left = [StepRun(id=f"s{number}", kind="agent", status="succeeded", output=large(number)) for number in range(2)]
        state = resumed(RunState(run=RunFacts(id="run_1")), Resumption(steps=left), 1)
        assert state.output_bytes == 2 * (MAX_BYTES - 64)

    def test_that_were_replaced_do_not_count(self) -> None:
        """Each attempt of the block gives three of the largest; no two are the same."""
        block: JsonObject = {
            "id": "b",
            "sequential": {"steps": asks(4)},
            "retry": {"max_attempts": 3, "initial_interval": "1s"},
        }
        events: list[CoreEvent] = []
        for attempt in range(3):
            events += [StepSucceeded(AT, f"b/s{number}", large(10 * attempt + number)) for number in range(3)]
            last = StepFailed(AT, "b/s3", RunError(type="upstream_error", message="no"))
            events += [last, TimerFired(AT, "retry:b")] if attempt < 2 else [StepSucceeded(AT, "b/s3", "done")]
        state = run_of([block], *events)
        assert state.steps["b"].output == "done"

    def test_that_somebody_gives_a_parked_step_must_fit_as_well(self) -> None:
        steps = asks(FIT + 1)
        error = RunError(type="upstream_error", message="no")
        state = run_of(steps, *ends(FIT), StepFailed(AT, f"s{FIT}", error), on_failure="pause")
        plan = plan_of(steps, on_failure="pause")
        assert [one.type for one in answer_errors(plan, state, f"s{FIT}", large(FIT), AT)] == ["payload_too_large"]
        assert answer_errors(plan, state, f"s{FIT}", "", AT) == []


class TestChildWorkflows:
    def test_with_too_much_inside_fail_and_leave_it_out(self) -> None:
        inner = [StepRun(id=f"s0/i{number}", kind="agent", output=large(number)) for number in range(FIT + 1)]
        state = run_of(asks(1), StepSucceeded(AT, "s0", "small", inner=inner))
        assert error_of(state, "s0") == "payload_too_large"
        assert list(state.steps) == ["s0"]
