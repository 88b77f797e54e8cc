"""JSON of others: read whatever they meant, and write what was read in a form that every store takes."""

import json
import math
import re
from collections.abc import Callable
from itertools import islice
from typing import Any, cast

import orjson

from studio.contracts.base import Json, JsonObject

MAX_DEPTH = 64
"""What is nested deeper becomes text: writers and stores have limits of their own, between 100 and 254 levels."""
_LARGEST, _SMALLEST = 2**64 - 1, -(2**63)
_EXACT_DIGITS = 19
_USAGE = re.compile(r'"usage"\s*:\s*(?=\{)')
"""Cannot match inside a JSON string, where its quotes would be escaped."""
_MAX_USAGES = 16
"""Of one text: where they are nested in each other, reading each costs as much as the whole."""
_DECODER = json.JSONDecoder()


class UnreadableJson(ValueError):
    """Not JSON, not even generously."""


def read_foreign_json(data: bytes) -> Json:
    """Strict JSON as it is. Otherwise with `NaN` and `Infinity` as null, half an emoji and broken UTF-8 as U+FFFD.

    Raises `UnreadableJson`.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return storable(json.loads(data.decode("utf-8-sig", "replace"), parse_int=_integer))
    except (ValueError, RecursionError):
        raise UnreadableJson from None


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= _EXACT_DIGITS else float(digits)


def objects_in(value: Json) -> list[JsonObject]:
    """The objects of a list; none when it is no list."""
    members = cast("list[JsonObject]", value) if isinstance(value, list) else []
    return [member for member in members if isinstance(member, dict)]  # pyright: ignore[reportUnnecessaryIsInstance]


def storable(value: Json) -> Json:
    """The value as every writer takes it: numbers of 64 bits, text in UTF-8, at most `MAX_DEPTH` levels."""
    return _storable(value, MAX_DEPTH)


def _storable(value: Json, levels: int) -> Json:  # noqa: PLR0911 - one line a type
    match value:
        case None | bool():
            return value
        case str():
            return _whole_text(value) if has_surrogates(value) else value
        case int():
            return value if _SMALLEST <= value <= _LARGEST else _digits(value)
        case float():
            return value if math.isfinite(value) else None
        case dict() | list() if levels == 0:
            return "(nested too deep)"
        case dict():
            members = cast("JsonObject", value).items()
            return {_storable(str(name), 0): _storable(inner, levels - 1) for name, inner in members}
        case list() | tuple():
            return [_storable(inner, levels - 1) for inner in cast("list[Json]", value)]
        case _:
            return str(value)


def _whole_text(text: str) -> str:
    """Halves that belong together become one character, the others U+FFFD: encoding to UTF-8 would make them `?`."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def has_surrogates(text: str) -> bool:
    """Whether it holds half of a surrogate pair, which is no character and has no UTF-8."""
    if text.isascii():
        return False
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _digits(number: int) -> str:
    """Python refuses to write out numbers past some thousand digits."""
    return str(number) if number.bit_length() < 1_000 else "(a number of more than 300 digits)"


def write_storable(document: Json) -> bytes:
    """The JSON of what was read from others; what no store would take is replaced as `storable` says."""
    try:
        written = orjson.dumps(document)
    except (TypeError, ValueError, RecursionError):
        return orjson.dumps(storable(document))
    if written.count(b"[") + written.count(b"{") > MAX_DEPTH and depth_exceeds(document, MAX_DEPTH):
        return orjson.dumps(storable(document))
    return written


def write_any_json(value: Json, default: Callable[[Any], Any] | None = None) -> bytes:
    """JSON with every digit of numbers past 64 bits; half an emoji becomes U+FFFD, `NaN` null.

    Raises `TypeError` for what is not JSON, and `RecursionError` for what is nested about a thousand levels deep.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=default)
    if "NaN" in text or "Infinity" in text:
        text = json.dumps(storable(value), ensure_ascii=False, separators=(",", ":"), default=default)
    return (_whole_text(text) if has_surrogates(text) else text).encode()


def depth_exceeds(value: Json, levels: int) -> bool:
    """Whether objects and lists are nested deeper than so many levels; level by level, never by recursion."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        if not level:
            return False
        below: list[Any] = []
        for container in level:
            values = cast("JsonObject", container).values() if isinstance(container, dict) else container
            below += [inner for inner in values if isinstance(inner, dict | list)]
        level = below
    return bool(level)


def find_usage(data: bytes) -> list[JsonObject]:
    """The `usage` objects in text that is not JSON as a whole: cut off, or nested too deep to be read."""
    text = data.decode("utf-8", "replace")
    found: list[JsonObject] = []
    for match in islice(_USAGE.finditer(text), _MAX_USAGES):
        try:
            value, _ = _DECODER.raw_decode(text, match.end())
        except (ValueError, RecursionError):
            continue
        found.append(cast("JsonObject", storable(value)))
    return found


def member_span(text: str, name: str) -> tuple[int, int, int] | None:
    """Where the top-level member `name` of a JSON object stands: the start of its name, of its value, and its end.

    None when there is none, or more than one, or the text cannot be read.
    """
    pattern = re.compile(re.escape(json.dumps(name)) + r"\s*:\s*")
    found = list(islice(pattern.finditer(text), 2))
    if len(found) != 1:
        return None
    try:
        _, end = _DECODER.raw_decode(text, found[0].end())
    except (ValueError, RecursionError):
        return None
    return found[0].start(), found[0].end(), end
