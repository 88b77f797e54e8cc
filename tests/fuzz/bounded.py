"""An OpenAPI document that a generator of examples gets through: without recursion, and without long waits.

Steps hold steps. In the copy a step that another one holds is one that holds none: every kind of step is still sent,
and what is nested deeper is left to the property tests of the contracts.
"""

import copy
from collections.abc import Iterator
from typing import Any, cast

from studio.contracts.base import Json, JsonObject

_PREFIX = "#/components/schemas/"
_LEAF = "Leaf"
LONGEST_WAIT_SECONDS = 1
MOST_ITEMS = 2
"""Of each list inside what is recursive: more of them take a generator seconds for a single workflow."""


def bounded(document: JsonObject) -> JsonObject:
    found = copy.deepcopy(document)
    schemas: dict[str, JsonObject] = found["components"]["schemas"]
    recursive = recursive_names(document)
    leaves = {name + _LEAF: leaf for name in recursive if (leaf := _leaf(schemas[name], recursive)) is not None}
    for name in recursive:
        schemas[name] = cast("JsonObject", _lowered(schemas[name], recursive, leaves))
    schemas.update(leaves)
    for operation in _operations(found):
        for parameter in operation.get("parameters", []):
            if parameter["name"] == "wait":
                parameter["schema"]["maximum"] = LONGEST_WAIT_SECONDS
    return found


def recursive_names(document: JsonObject) -> set[str]:
    """The schemas of bodies, as they are sent, that lead back to themselves."""
    schemas: dict[str, JsonObject] = document["components"]["schemas"]
    bodies = {name for operation in _operations(document) for name in _named(operation.get("requestBody", {}))}
    sent = bodies | {inner for name in bodies for inner in _reachable(name, schemas)}
    return {name for name in sent if name in _reachable(name, schemas)}


def _operations(document: JsonObject) -> Iterator[JsonObject]:
    return (operation for item in document["paths"].values() for operation in item.values())


def _named(schema: Json) -> set[str]:
    """The schemas that this one names, directly."""
    if isinstance(schema, list):
        return {name for inner in cast("list[Json]", schema) for name in _named(inner)}
    if not isinstance(schema, dict):
        return set()
    fields = cast("JsonObject", schema)
    own = {str(fields["$ref"]).removeprefix(_PREFIX)} if "$ref" in fields else set[str]()
    return own | {name for inner in fields.values() for name in _named(inner)}


def _reachable(name: str, schemas: dict[str, JsonObject]) -> set[str]:
    found: set[str] = set()
    waiting = [name]
    while waiting:
        for one in _named(schemas[waiting.pop()]) - found:
            found.add(one)
            waiting.append(one)
    return found


def _leaf(schema: JsonObject, recursive: set[str]) -> JsonObject | None:
    """The schema without the fields that lead back to it; None when it needs one of them."""
    properties: JsonObject = schema.get("properties", {})
    leading = {name for name, field in properties.items() if _named(field) & recursive}
    if leading & set(schema.get("required", [])) or not properties:
        return None
    kept = {name: field for name, field in properties.items() if name not in leading}
    return {**schema, "properties": kept}


def _lowered(schema: Json, recursive: set[str], leaves: dict[str, JsonObject]) -> Any:
    """The schema with leaves among its alternatives, and without those that have no leaf."""
    if isinstance(schema, list):
        return [_lowered(inner, recursive, leaves) for inner in cast("list[Json]", schema)]
    if not isinstance(schema, dict):
        return schema
    lowered: JsonObject = {}
    for key, inner in cast("JsonObject", schema).items():
        if key in {"anyOf", "oneOf"}:
            kept = [_alternative(one, recursive, leaves) for one in inner]
            lowered[key] = [one for one in kept if one is not None]
        elif key != "discriminator":  # it names what may be gone
            lowered[key] = _lowered(inner, recursive, leaves)
    if lowered.get("type") == "array":
        lowered.setdefault("maxItems", max(MOST_ITEMS, lowered.get("minItems", 0)))
    return lowered


def _alternative(schema: JsonObject, recursive: set[str], leaves: dict[str, JsonObject]) -> JsonObject | None:
    name = str(schema.get("$ref", "")).removeprefix(_PREFIX)
    if name not in recursive:
        return _lowered(schema, recursive, leaves)
    return {"$ref": f"{_PREFIX}{name}{_LEAF}"} if name + _LEAF in leaves else None
