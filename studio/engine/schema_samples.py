"""What a JSON Schema says for certain about the values that satisfy it."""

import difflib
from collections.abc import Sequence
from typing import Any, Final, cast

from studio.contracts.base import Json, JsonObject

UNKNOWN: Final = object()
"""The schema leaves open what the value is."""
KINDS_OF_NUMBER = 2
"""`number` allows whole numbers and others, which expressions keep apart."""


def sample(schema: Json, turn: int) -> Any:  # noqa: PLR0911 - one line a type
    """A value of exactly the types that the schema declares, or `UNKNOWN`; fields of unknown type are left out.

    `turn` picks among the kinds of number.
    """
    declared = cast("JsonObject", schema) if isinstance(schema, dict) else {}
    match declared.get("type"):
        case "string":
            return "text"
        case "integer":
            return 1
        case "number":
            return (1, 1.5)[turn % KINDS_OF_NUMBER]
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            item = sample(declared.get("items"), turn)
            return [] if item is UNKNOWN else [item]
        case "object":
            fields = {name: sample(field, turn) for name, field in _properties(declared).items()}
            return {name: value for name, value in fields.items() if value is not UNKNOWN}
        case _:
            return UNKNOWN


def unknown_field(schema: Json, path: Sequence[str]) -> tuple[str, str] | None:
    """The first field on the path that the schema rules out, and what to do about it."""
    held = schema
    for field in path:
        declared = cast("JsonObject", held) if isinstance(held, dict) else {}
        fields = _properties(declared)
        closed = declared.get("additionalProperties") is False and "patternProperties" not in declared
        if closed and field not in fields:
            close = difflib.get_close_matches(field, fields, 1)
            return field, f"did you mean {close[0]!r}?" if close else f"fields are {', '.join(list(fields)[:20])}"
        held = fields.get(field)
    return None


def _properties(schema: JsonObject) -> JsonObject:
    fields = schema.get("properties")
    return cast("JsonObject", fields) if isinstance(fields, dict) else {}
