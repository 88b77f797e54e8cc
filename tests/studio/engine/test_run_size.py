"""What the outputs of a run may hold together. Nothing here is written down, so that the sizes are the real ones."""

from datetime import UTC, datetime

from studio.contracts.base import JsonObject
from studio.contracts.definitions import parse_workflow
from studio.contracts.runs import Resumption, StepRun
from studio.engine.limits import MAX_BYTES, MAX_RUN_BYTES
from studio.engine.plan import compile_plan
from studio.engine.recalls import resumed
from studio.engine.scheduler import advance
from studio.engine.state import CoreEvent, RunFacts, RunStarted, RunState, StepSucceeded

AT = datetime(2026, 1, 1, tzinfo=UTC)
FIT = MAX_RUN_BYTES // MAX_BYTES
"""So many outputs of the largest size."""


def run_of(count: int, *events: CoreEvent, **fields: object) -> RunState:
    """A run of so many agent steps, `s0` first, after the events."""
    steps: list[JsonObject] = [{"id": f"s{number}", "agent": {"message": "say"}} for number in range(count)]
    plan = compile_plan(parse_workflow({"name": "test", "pattern": "sequential", "steps": steps, **fields}))
    state = RunState(run=RunFacts(id="run_1"))
    for event in (RunStarted(AT), *events):
        state, _ = advance(plan, state, event)
    return state


def large(number: int) -> str:
    return str(number % 10) * (MAX_BYTES - number - 1)


def ends(count: int) -> list[StepSucceeded]:
    return [StepSucceeded(AT, f"s{number}", large(number)) for number in range(count)]


def error_of(state: RunState, path: str) -> str | None:
    error = state.steps[path].error
    return None if error is None else error.type


class TestOutputs:
    def test_that_are_too_much_together_fail_the_step_that_adds_the_last(self) -> None:
        state = run_of(FIT + 2, *ends(FIT + 1))
        assert state.ended
        assert error_of(state, f"s{FIT}") == "payload_too_large"
        assert state.steps[f"s{FIT}"].output is None
        assert state.steps[f"s{FIT - 1}"].status == "succeeded"

    def test_that_are_small_still_fit_then(self) -> None:
        cleanup: list[JsonObject] = [{"id": "clean", "transform": "done"}]
        state = run_of(FIT + 1, *ends(FIT + 1), **{"finally": cleanup})
        assert state.steps["clean"].output == "done"

    def test_of_one_value_count_once(self) -> None:
        many = FIT * 3
        state = run_of(many, *(StepSucceeded(AT, f"s{number}", large(0)) for number in range(many)))
        assert state.steps[f"s{many - 1}"].status == "succeeded"

    def test_of_an_earlier_execution_count(self) -> None:
        left = [StepRun(id=f"s{number}", kind="agent", status="succeeded", output=large(number)) for number in range(2)]
        state = resumed(RunState(run=RunFacts(id="run_1")), Resumption(steps=left), 1)
        assert state.output_bytes == 2 * MAX_BYTES - 3


class TestChildWorkflows:
    def test_with_too_much_inside_fail_and_leave_it_out(self) -> None:
        inner = [StepRun(id=f"s0/i{number}", kind="agent", output=large(number)) for number in range(FIT + 1)]
        state = run_of(1, StepSucceeded(AT, "s0", "small", inner=inner))
        assert error_of(state, "s0") == "payload_too_large"
        assert list(state.steps) == ["s0"]
