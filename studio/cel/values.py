"""The values of expressions: JSON's as they are, and what only CEL has. All whole numbers fit into 64 bits.

JSON knows one kind of number, CEL three; `==`, `<` and `in` compare them by value, as CEL says, and so does all else.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from studio.cel.errors import LimitFault, failure, mistyped

INT_MIN, INT_MAX, UINT_MAX = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
MAX_DEPTH = 100


class UInt(int):
    """A whole number that is not signed: `1u`."""


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    nanoseconds: int


@dataclass(frozen=True, slots=True, order=True)
class Moment:
    """CEL's timestamp: nanoseconds since 1970 in UTC."""

    nanoseconds: int


@dataclass(frozen=True, slots=True)
class CelType:
    name: str


class BoolKey(NamedTuple):
    """`true` as a key of a map; Python takes `True` and 1 for one key."""

    value: bool


TYPES = {
    name: CelType(name)
    for name in ("bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint")
}
QUALIFIED_TYPES = {
    ("google", "protobuf", name): CelType(f"google.protobuf.{name}") for name in ("Duration", "Timestamp")
}


def type_of(value: Any) -> CelType:  # noqa: PLR0911 - one line a type
    match value:
        case None:
            return TYPES["null_type"]
        case bool():
            return TYPES["bool"]
        case int():
            return TYPES["uint" if isinstance(value, UInt) or value > INT_MAX else "int"]
        case float():
            return TYPES["double"]
        case str():
            return TYPES["string"]
        case bytes():
            return TYPES["bytes"]
        case list():
            return TYPES["list"]
        case dict():
            return TYPES["map"]
        case Duration():
            return QUALIFIED_TYPES["google", "protobuf", "Duration"]
        case Moment():
            return QUALIFIED_TYPES["google", "protobuf", "Timestamp"]
        case _:
            return TYPES["type"]


def type_word(value: Any) -> str:  # noqa: PLR0911 - one line a type
    """What a value is, as people who write YAML call it."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case bytes():
            return "bytes"
        case list():
            return "a list"
        case dict():
            return "an object"
        case Duration():
            return "a duration"
        case Moment():
            return "a timestamp"
        case _:
            return "a type"


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_PLAIN = (int, str, float)


def equal(one: Any, other: Any, depth: int = 0) -> bool:
    """CEL's `==`: numbers by value, values of other types than each other are not equal."""
    if type(one) is type(other) and type(one) in _PLAIN:
        return one == other
    if depth > MAX_DEPTH:
        raise LimitFault(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if is_number(one):
        return is_number(other) and one == other
    if isinstance(one, list) and isinstance(other, list):
        items, others = cast("list[Any]", one), cast("list[Any]", other)
        return len(items) == len(others) and all(
            equal(left, right, depth + 1) for left, right in zip(items, others, strict=True)
        )
    if isinstance(one, dict) and isinstance(other, dict):
        held, against = cast("dict[Any, Any]", one), cast("dict[Any, Any]", other)
        return held.keys() == against.keys() and all(equal(held[key], against[key], depth + 1) for key in held)
    return type(cast("Any", one)) is type(other) and bool(one == other)


def less(one: Any, other: Any, *, or_equal: bool) -> bool:
    """Of numbers, and of two texts, bytes, booleans, durations or timestamps."""
    same = type(one) is type(other) and isinstance(one, str | int | float | bytes | Duration | Moment)
    if not same and not (is_number(one) and is_number(other)):
        raise mistyped(f"{type_word(one)} and {type_word(other)} have no order; write int(x), double(x) or string(x)")
    return one <= other if or_equal else one < other


def as_key(value: Any) -> Any:
    """A value as the key of a map. Whole numbers are one key whatever their type; what can be no key is None."""
    match value:
        case bool():
            return BoolKey(value)
        case str() | int():
            return value
        case float() if value.is_integer():
            return int(value)
        case _:
            return None


def keys_of(entries: dict[Any, Any]) -> list[Any]:
    """In their order: of a kind together, so that every run walks a map alike."""
    return [key.value if isinstance(key, BoolKey) else key for key in in_order(entries)]


def in_order(entries: Iterable[Any]) -> list[Any]:
    held = list(entries)
    if all(isinstance(key, str) for key in held):
        return sorted(held)
    return sorted(held, key=lambda key: (type(key).__name__, key))


def shown(value: Any) -> str:
    """A text, a number or a boolean as people write it in a message."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if math.isnan(value):
            return "NaN"
        case float() if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        case float():
            return repr(value).removesuffix(".0")
        case _:
            return str(value)


def field_of(value: Any, field: str) -> Any:
    if isinstance(value, dict):
        entries = cast("dict[Any, Any]", value)
        if field not in entries:
            raise failure(f"no such key: {field}")
        return entries[field]
    if value is None:
        raise mistyped(f"null has no field {field!r}")
    raise mistyped(f"{type_word(value)} has no field {field!r}")


def item_of(value: Any, index: Any) -> Any:
    if isinstance(value, dict):
        entries = cast("dict[Any, Any]", value)
        key = as_key(index)
        if key is None and not isinstance(index, float):
            raise mistyped(f"{type_word(index)} is no key of an object")
        if key not in entries:
            raise failure(f"no such key: {shown(index)}")
        return entries[key]
    if isinstance(value, list):
        items = cast("list[Any]", value)
        place = as_key(index)
        if not isinstance(place, int) or not is_number(index):
            if isinstance(index, float):
                raise failure(f"{index} is no place in a list: places are whole numbers")
            raise mistyped(f"a place in a list is a whole number, not {type_word(index)}")
        if not 0 <= place < len(items):
            raise failure(f"index out of bounds: {place}; the list has {len(items)} items")
        return items[place]
    raise mistyped(f"{type_word(value)} has no parts: only objects and lists have")
