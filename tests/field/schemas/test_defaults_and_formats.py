"""`default` and `format` do what everybody takes them to do; what is wrong is said in JSON's words."""

import pytest

from studio.contracts.base import Json, JsonObject
from studio.json_schema import check_value, fit
from tests.api.conftest import Live

TEA: JsonObject = {
    "type": "object",
    "properties": {
        "topic": {"type": "string", "default": "tea"},
        "options": {"$ref": "#/$defs/options", "default": {}},
        "cups": {"type": "array", "items": {"allOf": [{"$ref": "#/$defs/cup"}]}},
    },
    "$defs": {
        "options": {"type": "object", "properties": {"hot": {"type": "boolean", "default": True}}},
        "cup": {"type": "object", "properties": {"size": {"type": "integer", "default": 2}}},
    },
}
REST: JsonObject = {"topic": "tea", "options": {"hot": True}}
SAID: JsonObject = {"id": "a", "transform": "${{ input.topic }}"}


class TestDefaults:
    @pytest.mark.parametrize(
        ("given", "filled"),
        [
            ({}, {"topic": "tea", "options": {"hot": True}}),
            ({"topic": "rain"}, {"topic": "rain", "options": {"hot": True}}),
            ({"options": {"hot": False}}, {"topic": "tea", "options": {"hot": False}}),
            (
                {"cups": [{}, {"size": 1}]},
                {"topic": "tea", "options": {"hot": True}, "cups": [{"size": 2}, {"size": 1}]},
            ),
        ],
    )
    def test_they_are_filled_in_at_every_depth(self, given: Json, filled: Json) -> None:
        before = str(given)
        assert fit(given, TEA) == (filled, [])
        assert str(given) == before

    def test_null_is_not_absent(self) -> None:
        _, (error,) = fit({"topic": None}, TEA)
        assert (error.loc, error.msg) == (["topic"], 'null is not of type "string"')

    def test_alternatives_are_left_alone(self) -> None:
        schema: JsonObject = {"anyOf": [{"properties": {"a": {"default": 1}}}, {"properties": {"b": {"default": 2}}}]}
        assert fit({}, schema) == ({}, [])

    def test_no_input_is_the_default_of_the_schema(self) -> None:
        assert fit(None, TEA | {"default": {"topic": "rain"}})[0] == {"topic": "rain", "options": {"hot": True}}

    async def test_start_batch_schedule_child_and_replay(self, idle: Live) -> None:
        await idle.workflow(SAID, input_schema=TEA)
        filled = {"topic": "tea", "options": {"hot": True}}
        run_id = await idle.start(input={})
        assert (await idle.api.get(f"/runs/{run_id}")).ok()["input"] == filled
        batch = (await idle.api.post("/workflows/test/runs:batch", {"items": [{"input": {}}]})).ok(202)
        (run,) = (await idle.api.get("/runs", batch=batch["id"])).ok()["items"]
        assert run["input"] == filled


class TestFormats:
    @pytest.mark.parametrize(
        ("name", "good", "bad"),
        [
            ("date", "2024-02-29", "2024-02-30"),
            ("date-time", "2024-02-29T10:00:00Z", "2024-02-30T10:00:00Z"),
            ("time", "10:00:00Z", "25:00:00Z"),
            ("email", "a@example.com", "a"),
            ("uri", "http://example.com/x", "example"),
            ("uuid", "2eb8aa08-aa98-11ea-b4aa-73b441d16380", "2eb8"),
            ("ipv4", "127.0.0.1", "127.0.0.256"),
            ("ipv6", "::1", "::g"),
            ("hostname", "example.com", "-a"),
            ("regex", "^a$", "(a"),
        ],
    )
    def test_they_are_checked(self, name: str, good: str, bad: str) -> None:
        schema: JsonObject = {"format": name}
        assert check_value(good, schema) == []
        assert [error.type for error in check_value(bad, schema)] == ["format"]
        assert check_value(1, schema) == []


WORDS: list[tuple[Json, JsonObject, str]] = [
    (None, {"type": "object"}, 'null is not of type "object"'),
    (True, {"const": 1}, "true is not 1"),
    ("x", {"type": ["integer", "null"]}, '"x" is not of type "integer" or "null"'),
    ({}, {"required": ["a"]}, '"a" is a required property'),
    ({"b": 1}, {"additionalProperties": False}, 'there is no property "b"'),
    ([1, True, 1.0], {"uniqueItems": True}, "items 0 and 2 are the same: 1.0"),
    (0.3, {"multipleOf": 0.2}, "0.3 is not a multiple of 0.2"),
    ([None], {"enum": [[], False]}, "[null] is not one of [], false"),
]


class TestWords:
    @pytest.mark.parametrize(("value", "schema", "words"), WORDS)
    def test_they_are_of_json(self, value: Json, schema: JsonObject, words: str) -> None:
        (error,) = check_value(value, schema)
        assert error.msg == words

    async def test_a_run_without_input_is_told_what_is_wanted(self, idle: Live) -> None:
        schema: JsonObject = {"type": "object", "required": ["topic"], "properties": {"topic": {}, "tone": {}}}
        await idle.workflow(SAID, input_schema=schema)
        (error,) = (await idle.api.post("/workflows/test/runs", {})).problem(422, "invalid-input")["errors"]
        assert (error["loc"], error["msg"]) == (["body", "input"], 'null is not of type "object"')
        assert error["hint"] == "give an object with topic (required), tone"
