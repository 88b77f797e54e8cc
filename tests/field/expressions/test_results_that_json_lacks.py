"""A result that JSON cannot say is a mistake in the expression, or in a model's answer, and not too large."""

import pytest

from studio.contracts.base import JsonObject
from studio.contracts.runs import RunError
from tests.support.memory_runs import ask, carry, says


def error_of(step: JsonObject, **fields: object) -> RunError:
    end = carry(step, **fields).end  # pyright: ignore[reportArgumentType]
    assert end.status == "failed"
    assert end.error is not None
    return end.error


class TestAnExpression:
    @pytest.mark.parametrize(
        ("expression", "held"),
        [
            ("1.0 / 0.0", "gives Infinity, which is no number in JSON"),
            ("-1.0 / 0.0", "gives -Infinity, which is no number in JSON"),
            ("double('NaN')", "gives NaN, which is no number in JSON"),
            ("[1.0, [0.0 / 0.0]]", "gives NaN, which is no number in JSON"),
        ],
    )
    def test_that_gives_no_number_fails_as_an_expression(self, expression: str, held: str) -> None:
        error = error_of({"id": "s", "transform": {"x": "${{ " + expression + " }}"}})
        assert (error.type, error.message) == ("expression_error", f"${{{{ {expression} }}}} failed: {held}")

    def test_in_an_input_and_in_a_condition_it_is_the_same(self) -> None:
        assert error_of(ask("s", input="${{ 0.0 / 0.0 }}")).type == "expression_error"
        assert error_of({"id": "s", "transform": 1, "when": "${{ 0.0 / 0.0 }}"}).type == "expression_error"

    def test_the_output_of_the_run_is_named(self) -> None:
        error = error_of({"id": "s", "transform": 1}, output="${{ 1.0 / 0.0 }}")
        assert (error.type, error.message.partition(" failed: ")[0]) == ("expression_error", "output: ${{ 1.0 / 0.0 }}")

    def test_it_is_caught_by_its_type(self) -> None:
        caught: JsonObject = {"catch": ["expression_error"], "steps": [{"id": "c", "transform": "caught"}]}
        end = carry({"id": "s", "transform": "${{ 1.0 / 0.0 }}", "on_error": [caught]}).end
        assert (end.status, end.output) == ("succeeded", "caught")

    def test_what_is_too_deep_is_still_too_large(self) -> None:
        error = error_of({"id": "s", "transform": ["${{ input }}"]}, given=_nested(100))
        assert error.type == "payload_too_large"


class TestAModelsAnswer:
    @pytest.mark.parametrize("answer", ['{"x": NaN}', '{"x": -Infinity}', '{"x": 123456789012345678901234567890}'])
    def test_does_not_fit_what_was_asked_for(self, answer: str) -> None:
        step = ask("s", output_schema={"type": "object"})
        error = error_of(step, replies={"s": [says(answer)]})
        assert error.type == "schema_mismatch"
        assert error.message.startswith("The value holds ")


def _nested(depth: int) -> list[object]:
    value: list[object] = []
    for _ in range(depth - 1):
        value = [value]
    return value
