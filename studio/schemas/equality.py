"""When two JSON values are the same: 1 and 1.0 are, true and 1 are not, and the order of names does not matter.

Values are compared by their texts, whose hashes nobody can foresee: those of numbers can be made to collide.
"""

import re
from collections.abc import Hashable, Iterable
from typing import Any

import orjson

from studio.contracts.base import Json
from studio.schemas.kinds import is_array
from studio.schemas.meter import Meter, TooMuchWork

MAX_DEPTH = 100
_LARGE = 2**63
_ENDS = (b",", b"]", b"}")
"""What stands behind a number."""
_EXPONENT = re.compile(rb"[\[:,]-?\d+(?:\.\d+)?e\d")


def canonical(value: Json, meter: Meter, depth: int = 0) -> Any:
    """Equal, and of the same hash, for values that are the same. Raises `TooMuchWork`."""
    meter.spend(1)
    if isinstance(value, str):
        meter.spend(len(value) >> 8)
        return value
    if isinstance(value, bool) or value is None:
        return ("constant", str(value))
    if isinstance(value, int | float):
        whole = isinstance(value, int) or value.is_integer()
        return ("number", format(int(value), "x") if whole else repr(value))
    if depth > MAX_DEPTH:
        raise TooMuchWork
    if is_array(value):
        return ("array", *[canonical(item, meter, depth + 1) for item in value])
    held = value
    return ("object", frozenset([(name, canonical(inner, meter, depth + 1)) for name, inner in held.items()]))


def first_twins(items: list[Json], meter: Meter) -> tuple[int, int] | None:
    """The places of the first item that is the same as an earlier one, that one first. Raises `TooMuchWork`."""
    kinds = set(map(type, items))
    meter.spend(1 + (len(items) >> 3))
    if kinds <= {str} or (kinds == {int} and min(items) > -_LARGE and max(items) < _LARGE):
        return None if len(set(items)) == len(items) else _twins(items)
    meter.spend(len(items))
    texts = _texts(items, meter)
    twins = None if texts is None else _twins(texts)
    if texts is not None and (twins is None or canonical(items[twins[0]], meter) == canonical(items[twins[1]], meter)):
        return twins
    return _twins([canonical(item, meter) for item in items])


def _twins(keys: Iterable[Hashable]) -> tuple[int, int] | None:
    seen: dict[Hashable, int] = {}
    for index, key in enumerate(keys):
        first = seen.setdefault(key, index)
        if first != index:
            return first, index
    return None


def _texts(items: list[Json], meter: Meter) -> list[bytes] | None:
    """The same for items that are the same, and quickly made; rarely also for others. None when there are none."""
    texts: list[bytes] = []
    for item in items:
        try:
            text = orjson.dumps([item], option=orjson.OPT_SORT_KEYS)
        except orjson.JSONEncodeError:  # integers of more than 64 bits, and half of a surrogate pair
            return None
        meter.spend(len(text) >> 7)
        if b".0" in text:
            for end in _ENDS:
                text = text.replace(b".0" + end, end).replace(b"-0" + end, b"0" + end)
        if b"e" in text and _EXPONENT.search(text):
            return None
        texts.append(text)
    return texts
