"""What a JSON Schema means here, held against a validator of other authors: jsonschema-rs."""

import jsonschema_rs
from hypothesis import given, settings
from hypothesis import strategies as st

from studio.contracts.base import Json
from studio.json_schema import check_schema, check_value

NAMES = ["a", "b", "c", "é"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([0.5, 1.0, -2.0, 2.5, 1e16, 10**16]),
    st.sampled_from(["", "a", "ab", "é", "2024-02-29", "a1"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)),
    max_leaves=12,
)
TYPES = st.sampled_from(["array", "boolean", "integer", "null", "number", "object", "string"])
SMALL = st.integers(0, 3)
BOUNDS = st.sampled_from([-1, 0, 1, 1.5, 2])
LEAVES = st.fixed_dictionaries(
    {},
    optional={
        "type": st.one_of(TYPES, st.lists(TYPES, min_size=1, max_size=3, unique=True)),
        "const": VALUES,
        "enum": st.lists(VALUES, min_size=1, max_size=3),
        "minimum": BOUNDS,
        "maximum": BOUNDS,
        "exclusiveMinimum": BOUNDS,
        "exclusiveMaximum": BOUNDS,
        "multipleOf": st.sampled_from([1, 2, 0.5, 1.5]),
        "minLength": SMALL,
        "maxLength": SMALL,
        "pattern": st.sampled_from(["^a", "b$", "é", "[0-9]"]),
        "minItems": SMALL,
        "maxItems": SMALL,
        "uniqueItems": st.booleans(),
        "minProperties": SMALL,
        "maxProperties": SMALL,
        "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
        "dependentRequired": st.dictionaries(
            st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=2, unique=True), max_size=2
        ),
    },
)


def _few(keywords: dict[str, st.SearchStrategy[Json]]) -> st.SearchStrategy[dict[str, Json]]:
    chosen = st.lists(st.sampled_from(sorted(keywords)), min_size=1, max_size=4, unique=True)
    return chosen.flatmap(lambda names: st.fixed_dictionaries({name: keywords[name] for name in names}))


def _with_inner(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    named = st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)
    several = st.lists(inner, min_size=1, max_size=3)
    return _few(
        {
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
            "dependentSchemas": named,
            "properties": named,
            "patternProperties": st.dictionaries(st.sampled_from(["^a", "b", "é$"]), inner, max_size=2),
            "additionalProperties": inner,
            "propertyNames": inner,
            "prefixItems": several,
            "items": inner,
            "contains": inner,
            "minContains": SMALL,
            "maxContains": SMALL,
            "unevaluatedProperties": inner,
            "unevaluatedItems": inner,
            "$ref": st.sampled_from(["#/$defs/a", "#/$defs/b", "#named"]),
            "type": TYPES,
            "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
            "uniqueItems": st.just(True),
        }
    )


SCHEMAS = st.recursive(st.one_of(st.booleans(), LEAVES), _with_inner, max_leaves=8)


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Json]:
    """A schema whose references lead to two others, of which one may lead to the other."""
    root = draw(_with_inner(SCHEMAS))
    first = draw(SCHEMAS)
    return root | {"$defs": {"a": draw(SCHEMAS), "b": first, "c": {"$anchor": "named", "items": {"$ref": "#/$defs/b"}}}}


@given(documents(), VALUES)
@settings(max_examples=80, deadline=None)
def test_a_value_fits_exactly_when_it_does_elsewhere(schema: dict[str, Json], value: Json) -> None:
    if check_schema(schema):
        return  # refers to itself without end
    elsewhere = jsonschema_rs.Draft202012Validator(schema, pattern_options=jsonschema_rs.RegexOptions())
    assert (check_value(value, schema) == []) is elsewhere.is_valid(value)


@given(documents(), st.lists(VALUES, min_size=1, max_size=3))
@settings(max_examples=40, deadline=None)
def test_many_are_judged_as_each_alone(schema: dict[str, Json], values: list[Json]) -> None:
    """Long lists take another way through the code."""
    if check_schema(schema):
        return
    alone = [check_value(value, schema) == [] for value in values]
    together = {"items": {"$ref": "#/$defs/whole"}, "$defs": schema["$defs"] | {"whole": schema}}
    found = check_value(values * 70, together)
    assert (found == []) is all(alone)
