from typing import Any

import pytest

from studio.engine.expression_types import ExpressionTypes, Wanted
from studio.expressions import compile_expression

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "whole": {"type": "integer"},
        "number": {"type": "number"},
        "either": {"type": ["string", "integer"]},
        "open": {},
        "closed": {"type": "object", "additionalProperties": False, "properties": {"a": {"type": "string"}}},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"n": {"type": "integer"}}}},
        "list": {"type": "array"},
    },
}


def fault(source: str, wanted: Wanted | None = None) -> str | None:
    found = ExpressionTypes(SCHEMA).fault(compile_expression(source), wanted)
    return None if found is None else found.type


class TestFault:
    @pytest.mark.parametrize(
        ("source", "wanted", "expected"),
        [
            ("input.text + input.whole", None, "expression_type"),
            ("input.rows.map(r, r.n + 'x')", None, "expression_type"),
            ("input.rows[0].n.foo", None, "expression_type"),
            ("size(input.whole) > 1", None, "expression_type"),
            ("input.text", "true or false", "not_boolean"),
            ("size(input.list)", "true or false", "not_boolean"),
            ("input.rows[0]", "a list", "not_a_list"),
            ("index", "true or false", "not_boolean"),
            ("steps.a.status", "a list", "not_a_list"),
            ("input.whole", "an RFC 3339 time", "not_a_time"),
            ("'tomorrow'", "an RFC 3339 time", "not_a_time"),
            ("input.closed.b", None, "unknown_field"),
        ],
    )
    def test_what_is_certain(self, source: str, wanted: Wanted | None, expected: str) -> None:
        assert fault(source, wanted) == expected

    @pytest.mark.parametrize(
        ("source", "wanted"),
        [
            ("input.text + 'x'", None),
            ("input.number + 1", None),
            ("input.number + 1.5", None),
            ("input.either + 'x'", None),
            ("input.open", "true or false"),
            ("input.open + 1", None),
            ("input.more.deep", "a list"),
            ("has(input.closed.b)", "true or false"),
            ("input.list[3]", "true or false"),
            ("input.list.map(x, x + 1)", "a list"),
            ("input.whole > 5 ? true : input.open", "true or false"),
            ("input.whole / 0", None),
            ("steps.a.output", "true or false"),
            ("steps.a.output.map(x, x.y)", "a list"),
            ("item + 1", None),
            ("run.metadata.x == 'y'", "true or false"),
            ("input.text", "an RFC 3339 time"),
            ("'2030-01-31T09:00:00Z'", "an RFC 3339 time"),
            ("timestamp('2030-01-31T09:00:00Z')", "an RFC 3339 time"),
            ("input.text in input.list", "true or false"),
        ],
    )
    def test_what_may_be_right_is_left_alone(self, source: str, wanted: Wanted | None) -> None:
        assert fault(source, wanted) is None

    @pytest.mark.parametrize("schema", [None, {}, {"type": "object"}, {"$ref": "#/$defs/x"}, {"anyOf": []}])
    def test_without_types_only_constants_are_known(self, schema: dict[str, Any] | None) -> None:
        types = ExpressionTypes(schema)
        assert types.fault(compile_expression("input.text + 1"), None) is None
        assert types.fault(compile_expression("1 + 'x'"), None) is not None
