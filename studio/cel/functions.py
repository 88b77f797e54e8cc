"""The functions of CEL's standard. What other dialects have beside them is in `UNCLAIMED`, with what to write.

Source: https://github.com/google/cel-spec/blob/master/doc/langdef.md#standard-definitions.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

from studio.cel import regex
from studio.cel.budget import Budget
from studio.cel.errors import EvaluationFault, failure, mistyped
from studio.cel.times import (
    SECOND,
    checked_moment,
    duration_part,
    duration_text,
    moment_part,
    moment_text,
    read_duration,
    read_moment,
)
from studio.cel.values import (
    INT_MAX,
    INT_MIN,
    UINT_MAX,
    CelType,
    Duration,
    Moment,
    UInt,
    is_number,
    shown,
    type_of,
    type_word,
)

Form = Literal["global", "member", "both"]
_WHOLE = re.compile(r"[+-]?[0-9]{1,20}")
_DOUBLE = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?|NaN|[+-]?(?:Inf|Infinity)")
_MAX_NUMBER_LENGTH = 400
_TRUE, _FALSE = frozenset({"true", "True", "TRUE", "t", "1"}), frozenset({"false", "False", "FALSE", "f", "0"})


@dataclass(frozen=True, slots=True)
class Function:
    run: Callable[..., Any]
    """Called with the budget of the run, and the arguments."""
    counts: tuple[int, ...]
    """How many arguments it may have, the target counted."""
    form: Form = "global"


def _no_overload(name: str, *values: Any) -> EvaluationFault:
    return mistyped(f"`{name}` does not take {' and '.join(type_word(value) for value in values)}")


def _size(_: Budget, value: Any) -> int:
    if isinstance(value, str | bytes | list | dict):
        return len(cast("Any", value))
    raise _no_overload("size", value)


def _on_texts(name: str, find: Callable[[str, str], bool]) -> Function:
    def run(budget: Budget, text: Any, part: Any) -> bool:
        if not isinstance(text, str) or not isinstance(part, str):
            raise mistyped(f"`{name}` is of a text and takes a text, not {type_word(text)} and {type_word(part)}")
        budget.spend_on(text)
        return find(text, part)

    return Function(run, (2,), "member")


def _int(_: Budget, value: Any) -> int:
    match value:
        case bool():
            raise _no_overload("int", value)
        case int():
            return int(_in_range(value, INT_MIN, INT_MAX))
        case float():
            return int(_in_range(value, INT_MIN, INT_MAX))
        case str() if _WHOLE.fullmatch(value):
            return int(_in_range(int(value), INT_MIN, INT_MAX))
        case str():
            raise failure(f"{value[:40]!r} is no whole number")
        case Moment():
            return value.nanoseconds // SECOND
        case _:
            raise _no_overload("int", value)


def _uint(_: Budget, value: Any) -> UInt:
    if isinstance(value, str):
        if not _WHOLE.fullmatch(value):
            raise failure(f"{value[:40]!r} is no whole number")
        value = int(value)
    if not is_number(value):
        raise _no_overload("uint", value)
    return UInt(_in_range(value, 0, UINT_MAX))


def _in_range(value: float, least: int, most: int) -> float:
    if math.isnan(value) or math.isinf(value) or not least <= math.trunc(value) <= most:
        raise failure(f"out of range: {shown(value)} needs more than 64 bits")
    if isinstance(value, float) and not least < value < most and least < 0:
        raise failure(f"out of range: {shown(value)} needs more than 64 bits")
    return math.trunc(value)


def _double(_: Budget, value: Any) -> float:
    if isinstance(value, str):
        if len(value) > _MAX_NUMBER_LENGTH or not _DOUBLE.fullmatch(value):
            raise failure(f"{value[:40]!r} is no number")
        return float(value)
    if not is_number(value):
        raise _no_overload("double", value)
    return float(value)


def _string(budget: Budget, value: Any) -> str:  # noqa: PLR0911 - one line a type
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return shown(value)
        case bytes():
            budget.spend_on(value)
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise failure("the bytes are no text: invalid UTF-8") from None
        case Moment():
            return moment_text(value)
        case Duration():
            return duration_text(value)
        case _:
            raise _no_overload("string", value)


def _bool(_: Budget, value: Any) -> bool:
    match value:
        case bool():
            return value
        case str() if value in _TRUE or value in _FALSE:
            return value in _TRUE
        case str():
            raise failure(f"{value[:40]!r} is neither true nor false")
        case _:
            raise _no_overload("bool", value)


def _bytes(budget: Budget, value: Any) -> bytes:
    match value:
        case bytes():
            return value
        case str():
            budget.spend_on(value)
            return value.encode(errors="surrogatepass")
        case _:
            raise _no_overload("bytes", value)


def _timestamp(_: Budget, value: Any) -> Moment:
    match value:
        case Moment():
            return value
        case str():
            return read_moment(value)
        case int() if not isinstance(value, bool):
            return checked_moment(value * SECOND)
        case float():
            raise mistyped("`timestamp` takes whole seconds: write timestamp(int(x))")
        case _:
            raise _no_overload("timestamp", value)


def _duration(_: Budget, value: Any) -> Duration:
    match value:
        case Duration():
            return value
        case str():
            return read_duration(value)
        case _:
            raise _no_overload("duration", value)


_OF_DURATIONS = frozenset({"getHours", "getMinutes", "getSeconds", "getMilliseconds"})
_ZONE_STEPS = 20


def _getter(name: str) -> Function:
    def run(budget: Budget, value: Any, *zone: Any) -> int:
        budget.spend(_ZONE_STEPS)
        if isinstance(value, Duration) and name in _OF_DURATIONS and not zone:
            return duration_part(name, value)
        if not isinstance(value, Moment):
            hint = "; write timestamp(x)" if isinstance(value, str) else ""
            raise mistyped(f"`{name}` is of a timestamp, not of {type_word(value)}{hint}")
        if not all(isinstance(one, str) for one in zone):
            raise mistyped(f"`{name}` takes a time zone as text, not {type_word(zone[0])}")
        return moment_part(name, value, *zone)

    return Function(run, (1, 2), "member")


def _matches(budget: Budget, text: Any, pattern: Any) -> bool:
    if not isinstance(text, str) or not isinstance(pattern, str):
        raise mistyped("`matches` is of a text and takes a regular expression as text")
    return regex.matches(budget, text, pattern)


def _type(_: Budget, value: Any) -> CelType:
    return type_of(value)


def _dyn(_: Budget, value: Any) -> Any:
    return value


FUNCTIONS: dict[str, Function] = {
    "size": Function(_size, (1,), "both"),
    "contains": _on_texts("contains", lambda text, part: part in text),
    "startsWith": _on_texts("startsWith", str.startswith),
    "endsWith": _on_texts("endsWith", str.endswith),
    "matches": Function(_matches, (2,), "both"),
    "type": Function(_type, (1,)),
    "dyn": Function(_dyn, (1,)),
    "bool": Function(_bool, (1,)),
    "int": Function(_int, (1,)),
    "uint": Function(_uint, (1,)),
    "double": Function(_double, (1,)),
    "string": Function(_string, (1,)),
    "bytes": Function(_bytes, (1,)),
    "timestamp": Function(_timestamp, (1,)),
    "duration": Function(_duration, (1,)),
    **{
        name: _getter(name)
        for name in (
            *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfYear", "getDayOfWeek"),
            *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
        )
    },
}
MACROS = frozenset({"has", "all", "exists", "exists_one", "existsOne", "filter", "map"})

_IN_A_TOOL = "it is no part of standard CEL: let a tool, an agent or a template do it"
_NO_CLOCK = (
    "an expression reads no clock, so that a replay gives the same: hand the time over in `input`; a scheduled run has"
    " timestamp(run.metadata.scheduled_at)"
)
_MAPS = "it is no part of standard CEL: build a list, list.map(x, …), or write the map's fields out"
UNCLAIMED = {
    **dict.fromkeys(
        (
            *("split", "join", "replace", "substring", "charAt", "indexOf", "lastIndexOf", "trim", "reverse", "quote"),
            *("upperAscii", "lowerAscii", "format", "strings", "base64", "sort", "sortBy", "slice", "flatten"),
            *("distinct", "range", "lists", "sets", "encode", "decode", "ip", "cidr", "url", "find", "findAll"),
        ),
        _IN_A_TOOL,
    ),
    **dict.fromkeys(("upper", "lower", "toUpperCase", "toLowerCase", "strip", "round", "sum", "average"), _IN_A_TOOL),
    **dict.fromkeys(("now", "today", "date", "time", "uuid", "random"), _NO_CLOCK),
    **dict.fromkeys(("transformList", "transformMap", "transformMapEntry"), _MAPS),
    **dict.fromkeys(("abs", "ceil", "floor", "sign"), "it is no part of standard CEL: write x < 0 ? -x : x, or int(x)"),
    **dict.fromkeys(("min", "max", "greatest", "least"), "it is no part of standard CEL: write a > b ? a : b"),
    **dict.fromkeys(("orValue", "or", "optMap", "optFlatMap", "hasValue", "value", "optional", "default", "coalesce"),
                    "it is no part of standard CEL: write has(input.x) ? input.x : other"),
    **dict.fromkeys(("bind", "block"), "it is no part of standard CEL: a step before, with `transform`, names a value"),
    **dict.fromkeys(("keys", "values", "entries"), "write map.map(key, map[key]): a map is walked by its keys"),
}  # fmt: skip
"""Functions of CEL's extensions and of other languages, which are not claimed."""
