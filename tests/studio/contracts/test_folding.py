"""Steps as they are written down: a large output that several have is written once, and read back for each."""

from datetime import UTC, datetime
from typing import Any

import pytest

from studio.contracts.folding import LARGE_BYTES
from studio.contracts.runs import ChildResult, Resumption, RunEnd, RunProgress, StepRun
from studio.engine.state import RunFacts, RunState

LARGE = "x" * LARGE_BYTES
AT = datetime(2026, 1, 1, tzinfo=UTC)
OUTPUTS: list[Any] = [
    LARGE,
    LARGE,
    "y" * LARGE_BYTES,
    {"text": LARGE},
    {"text": LARGE},
    [LARGE],
    None,
    "small",
    "small",
]


def steps_of(outputs: list[Any]) -> list[StepRun]:
    return [StepRun(id=f"s{place}", kind="transform", output=output) for place, output in enumerate(outputs)]


def end_of(steps: list[StepRun], output: Any) -> RunEnd:
    return RunEnd(status="succeeded", output=output, progress=RunProgress(steps=steps), started_at=AT, ended_at=AT)


class TestSteps:
    @pytest.mark.parametrize("holder", [RunProgress, Resumption, ChildResult])
    def test_come_back_whole_from_json(self, holder: type[RunProgress] | type[Resumption] | type[ChildResult]) -> None:
        given = holder(steps=steps_of(OUTPUTS))
        assert holder.model_validate_json(given.model_dump_json()) == given
        assert holder.model_validate(given.model_dump(mode="json", exclude_unset=True)) == given

    def test_equal_large_outputs_are_written_once(self) -> None:
        written = RunProgress(steps=steps_of(OUTPUTS)).model_dump(mode="json", exclude_unset=True)["steps"]
        assert {step["id"]: step["output_of"] for step in written if "output_of" in step} == {"s1": "s0", "s4": "s3"}
        assert "output" not in written[1]
        assert written[8]["output"] == "small"

    def test_a_state_that_is_carried_on_comes_back_whole(self) -> None:
        steps = {step.id: step for step in steps_of(OUTPUTS)}
        state = RunState(run=RunFacts(id="run_1"), steps=steps)
        written = state.model_dump(mode="json", exclude_defaults=True)
        assert written["steps"]["s1"]["output_of"] == "s0"
        assert RunState.model_validate(written) == state

    def test_of_which_none_is_large_are_written_as_they_are(self) -> None:
        steps = steps_of(["a", "a", None])
        written = RunProgress(steps=steps).model_dump(mode="json")["steps"]
        assert written == [step.model_dump(mode="json") for step in steps]


class TestEnd:
    @pytest.mark.parametrize("output", [LARGE, {"text": LARGE}, "small", None, "z" * LARGE_BYTES])
    def test_comes_back_whole(self, output: Any) -> None:
        end = end_of(steps_of(OUTPUTS), output)
        assert RunEnd.model_validate_json(end.model_dump_json(exclude_unset=True)) == end

    def test_an_output_that_is_a_steps_is_written_once(self) -> None:
        written = end_of(steps_of(["small", LARGE]), LARGE).model_dump(mode="json")
        assert written["output_of"] == "s1"
        assert len(str(written)) < LARGE_BYTES * 1.1
