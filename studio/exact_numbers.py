"""Numbers in JSON that our reader would round: they are refused, never changed without a word."""

import json
import re
from decimal import Decimal, InvalidOperation

_SUSPECT = re.compile(rb"[0-9][0-9.]{16}|[0-9][eE][+-]?[0-9]{2}")
"""Whatever is shorter fits a double; the same digits inside text are told apart later."""
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1
_SHOWN = 40


class _Inexact(Exception):
    pass


def find_inexact_number(body: bytes) -> str | None:
    """The first number of a JSON text that 64 bits or a double cannot hold as it is written; None when all are held.

    `body` must be JSON, nested no deeper than a few hundred levels.
    """
    if _SUSPECT.search(body) is None:
        return None
    try:
        json.loads(body, parse_int=_check_integer, parse_float=_check_float)
    except _Inexact as found:
        return str(found)
    return None


def _check_integer(text: str) -> None:
    if len(text) > len(str(_SMALLEST)) or not _SMALLEST <= int(text) <= _LARGEST:
        raise _Inexact(_shown(text))


def _check_float(text: str) -> None:
    try:
        exact = Decimal(text) == Decimal(repr(float(text)))
    except InvalidOperation:
        exact = False
    if not exact:
        raise _Inexact(_shown(text))


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
