"""Large values against plain schemas, checked by the package `jsonschema-rs`: thirty times as fast.

Plain is what does not refer to itself and costs little for each value. References are replaced by what they lead to:
the package, which would fetch them, is given none. Only a verdict "fits" is taken from it.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, cast

from jsonschema_rs import Draft202012Validator

from studio.contracts.base import Json, JsonObject
from studio.pattern_weight import pattern_weight
from studio.schemas.kinds import is_object
from studio.schemas.leaves import LEAVES, validator
from studio.schemas.meter import Meter, size_of
from studio.schemas.references import METASCHEMA, LeadsNowhere, References

CHUNK = 1_000_000
"""Values times keywords, up to 60 ns each: so long does one call keep other threads waiting."""
_UNITS_A_STEP = 6
"""As a power of two."""
_FEW = 64
"""Smaller values are not worth a call."""
_SLICE = 256
_MAX_COST = 500
_MAX_DEPTH = 100
_LIGHT_PATTERN = 20_000
_NEVER = frozenset({"uniqueItems", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef"})
_LISTS = frozenset({"allOf", "anyOf", "oneOf", "prefixItems"})
_MAPS = frozenset({"properties", "patternProperties", "dependentSchemas"})
_SINGLE = frozenset({"not", "if", "then", "else", "additionalProperties", "items", "contains", "propertyNames"})
_ONE_OF_THEM = frozenset({"properties", "prefixItems"})
"""Of whose schemas one at most is about a value."""


class _Plain(NamedTuple):
    """A schema without references, and what it costs for each value: at most `_MAX_COST`."""

    schema: Json
    cost: int


class _NotPlain(Exception):
    pass


class Bulk:
    """For the schemas of one document."""

    def __init__(self, references: References, meter: Meter) -> None:
        self._references = references
        self._meter = meter
        self._plain: dict[int, _Plain | None] = {}
        self._validators: dict[tuple[int, bool], Draft202012Validator] = {}

    def fits(self, schema: JsonObject, value: Json) -> bool:
        """False also when that cannot be said quickly."""
        return self._fits(schema, value, each=False)

    def slices(self, schema: Json, items: list[Json]) -> Iterator[tuple[int, int, bool]]:
        """Parts of the list, and whether it is sure that the items of each fit."""
        for begin in range(0, len(items), _SLICE):
            end = min(begin + _SLICE, len(items))
            yield begin, end, is_object(schema) and self._fits(schema, items[begin:end], each=True)

    def _fits(self, schema: JsonObject, value: Json, *, each: bool) -> bool:
        if self._plain.get(id(schema), self) is None or (len(value) < _FEW and size_of(value, _FEW) < _FEW):
            return False
        self._meter.spend(2)
        plain = self._flat(schema, 0)
        if plain is None:
            return False
        size = size_of(value, CHUNK // plain.cost)
        self._meter.spend(size >> 4)
        if size * plain.cost > CHUNK:
            return False
        self._meter.spend(1 + (size * plain.cost >> _UNITS_A_STEP))
        known = self._validators.get((id(schema), each))
        if known is None:
            self._meter.spend(10 * plain.cost)
            known = validator({"items": plain.schema} if each else cast("JsonObject", plain.schema))
            self._validators[id(schema), each] = known
        try:
            return known.is_valid(value)
        except ValueError:  # half of a surrogate pair, or an integer of thousands of digits
            return False

    def _flat(self, schema: Json, depth: int) -> _Plain | None:
        if isinstance(schema, bool):
            return _Plain(schema, 1)
        if id(schema) not in self._plain:
            self._plain[id(schema)] = None  # while it is being looked at: what meets it again refers to itself
            self._meter.spend(2)
            with contextlib.suppress(_NotPlain, LeadsNowhere):
                self._plain[id(schema)] = self._made(schema, depth)
        return self._plain[id(schema)]

    def _made(self, schema: JsonObject, depth: int) -> _Plain:
        if schema is METASCHEMA or depth > _MAX_DEPTH:
            raise _NotPlain
        made: JsonObject = {}
        cost = 0
        for keyword, argument in schema.items():
            inner: list[_Plain] = []
            for held in self._inside(schema, keyword):
                flat = self._flat(held, depth + 1)
                if flat is None:
                    raise _NotPlain
                inner.append(flat)
            costs = [flat.cost for flat in inner]
            schemas = [flat.schema for flat in inner]
            if keyword in {"$ref", *_LISTS}:
                made.setdefault("allOf" if keyword == "$ref" else keyword, []).extend(schemas)
            elif keyword in _MAPS:
                made[keyword] = dict(zip(argument, schemas, strict=True))
            elif keyword in _SINGLE:
                made[keyword] = schemas[0]
            elif keyword in LEAVES or keyword in {"minContains", "maxContains"}:
                made[keyword] = argument
            cost += max(costs, default=0) if keyword in _ONE_OF_THEM else sum(costs)
            if keyword in LEAVES or keyword in _COSTS:
                cost += _COSTS[keyword](argument) if keyword in _COSTS else 1
            if cost > _MAX_COST or keyword in _NEVER:
                raise _NotPlain
        return _Plain(made, max(1, cost))

    def _inside(self, schema: JsonObject, keyword: str) -> Iterable[Json]:
        if keyword == "$ref":
            return [self._references.target(schema, keyword)]
        if keyword in _LISTS:
            return schema[keyword]
        if keyword in _MAPS:
            return schema[keyword].values()
        return [schema[keyword]] if keyword in _SINGLE else []


def _enum_cost(values: list[Json]) -> int:
    return 2 if all(isinstance(value, str) for value in values) else 20 * len(values)


def _pattern_cost(source: str) -> int:
    return 4 if pattern_weight(source) < _LIGHT_PATTERN else _MAX_COST + 1


_COSTS: dict[str, Callable[[Json], int]] = {
    "const": lambda _: 20,
    "dependentRequired": len,
    "dependentSchemas": len,
    "enum": _enum_cost,
    "format": lambda _: 16,
    "multipleOf": lambda step: 2 if isinstance(step, int) else _MAX_COST + 1,
    "pattern": _pattern_cost,
    "patternProperties": lambda patterns: sum(map(_pattern_cost, patterns)),
    "required": lambda names: 1 + len(names),
}
"""Of what takes longer than the others."""
