"""Schemas that would keep a validator busy for ever: refused or answered, at every door, and nobody else waits."""

import asyncio
from typing import Any

import pytest

from studio.contracts.base import Json, JsonObject
from studio.json_schema import MAX_ERRORS, check_schema, check_value, fit, fit_each
from studio.schemas.meter import MAX_STEPS, Meter
from tests.api.conftest import Live
from tests.field.schemas.explosive import EXPLOSIVE, Explosive

PATIENCE = 90
"""Seconds in which every answer must be there, whatever else the machine does; without bounds it takes minutes."""
BY_NAME = {case.name: case for case in EXPLOSIVE}
TOO_MUCH = BY_NAME["three contains within each other"]
COPY: JsonObject = {"id": "a", "transform": "${{ input.value }}"}


@pytest.mark.parametrize("case", EXPLOSIVE, ids=lambda case: case.name)
def test_the_work_is_bounded(case: Explosive) -> None:
    meter = Meter()
    assert check_schema(case.schema, meter=meter) == []
    assert meter.left > 0
    errors = check_value(case.value, case.schema)
    assert all(error.type and error.msg for error in errors)


def test_a_value_without_bottom() -> None:
    value: Json = 1
    for _ in range(50_000):
        value = [value]
    schema: JsonObject = {"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}
    (error,) = check_value(value, schema)
    assert error.type == "limit_exceeded"


class TestHonestOnes:
    def test_a_tree_of_kinds(self) -> None:
        """As of a program: each kind's fields are trees again."""
        kinds: list[JsonObject] = [
            {
                "type": "object",
                "required": ["kind", "left", "right"],
                "properties": {
                    "kind": {"const": f"op{n}"},
                    "left": {"$ref": "#/$defs/tree"},
                    "right": {"$ref": "#/$defs/tree"},
                },
                "additionalProperties": False,
            }
            for n in range(12)
        ]
        leaf: JsonObject = {"type": "object", "required": ["value"], "properties": {"value": {"type": "number"}}}
        schema: JsonObject = {"$ref": "#/$defs/tree", "$defs": {"tree": {"oneOf": [*kinds, leaf]}}}
        tree: Json = {"value": 1.5}
        for depth in range(10):
            tree = {"kind": f"op{depth}", "left": tree, "right": dict(tree)}
        assert check_value(tree, schema) == []
        tree["left"]["left"]["kind"] = "op99"
        assert check_value(tree, schema)

    def test_eight_mebibytes_of_records(self) -> None:
        properties: JsonObject = {
            "id": {"type": "integer", "minimum": 0},
            "name": {"type": "string", "minLength": 3},
            "price": {"type": "number"},
            "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
            "at": {"type": "string"},
        }
        record: JsonObject = {
            "type": "object",
            "required": ["id", "name"],
            "properties": properties,
            "additionalProperties": False,
        }
        schema: JsonObject = {
            "type": "array",
            "items": {"$ref": "#/$defs/record"},
            "uniqueItems": True,
            "$defs": {"record": record, "tag": {"enum": ["a", "b"]}},
        }
        value: list[Json] = [
            {"id": n, "name": f"name {n}", "price": n / 2, "tags": ["a", "b"], "at": "2024-02-29"}
            for n in range(110_000)
        ]
        assert check_value(value, schema) == []
        value[70_000]["id"] = "x"
        (error,) = check_value(value, schema)
        assert (error.loc, error.type) == ([70_000, "id"], "type")

    def test_many_small_inputs_of_a_batch(self) -> None:
        schema: JsonObject = {"type": "object", "properties": {"n": {"type": "integer", "default": 1}}}
        filled, errors = fit_each([{"m": n} for n in range(10_000)], schema)
        assert (errors, filled[-1]) == ([], {"m": 9_999, "n": 1})


async def _others_are_answered(live: Live, work: "asyncio.Task[Any]") -> Any:
    """Asks for something else all the time until the work is done."""
    async with asyncio.timeout(PATIENCE):
        while not work.done():
            (await live.api.get("/workflows")).ok()
        return await work


class TestDoors:
    """Each with the schema that costs most: what exceeds its steps is an error, and says so."""

    @pytest.mark.parametrize("case", EXPLOSIVE, ids=lambda case: case.name)
    async def test_start(self, lite: Live, case: Explosive) -> None:
        whole: JsonObject = {"properties": {"value": case.schema | {"$id": "urn:case"}}}
        await lite.workflow(COPY, input_schema=whole)
        starting = asyncio.create_task(lite.api.post("/workflows/test/runs", {"input": {"value": case.value}}))
        answer = await _others_are_answered(lite, starting)
        assert answer.status in {202, 422}

    async def test_start_says_that_it_takes_too_long(self, lite: Live) -> None:
        await lite.workflow(COPY, input_schema=TOO_MUCH.schema)
        refused = (await lite.api.post("/workflows/test/runs", {"input": TOO_MUCH.value})).problem(422, "invalid-input")
        (error,) = refused["errors"]
        assert (error["loc"], error["type"]) == (["body", "input"], "limit_exceeded")
        assert "takes too long" in error["msg"]

    async def test_batch(self, lite: Live) -> None:
        await lite.workflow(COPY, input_schema=TOO_MUCH.schema)
        body: JsonObject = {"items": [{"input": TOO_MUCH.value}] * 2}
        sending = asyncio.create_task(lite.api.post("/workflows/test/runs:batch", body))
        answer = await _others_are_answered(lite, sending)
        assert answer.problem(422, "invalid-input")["errors"][0]["type"] == "limit_exceeded"

    async def test_schedule(self, lite: Live) -> None:
        await lite.workflow(COPY, input_schema=TOO_MUCH.schema)
        body: JsonObject = {"name": "s", "workflow": "test", "cron": "0 0 * * *", "input": TOO_MUCH.value}
        answer = await _others_are_answered(lite, asyncio.create_task(lite.api.post("/schedules", body)))
        assert answer.problem(422, "invalid-input")["errors"][0]["type"] == "limit_exceeded"

    async def test_output_of_a_step_and_input_of_a_child(self, lite: Live) -> None:
        """In the workflow itself: the step fails, and is not tried again."""
        await lite.workflow({"id": "x", "transform": 1}, name="child", input_schema=TOO_MUCH.schema)
        checked = {**COPY, "output_schema": TOO_MUCH.schema, "retry": {"max_attempts": 3}, "on_error": "continue"}
        child: JsonObject = {"id": "b", "workflow": "child", "input": "${{ input.value }}", "on_error": "continue"}
        await lite.workflow(checked, child)
        run_id = await lite.start(input={"value": TOO_MUCH.value})
        async with asyncio.timeout(PATIENCE):
            run = await lite.api.finished(run_id, seconds=PATIENCE)
        steps = {step["id"]: step for step in run["steps"]}
        for step in ("a", "b"):
            assert steps[step]["error"]["type"] == "schema_mismatch"
            assert "takes too long" in steps[step]["error"]["message"]
        assert steps["a"]["attempt"] == 1

    async def test_stored_schemas(self, lite: Live) -> None:
        """Two thousand regular expressions, each as large as one may be."""
        pattern = "(" + "|".join(f"\\w{{{n % 7}}}" for n in range(60)) + ")"
        schema: JsonObject = {"properties": {f"n{n}": {"pattern": f"{pattern}{n}"} for n in range(2_000)}}
        body: JsonObject = {"name": "w", "pattern": "sequential", "steps": [COPY], "input_schema": schema}
        answer = await _others_are_answered(lite, asyncio.create_task(lite.api.post("/workflows", body)))
        assert "takes too long" in answer.problem(422, "invalid-input")["errors"][0]["msg"]


class TestStored:
    """What is refused when it is stored, in JSON's words, at its place."""

    @pytest.mark.parametrize(
        ("schema", "place", "words"),
        [
            ({"allOf": [{"$ref": "#"}]}, [], "refers to itself without end"),
            (
                {"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [True, {"$ref": "#/$defs/a"}]}}},
                [],
                "without end",
            ),
            ({"$ref": "http://127.0.0.1:1/schema"}, ["$ref"], "nothing is fetched"),
            ({"$ref": "file:///etc/passwd"}, ["$ref"], "nothing is fetched"),
            ({"$id": "http://127.0.0.1:1/", "$ref": "other"}, ["$ref"], "nothing is fetched"),
            ({"$id": "http://[::1", "$ref": "x"}, ["$ref"], "leads nowhere"),
            ({"$ref": "#/x/a", "x": {"a": {"pattern": "(?=a)"}}}, ["$ref", "pattern"], "look-around"),
            ({"$ref": "#/$defs/none"}, ["$ref"], "leads nowhere"),
            ({"$dynamicRef": "#none"}, ["$dynamicRef"], "leads nowhere"),
            ({"pattern": "(?=a)b"}, ["pattern"], "look-around"),
            ({"pattern": "(a"}, ["pattern"], "not a regular expression"),
            ({"patternProperties": {"(a)\\1": {}}}, ["patternProperties", "(a)\\1"], "look-around"),
            ({"pattern": "(((\\w{100}){100}){100})"}, ["pattern"], "too large"),
            ({"properties": {"a": {"type": "text"}}}, ["properties", "a", "type"], '"text" is not a type'),
            ({"minLength": None}, ["minLength"], "null"),
            ({"enum": [1] * 30_000}, [], "more than 20000 values"),
            ({"items": {"const": "\ud83d"}}, [], "surrogate"),
            ({"properties": {"\ude00": {}}}, [], "surrogate"),
            (
                {"properties": {"n": {"type": "integer", "default": "x"}}},
                ["properties", "n", "default"],
                '"x" is not of type',
            ),
            (
                {"properties": {"d": {"format": "date", "default": "2024-02-30"}}},
                ["properties", "d", "default"],
                "format",
            ),
            (
                {"$defs": {"a": {"properties": {"a": {"$ref": "#/$defs/a", "default": {}}}}}, "$ref": "#/$defs/a"},
                [],
                "takes too long",
            ),
        ],
    )
    def test_it_is_refused(self, schema: JsonObject, place: list[str | int], words: str) -> None:
        error = check_schema(schema)[0]
        assert (error.loc, error.type) == (place, "json_schema")
        assert words in error.msg

    @pytest.mark.parametrize("keyword", ["x", "$defs"])
    def test_many_references_to_a_large_part(self, keyword: str) -> None:
        """It is looked at once."""
        large: JsonObject = {"properties": {f"n{n}": {"type": "integer"} for n in range(5_000)}}
        schema: JsonObject = {keyword: {"a": large}, "allOf": [{"$ref": f"#/{keyword}/a"} for _ in range(2_000)]}
        meter = Meter()
        assert check_schema(schema, meter=meter) == []
        assert meter.spent < MAX_STEPS / 2

    def test_references_to_large_parts_inside_each_other(self) -> None:
        """None stands where a schema does, so that each is looked at by itself."""
        held: JsonObject = {"enum": list(range(15_000))}
        for _ in range(90):
            held = {"a": held}
        schema: JsonObject = {"x": held, "allOf": [{"$ref": "#/x" + "/a" * n} for n in range(90)]}
        assert "takes too long" in check_schema(schema)[0].msg

    def test_thousands_of_mistakes(self) -> None:
        wrong: JsonObject = {"allOf": [{"type": "text"} for _ in range(4_000)]}
        meter = Meter()
        assert len(check_schema(wrong, meter=meter)) == MAX_ERRORS
        while "takes too long" not in check_schema(wrong, meter=meter)[0].msg:
            assert meter.left > 0  # so that many such schemas in one document are refused soon

    def test_numbers_that_json_cannot_say(self) -> None:
        for number in (float("nan"), float("inf"), 10**5_000):
            (error,) = check_schema({"minimum": number})
            assert "JSON cannot say" in error.msg

    def test_a_hundred_levels(self) -> None:
        schema: JsonObject = {"type": "integer"}
        for _ in range(5_000):
            schema = {"not": schema}
        assert "nested more than 100 deep" in check_schema(schema)[0].msg

    def test_a_schema_of_schemas(self) -> None:
        schema: JsonObject = {"properties": {"s": {"$ref": "https://json-schema.org/draft/2020-12/schema"}}}
        assert check_schema(schema) == []
        assert check_value({"s": {"type": "object"}}, schema) == []
        assert check_value({"s": {"type": "thing"}}, schema)

    def test_a_dynamic_reference_with_one_meaning(self) -> None:
        schema: JsonObject = {
            "$dynamicAnchor": "node",
            "properties": {"a": {"$dynamicRef": "#node"}},
            "required": ["b"],
        }
        assert check_schema(schema) == []
        assert check_value({"b": 1, "a": {"b": 1}}, schema) == []
        assert check_value({"b": 1, "a": {}}, schema)

    def test_the_steps_are_the_same_every_time(self) -> None:
        assert Meter().left == MAX_STEPS
        first, second = (check_value(TOO_MUCH.value, TOO_MUCH.schema) for _ in range(2))
        assert first == second


ABSENT: JsonObject = {"allOf": [{} for _ in range(5_000)], "properties": {"absent": {"default": 1}}}
SHARED: JsonObject = {
    "items": {"allOf": [{"properties": {"a": {"$ref": "#/$defs/x"}}} for _ in range(2_000)]},
    "$defs": {"x": {"allOf": [{} for _ in range(5_000)], "default": {}}},
}
FIELDS: JsonObject = {str(index): {} for index in range(3_000)}
ITEMS: list[JsonObject] = [{"a": {}} for _ in range(20)]


class TestDefaultsOfManySchemas:
    """A value that many schemas are about at once costs as many, wherever they come together."""

    @pytest.mark.parametrize(
        ("value", "schema"),
        [
            pytest.param(FIELDS, ABSENT, id="on an object of many fields"),
            pytest.param(ITEMS, SHARED, id="through one reference"),
        ],
    )
    def test_it_is_refused_soon(self, value: Json, schema: JsonObject) -> None:
        _, errors = fit(value, schema)
        assert [error.type for error in errors] == ["limit_exceeded"]
