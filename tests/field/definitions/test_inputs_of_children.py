"""A step that hands a child workflow what its `input_schema` rules out, when the parent is stored."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from studio.contracts.base import Json, JsonObject
from studio.engine.child_inputs import child_input_errors
from tests.support.services import RunningApi, api_settings, serving_api

SCHEMA: JsonObject = {
    "type": "object",
    "required": ["n"],
    "properties": {"n": {"type": "integer"}, "unit": {"enum": ["kg", "t"], "default": "kg"}},
    "additionalProperties": False,
}
CHILD: JsonObject = {"name": "child", "pattern": "sequential", "steps": [{"id": "a", "transform": 1}]}


def parent(given: Json, child: str = "child") -> JsonObject:
    steps = [{"id": "before", "transform": 1}, {"id": "c", "workflow": child, "input": given}]
    return {"name": "parent", "pattern": "sequential", "steps": steps}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncGenerator[RunningApi]:
    async with serving_api(api_settings(tmp_path)) as running:
        yield running


UNFIT: list[tuple[Json, list[list[str]]]] = [
    ({"n": "x"}, [["n"]]),
    ({}, [[]]),
    ({"n": 1, "unit": "lb"}, [["unit"]]),
    ({"n": 1, "m": 2}, [[]]),
    ("text", [[]]),
    (None, [[]]),
    ([1], [[]]),
    ({"n": "${{ input.n }}", "unit": "lb"}, [["unit"]]),
    ({"unit": "${{ input.unit }}"}, [[]]),
    ({"n": "${{ input.n }}", "nn": 1}, [[]]),
]


class TestWhatIsWrittenOut:
    @pytest.mark.parametrize(("given", "places"), UNFIT)
    def test_what_certainly_does_not_fit(self, given: Json, places: list[list[str]]) -> None:
        assert [error.loc[2:] for error in child_input_errors(given, SCHEMA, ["steps", 1])] == places

    @pytest.mark.parametrize(
        "given",
        [
            {"n": 1},
            {"n": 1, "unit": "t"},
            {"n": "${{ input.n }}"},
            "${{ input }}",
            {"n": 1, "unit": "${{ input.unit }}"},
        ],
    )
    def test_what_may_fit(self, given: Json) -> None:
        assert child_input_errors(given, SCHEMA, []) == []

    def test_without_a_schema_all_fits(self) -> None:
        assert child_input_errors({"x": 1}, None, []) == []


class TestStoring:
    async def test_against_the_stored_child_and_against_one_beside_it(self, api: RunningApi) -> None:
        (await api.post("/workflows", CHILD | {"input_schema": SCHEMA})).ok(201)
        assert (await api.post("/workflows", parent({"n": "x"}))).places() == [["body", "steps", 1, "input", "n"]]
        stored = (await api.post("/workflows", parent({"n": 1}))).ok(201)
        assert stored["name"] == "parent"
        open_child = {"kind": "workflow", **CHILD}
        both = [open_child, {"kind": "workflow", **parent({"n": "x"})}]
        (await api.post("/apply", both)).ok()
        closed = [{"kind": "workflow", **CHILD, "input_schema": SCHEMA}, {"kind": "workflow", **parent({"m": 1})}]
        assert (await api.post("/apply", closed)).places() == [["body", 1, "steps", 1, "input"]] * 2

    async def test_a_workflow_that_runs_itself(self, api: RunningApi) -> None:
        own = parent({"n": "x"}, "parent") | {"input_schema": SCHEMA}
        assert (await api.post("/workflows", own)).places() == [["body", "steps", 1, "input", "n"]]
