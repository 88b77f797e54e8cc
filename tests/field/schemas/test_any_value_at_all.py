"""Whatever Python's JSON readers can give, as a value or as a schema: a verdict, never an exception."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from studio.contracts.base import Json
from studio.json_schema import check_schema, check_value, fit, fit_each

TEXTS = st.one_of(
    st.text(st.characters(), max_size=4),  # with halves of surrogate pairs
    st.sampled_from(
        ["\ud83d", "a\ude00", "#/$defs/a", "#", "http://[", "(?=a)", "[", "\\p{L}", "type", "$ref", "date"]
    ),
)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([2**63, 2**64, -(2**64) - 1, 10**400, -(10**400), 1e308, 5e-324, -0.0, float("nan"), float("inf")]),
)
KEYWORDS = st.sampled_from(
    [
        "type",
        "const",
        "enum",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "format",
        "minItems",
        "maxItems",
        "uniqueItems",
        "required",
        "minProperties",
        "dependentRequired",
        "properties",
        "patternProperties",
        "additionalProperties",
        "items",
        "prefixItems",
        "contains",
        "minContains",
        "maxContains",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
        "if",
        "then",
        "else",
        "propertyNames",
        "dependentSchemas",
        "unevaluatedItems",
        "unevaluatedProperties",
        "$ref",
        "$dynamicRef",
        "$id",
        "$anchor",
        "$dynamicAnchor",
        "$defs",
        "default",
    ]
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYWORDS, TEXTS), inner, max_size=4)
    ),
    max_leaves=10,
)
ONE = {"anyOf": [{"const": 1}, {"const": 1.5}, {"const": "a"}, {"enum": [None, [1], {"a": 2}]}]}
SCHEMAS: list[dict[str, Json]] = [
    ONE,
    {"type": "integer", "minimum": 0, "maximum": 2**63, "multipleOf": 3},
    {"type": ["number", "string"], "multipleOf": 0.1, "exclusiveMinimum": -1e300, "exclusiveMaximum": 10**30},
    {"items": ONE, "uniqueItems": True, "contains": {"minimum": 1}, "maxContains": 2},
    {"pattern": "^\\w+$", "format": "uri", "maxLength": 3, "minLength": 1},
    {"additionalProperties": {"$ref": "#"}, "propertyNames": {"pattern": "^a"}, "items": {"$ref": "#"}},
    {"patternProperties": {"a": {"default": 1}}, "properties": {"a": {"default": {}}}, "unevaluatedProperties": False},
    {"allOf": [{"prefixItems": [{"type": "number"}]}], "unevaluatedItems": {"format": "date"}},
    {"items": {"$ref": "https://json-schema.org/draft/2020-12/schema"}},
    {"not": {"type": "object"}, "if": {"type": "array"}, "then": {"minItems": 2}, "else": {"format": "email"}},
]


@given(st.sampled_from(SCHEMAS), VALUES)
@example(SCHEMAS[8], ["\ud800"])
@settings(max_examples=100, deadline=None)
def test_as_a_value(schema: dict[str, Json], value: Json) -> None:
    for several in (value, [value] * 70):  # long lists take another way through the code
        found = check_value(several, schema)
        assert all(error.msg and error.type for error in found)
        fit(several, schema)
        fit_each([several, value], schema)


@given(st.dictionaries(st.one_of(KEYWORDS, TEXTS), VALUES, max_size=4), VALUES)
@settings(max_examples=100, deadline=None)
def test_as_a_schema(schema: dict[str, Json], value: Json) -> None:
    found = check_schema(schema)
    assert all(error.msg and error.type == "json_schema" for error in found)
    if not found:
        check_value(value, schema)
        fit([value] * 70, schema)
