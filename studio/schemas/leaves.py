"""The keywords that hold no schemas: whether a value satisfies one, and what is said when it does not.

Regular expressions and formats are those of the package `jsonschema-rs`: linear in time (Rust's `regex`), and checked
as RFC 3339, 5322, 3986 and so on say. It is only ever given schemas of these two keywords from here.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from jsonschema_rs import Draft202012Validator, RegexOptions

from studio.contracts.base import Json, JsonObject
from studio.pattern_weight import MAX_WEIGHT, pattern_weight
from studio.schemas.equality import canonical, first_twins
from studio.schemas.kinds import is_array, is_object
from studio.schemas.meter import Meter
from studio.schemas.references import DIALECT
from studio.schemas.wording import listed, plural, shown, wrong_type

MAX_FORMATTED = 8_192
"""Characters; a longer text has no format."""
REGEX = RegexOptions(size_limit=4 * 1024 * 1024)
SCHEMAS = Draft202012Validator({"$ref": DIALECT}, offline=True)
"""Of schemas."""
LINEAR = "look-around and back-references cannot be checked in linear time"
_WEIGHT_A_STEP = 16
"""`pattern_weight` counts in copies of a number, sixteen to a step."""
_STATES = 20_000


@dataclass(frozen=True, slots=True)
class Check:
    """Whether a value satisfies a keyword; and, of one that does not, what is said about it."""

    holds: Callable[[Json], bool]
    words: Callable[[Json], str]


def validator(schema: JsonObject) -> Draft202012Validator:
    """Of the outside package, which must never be given a reference: it would fetch it."""
    return Draft202012Validator(schema, pattern_options=REGEX, validate_formats=True, offline=True)


class Pattern:
    """A regular expression, compiled once and paid for. Raises `ValueError` for what is none, and `TooMuchWork`."""

    def __init__(self, source: str, meter: Meter) -> None:
        weight = pattern_weight(source)
        if weight >= MAX_WEIGHT:
            raise ValueError(f"{shown(source)} is too large a regular expression")
        meter.spend(1 + weight // _WEIGHT_A_STEP)
        try:
            self._validator = validator({"pattern": source})
        except ValueError:
            raise ValueError(f"{shown(source)} is not a regular expression that is allowed here: {LINEAR}") from None
        self._a_character = 1 + weight // _STATES
        self._meter = meter

    def found_in(self, text: str) -> bool:
        self._meter.spend(1 + len(text) * self._a_character // (16 * _WEIGHT_A_STEP))
        try:
            return self._validator.is_valid(text)
        except UnicodeEncodeError:  # half of a surrogate pair
            return False


def is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_integer(value: Json) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


TYPES: dict[str, Callable[[Json], bool]] = {
    "array": is_array,
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
    "null": lambda value: value is None,
    "number": is_number,
    "object": is_object,
    "string": lambda value: isinstance(value, str),
}


def _type(argument: Json, _: Meter) -> Check:
    names: list[str] = argument if is_array(argument) else [argument]
    tests = [TYPES[name] for name in names]

    def holds(value: Json) -> bool:
        return any(test(value) for test in tests)

    return Check(tests[0] if len(tests) == 1 else holds, lambda value: wrong_type(value, argument))


def _const(argument: Json, meter: Meter) -> Check:
    wanted = canonical(argument, meter)
    return Check(
        lambda value: canonical(value, meter) == wanted,
        lambda value: f"{shown(value)} is not {shown(argument)}",
    )


def _enum(argument: Json, meter: Meter) -> Check:
    wanted = {canonical(value, meter) for value in argument}
    return Check(
        lambda value: canonical(value, meter) in wanted,
        lambda value: f"{shown(value)} is not one of {listed(argument)}",
    )


def _number(holds: Callable[[Any, Any], bool], words: str) -> Callable[[Json, Meter], Check]:
    def make(argument: Json, _: Meter) -> Check:
        return Check(
            lambda value: not is_number(value) or holds(value, argument),
            lambda value: f"{shown(value)} is {words} {shown(argument)}",
        )

    return make


def _is_multiple(value: float, step: float) -> bool:
    """As written in decimal, so that 0.3 is a multiple of 0.1."""
    if isinstance(value, int) and isinstance(step, int):
        return value % step == 0
    if isinstance(value, float) and not math.isfinite(value):
        return False
    return (_as_written(value) / _as_written(step)).denominator == 1


def _as_written(number: float) -> Fraction:
    return Fraction(number if isinstance(number, int) else repr(number))


def _multiple_of(argument: Json, meter: Meter) -> Check:
    def holds(value: Any, step: Any) -> bool:
        meter.spend(10)
        return _is_multiple(value, step)

    return _number(holds, "not a multiple of")(argument, meter)


def _pattern(argument: Json, meter: Meter) -> Check:
    pattern = Pattern(argument, meter)
    return Check(
        lambda value: not isinstance(value, str) or pattern.found_in(value),
        lambda value: f"{shown(value)} does not match {shown(argument)}",
    )


def _format(argument: Json, meter: Meter) -> Check:
    meter.spend(20)
    known = validator({"format": argument})

    def holds(value: Json) -> bool:
        if not isinstance(value, str):
            return True
        meter.spend(2 + (len(value) >> 2))
        try:
            return len(value) <= MAX_FORMATTED and known.is_valid(value)
        except UnicodeEncodeError:  # half of a surrogate pair
            return False

    return Check(holds, lambda value: f"{shown(value)} is not of format {shown(argument)}")


def _length(kind: type[Any], noun: str, *, at_least: bool) -> Callable[[Json, Meter], Check]:
    def make(argument: Json, _: Meter) -> Check:
        def holds(value: Json) -> bool:
            if not isinstance(value, kind):
                return True
            count = len(value)
            return count >= argument if at_least else count <= argument

        def words(value: Json) -> str:
            limit = f"at {'least' if at_least else 'most'} {int(argument)}"
            return f"{shown(value)} has {plural(len(value), noun)}, not {limit}"

        return Check(holds, words)

    return make


def _unique_items(argument: Json, meter: Meter) -> Check:
    def twins(value: Json) -> tuple[int, int] | None:
        return first_twins(value, meter) if is_array(value) and argument else None

    def words(value: Json) -> str:
        first, second = twins(value) or (0, 0)
        return f"items {first} and {second} are the same: {shown(value[second])}"

    return Check(lambda value: twins(value) is None, words)


def _required(argument: Json, meter: Meter) -> Check:
    def holds(value: Json) -> bool:
        if not is_object(value):
            return True
        meter.spend(len(argument) >> 4)
        return all(map(value.__contains__, argument))

    def words(value: Json) -> str:
        missing = [name for name in argument if name not in value]
        return f"{listed(missing)} {'is a required property' if len(missing) == 1 else 'are required properties'}"

    return Check(holds, words)


def _dependent_required(argument: Json, meter: Meter) -> Check:
    needs = {name: _required(names, meter) for name, names in argument.items()}

    def broken(value: Json) -> Iterator[str]:
        if is_object(value):
            meter.spend(len(needs))
            for name, need in needs.items():
                if name in value and not need.holds(value):
                    yield f"{need.words(value)} beside {shown(name)}"

    return Check(lambda value: next(broken(value), None) is None, lambda value: next(broken(value), ""))


LEAVES: dict[str, Callable[[Json, Meter], Check]] = {
    "type": _type,
    "const": _const,
    "enum": _enum,
    "required": _required,
    "minimum": _number(lambda value, bound: value >= bound, "less than the minimum,"),
    "maximum": _number(lambda value, bound: value <= bound, "more than the maximum,"),
    "exclusiveMinimum": _number(lambda value, bound: value > bound, "not more than"),
    "exclusiveMaximum": _number(lambda value, bound: value < bound, "not less than"),
    "minLength": _length(str, "character", at_least=True),
    "maxLength": _length(str, "character", at_least=False),
    "minItems": _length(list, "item", at_least=True),
    "maxItems": _length(list, "item", at_least=False),
    "minProperties": _length(dict, "property", at_least=True),
    "maxProperties": _length(dict, "property", at_least=False),
    "dependentRequired": _dependent_required,
    "multipleOf": _multiple_of,
    "format": _format,
    "pattern": _pattern,
    "uniqueItems": _unique_items,
}
"""In the order in which they are checked: what is cheap and tells kinds apart comes first."""
