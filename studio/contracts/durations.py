"""Durations as users write them: `30s`, `1h30m`, `500ms`, or a number of seconds."""

import math
import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_PATTERN = re.compile(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m(?!s))?(?:([0-9]+(?:\.[0-9]+)?)s)?(?:([0-9]+)ms)?")
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_MILLISECOND = timedelta(milliseconds=1)
MAX_DURATION = timedelta(days=3650)


def parse_duration(value: Any) -> timedelta:
    """Read a duration, to the millisecond; raises `ValueError` for anything that is not one from 1ms to 3650d."""
    try:
        found = _read(value)
    except OverflowError:
        found = None
    if found is None or not _MILLISECOND <= found <= MAX_DURATION:
        raise ValueError("a duration is at least 1ms and at most 3650d")
    return timedelta(milliseconds=round(found / _MILLISECOND))


def _read(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value):
        return timedelta(seconds=value)
    if isinstance(value, str) and value and (match := _PATTERN.fullmatch(value)):
        days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
        return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    if isinstance(value, str) and "${{" in value:
        raise ValueError("a duration takes no expression: write 30s or 1h30m; `wait: {until: …}` takes a computed time")
    raise ValueError("not a duration: write 30s, 5m, 1h30m, 500ms or a number of seconds")


def format_duration(duration: timedelta) -> str:
    """The shortest form that `parse_duration` reads back as the same duration, to the millisecond."""
    rest = round(duration / _MILLISECOND)
    text = ""
    for unit, size in _MILLISECONDS.items():
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["30s", "1h30m"]}),
]
