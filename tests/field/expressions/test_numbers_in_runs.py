"""Numbers as JSON has them, through runs and checks: a price of 7 or of 7.5 is one field."""

from typing import Any

import pytest

from studio.contracts.definitions import parse_workflow
from studio.engine.checks import check_workflow
from tests.studio.engine.test_scheduler import Run, plan_of

SCHEMA: dict[str, Any] = {"type": "object", "properties": {"score": {"type": "number"}, "n": {"type": "integer"}}}


def output_of(expression: str, score: Any) -> Any:
    run = Run(plan_of([{"id": "a", "transform": "${{ " + expression + " }}"}]), {"score": score, "n": 2})
    (end,) = run.ends
    assert end.status == "succeeded", end.error
    return end.output


@pytest.mark.parametrize(
    ("expression", "whole", "broken"),
    [
        ("input.score + 1", 8, 8.5),
        ("input.score * input.n", 14, 15.0),
        ("input.score - 0.5", 6.5, 7.0),
        ("10 / input.score > 1", False, True),
        ("input.score % 2", 1, 1.5),
        ("-input.score", -7, -7.5),
        ("input.score in [7, 7.5]", True, True),
        ("input.score > 7", False, True),
        ("[input.score, 1].map(x, x + 1)", [8, 2], [8.5, 2]),
        ("double(input.score) / 2.0", 3.5, 3.75),
        ("string(input.score)", "7", "7.5"),
    ],
)
def test_whole_and_broken_go_the_same_way(expression: str, whole: Any, broken: Any) -> None:
    assert output_of(expression, 7) == whole
    assert output_of(expression, 7.5) == broken


@pytest.mark.parametrize(
    "expression", ["input.score + 1", "input.score * 1.5", "input.n + 0.5", "input.score % input.n"]
)
def test_the_check_says_so_too(expression: str) -> None:
    steps = [{"id": "a", "transform": "${{ " + expression + " }}"}]
    document = {"name": "w", "pattern": "sequential", "input_schema": SCHEMA, "steps": steps}
    assert check_workflow(parse_workflow(document)) == []


def test_a_number_and_a_text_are_still_wrong() -> None:
    steps = [{"id": "a", "transform": "${{ input.score + 'x' }}"}]
    document = {"name": "w", "pattern": "sequential", "input_schema": SCHEMA, "steps": steps}
    assert [error.type for error in check_workflow(parse_workflow(document))] == ["expression_type"]
