"""The `fail` step, and failures after the failure."""

import pytest

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import parse_workflow
from studio.contracts.runs import RunError
from studio.engine.checks import check_workflow
from studio.engine.warnings import workflow_warnings
from tests.support.memory_runs import carry, outputs, statuses


def fail(step_id: str = "f", kind: str = "out_of_stock", message: str = "None is left.", **fields: Json) -> JsonObject:
    return {"id": step_id, "fail": {"type": kind, "message": message}, **fields}


def given(step_id: str, value: Json, **fields: Json) -> JsonObject:
    return {"id": step_id, "transform": value, **fields}


def problems(*steps: JsonObject) -> list[tuple[str, str | None]]:
    workflow = parse_workflow({"name": "w", "pattern": "sequential", "steps": [*steps]})
    return [(error.type, error.hint) for error in check_workflow(workflow)]


class TestFail:
    def test_it_fails_the_run_with_its_own_error(self) -> None:
        run = carry(fail(message="Only ${{ input.left }} of ${{ input.name }} left"), given={"left": 2, "name": "tea"})
        error = RunError(type="out_of_stock", message="Only 2 of tea left", step_id="f")
        assert (run.end.status, run.end.error) == ("failed", error)

    def test_its_type_may_be_an_expression(self) -> None:
        error = carry(fail(kind="${{ input }}"), given="too_late").end.error
        assert error is not None
        assert error.type == "too_late"

    @pytest.mark.parametrize("kind", [1, "Not A Name", "", None])
    def test_a_type_that_is_no_name_is_an_expression_error(self, kind: Json) -> None:
        error = carry(fail(kind="${{ input }}"), given=kind).end.error
        assert error is not None
        assert (error.type, error.step_id) == ("expression_error", "f")

    def test_it_is_caught_by_its_type(self) -> None:
        clauses = [
            {"catch": ["too_late"], "steps": [given("late", "late")]},
            {"catch": ["out_of_stock"], "steps": [given("none", "${{ error.message }}")]},
        ]
        block: JsonObject = {"id": "b", "sequential": {"steps": [fail()]}, "on_error": clauses}
        assert carry(block).end.output == "None is left."

    def test_a_parent_catches_what_its_child_fails_with(self) -> None:
        call: JsonObject = {
            "id": "c",
            "workflow": "inner",
            "on_error": [{"catch": ["out_of_stock"], "steps": [given("none", "caught")]}],
        }
        run = carry(call, children={"inner": {"pattern": "sequential", "steps": [fail()]}})
        assert run.end.output == "caught"

    def test_it_is_skipped_by_its_when_and_undone_by_nothing(self) -> None:
        assert statuses(carry(fail(when=False))) == {"f": "skipped"}

    def test_a_block_is_tried_again_unless_it_names_the_type(self) -> None:
        retry: JsonObject = {"max_attempts": 3, "initial_interval": "1s"}
        block: JsonObject = {"id": "b", "sequential": {"steps": [fail()]}, "retry": retry}
        again = carry(block).events
        assert [event.type for event in again].count("step.retrying") == 2
        once = carry(block | {"retry": retry | {"non_retryable": ["out_of_stock"]}}).events
        assert "step.retrying" not in [event.type for event in once]


class TestChecks:
    def test_a_type_that_nothing_fails_with_is_refused(self) -> None:
        catch = [{"catch": ["out_of_stok"], "steps": [given("x", 1)]}]
        block: JsonObject = {"id": "b", "sequential": {"steps": [fail()]}, "on_error": catch}
        assert problems(block) == [("unknown_error_type", "did you mean 'out_of_stock'?")]

    def test_a_child_workflow_may_bring_any_type_and_a_near_miss_warns(self) -> None:
        catch = [{"catch": ["sold_out", "rate_limitd"], "steps": [given("x", 1)]}]
        call: JsonObject = {"id": "c", "workflow": "inner", "on_error": catch}
        assert problems(call) == []
        workflow = parse_workflow({"name": "w", "pattern": "sequential", "steps": [call]})
        assert [one.hint for one in workflow_warnings(workflow)] == ["did you mean 'rate_limited'?"]

    @pytest.mark.parametrize("kind", ["Out of stock", "cancelled", "1st"])
    def test_a_type_that_is_no_name_is_refused(self, kind: str) -> None:
        with pytest.raises(ValueError, match="type"):
            parse_workflow({"name": "w", "pattern": "sequential", "steps": [fail(kind=kind)]})

    def test_its_expressions_are_checked(self) -> None:
        assert [kind for kind, _ in problems(fail(message="${{ steps.nobody.output }}"))] == ["unknown_reference"]

    def test_retry_and_timeout_of_it_do_nothing(self) -> None:
        step = fail(retry={"max_attempts": 2}, timeout="1s")
        workflow = parse_workflow({"name": "w", "pattern": "sequential", "steps": [step]})
        assert [one.type for one in workflow_warnings(workflow)] == ["unused_field", "unused_field"]


class TestFailuresAfterTheFailure:
    def test_the_run_says_which_undoings_failed(self) -> None:
        steps = [
            given("a", 1, compensate=fail("undo_a", "bank_closed", "not given back")),
            given("b", 1, compensate=given("undo_b", "${{ error.type }}")),
            given("c", 1, compensate=fail("undo_c", "bank_closed", "${{ error.message }}")),
            fail("boom", "broken", "on purpose"),
        ]
        run = carry(*steps, ends=[fail("last", "too_late", "in the end")])
        error = run.end.error
        assert error is not None
        assert (error.type, error.step_id) == ("broken", "boom")
        assert [(one.step_id, one.type, one.message) for one in error.also_failed] == [
            ("c/undo_c", "bank_closed", "on purpose"),
            ("a/undo_a", "bank_closed", "not given back"),
            ("last", "too_late", "in the end"),
        ]
        assert outputs(run)["b/undo_b"] == "broken"
        assert run.events[-1].data["error"] == error.model_dump()

    def test_an_error_without_more_says_nothing_of_it(self) -> None:
        error = carry(fail()).end.error
        assert error is not None
        assert error.model_dump() == {"type": "out_of_stock", "message": "None is left.", "step_id": "f"}

    def test_error_is_in_scope_in_compensate(self) -> None:
        assert problems(given("a", 1, compensate=given("u", "${{ error.message }}")), fail()) == []

    def test_a_finally_that_fails_fails_a_run_that_had_succeeded(self) -> None:
        run = carry(given("a", 1), ends=[fail()])
        assert (run.end.status, run.end.error and run.end.error.type) == ("failed", "out_of_stock")


class TestMessages:
    def test_durations_are_written_as_people_write_them(self) -> None:
        wait: JsonObject = {"id": "w", "wait": {"signal": "paid", "timeout": "3s"}}
        block: JsonObject = {
            "id": "b",
            "sequential": {"steps": [{"id": "s", "wait": {"for": "1h"}}]},
            "timeout": "500ms",
        }
        found = [carry(step).end.error for step in (wait, block)]
        assert [error and error.message for error in found] == [
            "The signal 'paid' did not come within 3s.",
            "The step did not end within its timeout, 500ms.",
        ]
