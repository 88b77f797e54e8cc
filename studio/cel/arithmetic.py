"""`+ - * / %` and the minus. Whole numbers stay whole and never wrap; where one of two is broken, both are doubles.

That last is more than CEL has, which refuses `1 + 1.5`: JSON knows one kind of number, and a price of 7 or 7.5 is one
field. `%` of doubles keeps the sign of the dividend, as it does for whole numbers.
"""

import math
from typing import Any, cast

from studio.cel.errors import EvaluationFault, failure, mistyped
from studio.cel.times import checked_duration, checked_moment
from studio.cel.values import INT_MAX, INT_MIN, UINT_MAX, Duration, Moment, UInt, is_number, type_word

_VERBS = {"+": "added", "-": "subtracted", "*": "multiplied", "/": "divided", "%": "divided"}


def operate(operator: str, one: Any, other: Any) -> Any:
    if is_number(one) and is_number(other):
        if isinstance(one, float) or isinstance(other, float):
            return _of_doubles(operator, float(one), float(other))
        return _of_wholes(operator, one, other)
    match operator:
        case "+":
            return _sum(one, other)
        case "-":
            return _difference(one, other)
        case _:
            raise _refused(operator, one, other)


def negated(value: Any) -> Any:
    if isinstance(value, float):
        return -value
    if not is_number(value) or isinstance(value, UInt):
        raise mistyped(f"there is no minus of {'a uint' if isinstance(value, UInt) else type_word(value)}")
    return _signed(-value)


def _sum(one: Any, other: Any) -> Any:
    match one, other:
        case (str(), str()) | (bytes(), bytes()) | (list(), list()):
            return cast("Any", one) + other
        case (Moment(), Duration()) | (Duration(), Moment()):
            return checked_moment(one.nanoseconds + other.nanoseconds)
        case Duration(), Duration():
            return checked_duration(one.nanoseconds + other.nanoseconds)
        case _:
            raise _refused("+", one, other)


def _difference(one: Any, other: Any) -> Any:
    match one, other:
        case Moment(), Duration():
            return checked_moment(one.nanoseconds - other.nanoseconds)
        case (Moment(), Moment()) | (Duration(), Duration()):
            return checked_duration(one.nanoseconds - other.nanoseconds)
        case _:
            raise _refused("-", one, other)


def _refused(operator: str, one: Any, other: Any) -> EvaluationFault:
    return mistyped(
        f"{type_word(one)} and {type_word(other)} cannot be {_VERBS[operator]}: the types do not go together, and CEL"
        " converts none by itself; write int(x), double(x) or string(x)"
    )


def _of_doubles(operator: str, one: float, other: float) -> float:
    match operator:
        case "+":
            return one + other
        case "-":
            return one - other
        case "*":
            return one * other
        case "/":
            if other != 0:
                return one / other
            return math.nan if one == 0 or math.isnan(one) else math.copysign(math.inf, one) * math.copysign(1, other)
        case _:
            return math.nan if other == 0 or math.isinf(one) else math.fmod(one, other)


def _of_wholes(operator: str, one: int, other: int) -> int:
    match operator:
        case "+":
            result = one + other
        case "-":
            result = one - other
        case "*":
            result = one * other
        case _ if other == 0:
            raise failure("division by zero" if operator == "/" else "modulus by zero")
        case "/":
            result = abs(one) // abs(other)
            result = result if (one < 0) == (other < 0) else -result
        case _:
            if one == INT_MIN and other == -1:
                raise failure("a whole number past 64 bits")
            result = abs(one) % abs(other)
            result = -result if one < 0 else result
    unsigned = [isinstance(number, UInt) or number > INT_MAX for number in (one, other)]
    if all(unsigned) or (any(unsigned) and result > INT_MAX):
        if not 0 <= result <= UINT_MAX:
            raise failure("a whole number past 64 bits")
        return UInt(result)
    return _signed(result)


def _signed(result: int) -> int:
    if not INT_MIN <= result <= INT_MAX:
        raise failure("a whole number past 64 bits")
    return result
