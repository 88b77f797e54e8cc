"""Numbers in JSON that a reader would change without a word: refused with their place, never rounded."""

import json
import math
import re
import sys
from decimal import Decimal
from itertools import islice
from typing import Any, NamedTuple, cast

Loc = tuple[str | int, ...]

MAX_LITERAL = 1000
"""Characters of a number."""
_DIGITS = 15
"""Significant digits of a decimal that a double always gives back. Source: IEEE 754, `DBL_DIG`."""
_SMALLEST_NORMAL = sys.float_info.min

_FLAT = bytes.maketrans(b"123456789.E", b"0000000000e")
_HINTS = (b"0" * (_DIGITS + 1), b"0e000", b"0e+000", b"0e-000")
"""What is left of the shortest numbers that may be lost, once all digits and points are 0."""
_NUMBER = rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?"
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TOKEN = re.compile(rb"%b|(%b)" % (_TEXT, _NUMBER), re.DOTALL)
_SUSPECT = re.compile(rb"%b|((?=[0-9.eE+-]{16}|[0-9.+-]*[eE])%b)" % (_TEXT, _NUMBER), re.DOTALL)
"""Texts, and those numbers that are long or have an exponent."""


class LostNumber(NamedTuple):
    """`offset` counts the bytes before it; `loc` leads to it from the document's root."""

    offset: int
    loc: Loc
    message: str
    type: str


def find_lost_number(body: bytes, *, near: bool = False) -> LostNumber | None:
    """The first number that 64 bits or a double do not hold, in JSON that was found to be JSON.

    A whole number past 64 bits, a fraction that overflows, vanishes, or has more digits than a double keeps.
    `near` searches also a body that does not look as if it had one.
    """
    if not near and not _looks_lost(body):
        return None
    literals = b" ".join(filter(None, _SUSPECT.findall(body))).decode().split()
    # In few steps over all of them: a body may be nothing but numbers. What prints as it is written is not lost.
    bounded = (literal if len(literal) <= MAX_LITERAL else "nan" for literal in literals)
    for index, printed in enumerate(map(repr, map(float, bounded))):
        if printed != literals[index] and (fault := _fault(literals[index])) is not None:
            return _lost(body, index, fault)
    return None


def _looks_lost(body: bytes) -> bool:
    """Whether one may be there; it may also stand within a text. Bodies without long numbers are passed at once."""
    flat = body.translate(_FLAT)
    return any(hint in flat for hint in _HINTS)


def _lost(body: bytes, index: int, fault: tuple[str, str]) -> LostNumber:
    """Of the suspect number with this index."""
    suspects = (found.start() for found in _SUSPECT.finditer(body) if found[1] is not None)
    offset = next(islice(suspects, index, None))
    before = sum(1 for number in _TOKEN.findall(body[:offset]) if number)
    return LostNumber(offset, _place(body, before), *fault)


def _fault(literal: str) -> tuple[str, str] | None:
    if len(literal) > MAX_LITERAL:
        return f"the number has more than {MAX_LITERAL} characters; write it as text", "number_too_long"
    mantissa, exponent, _ = literal.lower().partition("e")
    if exponent or "." in mantissa:
        return _fraction_fault(literal, mantissa)
    if len(literal) < 19 or -(2**63) <= int(literal) < 2**64:
        return None
    return "a whole number of more than 64 bits would be rounded; write it as text", "int_too_large"


def _fraction_fault(literal: str, mantissa: str) -> tuple[str, str] | None:
    number = float(literal)
    if literal in {repr(number), f"{number:.17g}"}:
        return None  # as most programs print them
    digits = mantissa.lstrip("-").replace(".", "").strip("0")
    if math.isinf(number):
        return "the number is larger than a double holds; write it as text", "number_too_large"
    if number == 0 and digits:
        return "the number is smaller than a double holds and would become 0; write it as text", "number_too_small"
    if not digits or (len(digits) <= _DIGITS and abs(number) >= _SMALLEST_NORMAL):
        return None
    exact = Decimal(literal)
    if any(exact == Decimal(printed) for printed in (repr(number), f"{number:.17g}", number)):
        return None
    return "the number has more digits than a double keeps and would be rounded; write it as text", "number_rounded"


def _place(body: bytes, index: int) -> Loc:
    """Of the number with this index. Empty where a later value of the same key hides it, or where the document is too
    deep to be read.
    """
    left = iter(range(index + 1))

    def read(_literal: str) -> Any:
        return _LOST if next(left, None) == index else None

    try:
        return _find(json.loads(body, parse_int=read, parse_float=read), ()) or ()
    except (ValueError, RecursionError):
        return ()


_LOST = object()


def _find(value: Any, loc: Loc) -> Loc | None:
    if value is _LOST:
        return loc
    inner: Any = ()
    if isinstance(value, dict):
        inner = cast("dict[str, Any]", value).items()
    elif isinstance(value, list):
        inner = enumerate(cast("list[Any]", value))
    return next((found for key, item in inner if (found := _find(item, (*loc, key))) is not None), None)
