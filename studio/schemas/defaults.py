"""Filling in the `default`s of a schema.

A property that is absent and has a `default` gets it, at every depth: in `properties`, `patternProperties`,
`additionalProperties`, `prefixItems`, `items`, and through `$ref` and `allOf`. What stands inside `anyOf`, `oneOf`,
`if`, `not` and `dependentSchemas` is left alone, since which of them holds is not known before the check.
"""

import copy
from collections.abc import Iterable, Sequence

from studio.contracts.base import Json, JsonObject
from studio.schemas.kinds import is_array, is_object
from studio.schemas.leaves import Pattern
from studio.schemas.meter import Meter, TooMuchWork, size_of
from studio.schemas.references import METASCHEMA, REFERENCES, References, children

MAX_DEPTH = 100


def holds_defaults(schema: Json, meter: Meter) -> bool:
    pending: list[Json] = [schema]
    while pending:
        held = pending.pop()
        meter.spend(1)
        if is_object(held):
            if "default" in held:
                return True
            pending += [inner for _, inner in children(held)]
    return False


class Defaults:
    """Of one schema."""

    def __init__(self, root: Json, meter: Meter) -> None:
        self._root = root
        self._meter = meter
        self._references = References(root if is_object(root) else {})
        self._together: dict[int, list[JsonObject]] = {}
        self._patterns: dict[str, Pattern] = {}

    def filled(self, value: Json, schema: Json = None) -> Json:
        """The value, or a copy of what changes; `schema` is a part of the document. Raises `TooMuchWork`, also for
        defaults without an end.
        """
        return self._filled(value, self._with(self._root if schema is None else schema), 0)

    def _all(self, schemas: Iterable[Json]) -> list[JsonObject]:
        """The schemas and those that hold wherever they do."""
        found: dict[int, JsonObject] = {}
        for schema in schemas:
            together = self._with(schema)
            self._meter.spend(1 + (len(together) >> 2))
            for held in together:
                found[id(held)] = held
        return list(found.values())

    def _with(self, schema: Json) -> list[JsonObject]:
        if id(schema) in self._together:
            return self._together[id(schema)]
        found: dict[int, JsonObject] = {}
        pending = [schema]
        while pending:
            held = pending.pop()
            self._meter.spend(1)
            if not is_object(held) or held is METASCHEMA or id(held) in found:
                continue
            one = found[id(held)] = held
            pending += reversed(one.get("allOf", []))
            pending += [self._references.target(one, keyword) for keyword in REFERENCES if keyword in one]
        self._together[id(schema)] = list(found.values())
        return self._together[id(schema)]

    def _filled(self, value: Json, schemas: Sequence[JsonObject], depth: int) -> Json:
        if depth > MAX_DEPTH:
            raise TooMuchWork
        self._meter.spend(1 + len(schemas))
        if is_object(value):
            return self._object(value, schemas, depth)
        if is_array(value):
            return self._array(value, schemas, depth)
        return value

    def _object(self, value: JsonObject, schemas: Sequence[JsonObject], depth: int) -> Json:
        changed: JsonObject = {}
        for schema in schemas:
            for name, inner in schema.get("properties", {}).items():
                self._meter.spend(1)
                if name in value or name in changed:
                    continue
                given = next((held["default"] for held in self._with(inner) if "default" in held), self)
                if given is not self:
                    self._meter.spend(size_of(given, self._meter.left))
                    changed[name] = copy.deepcopy(given)
        for name, held in [*value.items(), *changed.items()]:
            if not isinstance(held, dict | list):
                continue
            filled = self._filled(held, self._all(self._of_property(schemas, name)), depth + 1)
            if filled is not held:
                changed[name] = filled
        return value | changed if changed else value

    def _of_property(self, schemas: Sequence[JsonObject], name: str) -> Iterable[Json]:
        self._meter.spend(len(schemas) >> 1)
        for schema in schemas:
            known = name in schema.get("properties", {})
            if known:
                yield schema["properties"][name]
            for source, inner in schema.get("patternProperties", {}).items():
                pattern = self._patterns.get(source) or Pattern(source, self._meter)
                self._patterns[source] = pattern
                if pattern.found_in(name):
                    known = True
                    yield inner
            if not known and "additionalProperties" in schema:
                yield schema["additionalProperties"]

    def _array(self, value: list[Json], schemas: Sequence[JsonObject], depth: int) -> Json:
        changed: list[Json] | None = None
        first = max((len(schema.get("prefixItems", [])) for schema in schemas), default=0)
        rest = self._all(self._of_item(schemas, first))
        if not rest and not first:
            return value
        for index, held in enumerate(value):
            if not isinstance(held, dict | list):
                self._meter.spend(1)
                continue
            inner = rest if index >= first else self._all(self._of_item(schemas, index))
            filled = self._filled(held, inner, depth + 1)
            if filled is not held:
                changed = changed or list(value)
                changed[index] = filled
        return value if changed is None else changed

    def _of_item(self, schemas: Sequence[JsonObject], index: int) -> Iterable[Json]:
        self._meter.spend(len(schemas) >> 1)
        for schema in schemas:
            prefix = schema.get("prefixItems", [])
            if index < len(prefix):
                yield prefix[index]
            elif "items" in schema:
                yield schema["items"]
