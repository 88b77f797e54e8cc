"""Durations as users write them: `30s`, `1h30m`, `500ms`, or a number of seconds."""

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_PATTERN = re.compile(r"^(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?!s))?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?$")
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
MAX_DURATION = timedelta(days=3650)


def parse_duration(value: Any) -> timedelta:
    """Read a duration; raises `ValueError` for anything that is not one, or not longer than zero."""
    if isinstance(value, timedelta):
        found = value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        found = timedelta(seconds=min(value, MAX_DURATION.total_seconds() + 1))
    elif isinstance(value, str) and value and (match := _PATTERN.match(value)):
        days, hours, minutes, seconds, milliseconds = (float(part or 0) for part in match.groups())
        if days > MAX_DURATION.days:
            raise ValueError("a duration is at most 3650d")
        found = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds)
    else:
        raise ValueError("not a duration: write 30s, 5m, 1h30m, 500ms or a number of seconds")
    if not timedelta(0) < found <= MAX_DURATION:
        raise ValueError("a duration is longer than 0 and at most 3650d")
    return found


def format_duration(duration: timedelta) -> str:
    """The shortest form that `parse_duration` reads back as the same duration, to the millisecond."""
    rest = round(duration / timedelta(milliseconds=1))
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
