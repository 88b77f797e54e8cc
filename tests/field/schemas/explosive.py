"""Schemas that make other validators work for seconds or for ever, each with a value that does it."""

from typing import NamedTuple

from studio.contracts.base import Json, JsonObject


class Explosive(NamedTuple):
    name: str
    schema: JsonObject
    value: Json


def _doubling(keyword: str, depth: int, end: JsonObject) -> JsonObject:
    """Twice to the next one, `depth` times: 2 ** depth ways to the end."""
    defs: JsonObject = {f"d{n}": {keyword: [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": defs | {f"d{depth}": end}}


def _nested(value: Json, depth: int) -> Json:
    for _ in range(depth):
        value = {"a": value, "b": value}
    return value


def _plain_anyof(depth: int) -> JsonObject:
    schema: JsonObject = {"type": "integer"}
    for _ in range(depth):
        schema = {"anyOf": [schema, schema]}
    return schema


_TREE: JsonObject = {
    "$ref": "#/$defs/node",
    "$defs": {
        "node": {
            "anyOf": [
                {"properties": {"a": {"$ref": "#/$defs/node"}, "k": {"const": n}}, "required": ["k"]} for n in range(20)
            ]
        }
    },
}


def _line(depth: int) -> Json:
    value: Json = {"k": -1}
    for _ in range(depth):
        value = {"a": value, "k": 19}
    return value


_OBJECTS: Json = [{"a": n} for n in range(20_000)]
_CHAIN: JsonObject = {
    "$ref": "#/$defs/d0",
    "$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(2_000)} | {"d2000": {"type": "integer"}},
}

EXPLOSIVE = [
    Explosive("unique objects", {"uniqueItems": True}, _OBJECTS),
    Explosive("unique nested lists", {"uniqueItems": True}, [[[n], {"b": n / 2}] for n in range(20_000)]),
    Explosive("allOf doubled 24 times", _doubling("allOf", 24, {"type": "integer"}), 1),
    Explosive("allOf doubled 24 times, not met", _doubling("allOf", 24, {"type": "integer"}), "x"),
    Explosive("anyOf doubled 24 times", _doubling("anyOf", 24, {"type": "integer"}), "x"),
    Explosive("oneOf doubled 24 times", _doubling("oneOf", 24, {"type": "integer"}), 1),
    Explosive("anyOf within anyOf 11 deep", _plain_anyof(11), "x"),
    Explosive(
        "three contains within each other",
        {"items": {"contains": {"contains": {"contains": {"const": 5}}}}},
        [[[[1] * 20] * 20] * 20] * 20,
    ),
    Explosive("a pattern that backtracks", {"pattern": "^(a+)+$"}, "a" * 50_000 + "!"),
    Explosive("a name's pattern that backtracks", {"patternProperties": {"^(a|a)*$": True}}, {"a" * 50_000 + "!": 1}),
    Explosive(
        "names with a pattern", {"propertyNames": {"pattern": "^(.*a){12}$"}}, {f"b{n}" * 90: 1 for n in range(99)}
    ),
    Explosive("a pattern with many states", {"pattern": "[01]*1[01]{900}$"}, "01" * 100_000),
    Explosive("kinds of nodes in each other", _TREE, _line(90)),
    Explosive("a chain of 2,000 references", _CHAIN, "x"),
    Explosive("itself below every name", {"additionalProperties": {"$ref": "#"}, "minProperties": 1}, _nested(1, 16)),
    Explosive(
        "what is left over, again and again",
        {"allOf": [{"unevaluatedProperties": {"type": "integer"}} for _ in range(300)]},
        {f"n{n}": n for n in range(20_000)},
    ),
    Explosive(
        "many alternatives for many items", {"items": {"anyOf": [{"const": [n]} for n in range(3_000)]}}, [[-1]] * 3_000
    ),
    Explosive("a long list of objects to be one of", {"items": {"enum": [{"a": n} for n in range(5_000)]}}, _OBJECTS),
    Explosive(
        "many formats for long texts",
        {"items": {"allOf": [{"format": "uri"}] * 200}},
        ["http://a/" + "a" * 8_000] * 200,
    ),
    Explosive("anyOf doubled 200 times", _doubling("anyOf", 200, {"not": {}}), [1]),
    Explosive(
        "many names needed by many names",
        {"dependentRequired": {f"n{n}": [f"n{m}" for m in range(99)] for n in range(150)}},
        {f"n{n}": 1 for n in range(20_000)},
    ),
    Explosive("if and then doubled", {"if": {"$ref": "#/$defs/d0"}, "then": False, **_doubling("allOf", 24, {})}, 1),
]
