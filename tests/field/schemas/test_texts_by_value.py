"""What a check costs depends on the value and the schema, not on which equal texts a JSON reader made one object."""

import json

from studio.contracts.base import Json, JsonObject
from studio.json_schema import check_value
from studio.schemas.meter import Meter

SCHEMA: JsonObject = {
    "items": {"$ref": "#/$defs/kind"},
    "$defs": {"kind": {"anyOf": [{"const": "a"}, {"type": "string"}]}},
    "uniqueItems": False,
}


def cost_of(value: Json) -> int:
    meter = Meter()
    assert check_value(value, SCHEMA, meter=meter) == []
    return meter.spent


def test_equal_texts_cost_the_same_shared_or_not() -> None:
    shared: Json = ["a long word"] * 50
    apart: Json = [json.loads('"a long word"') for _ in range(50)]
    assert len({id(text) for text in apart}) == 50
    assert cost_of(shared) == cost_of(apart)
