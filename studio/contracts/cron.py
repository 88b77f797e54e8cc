"""Cron expressions: five fields, or one of the words that begin with `@`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, WithJsonSchema

WORDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ITEM = re.compile(r"(?P<first>\*|[0-9]+|[a-z]+)(?:-(?P<last>[0-9]+|[a-z]+))?(?:/(?P<step>[0-9]+))?")
_MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
_DAYS = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]


@dataclass(frozen=True)
class _Field:
    name: str
    lowest: int
    highest: int
    words: Mapping[str, int] = field(default_factory=dict[str, int])

    def number(self, text: str) -> int:
        value = self.words.get(text)
        if value is None:
            if not text.isdigit():
                raise ValueError(f"{text!r} is no {self.name}{self._known()}")
            value = int(text)
        if not self.lowest <= value <= self.highest:
            raise ValueError(f"the {self.name} is {self.lowest} to {self.highest}, not {text}")
        return value

    def _known(self) -> str:
        return f": write a number, or {', '.join(self.words).upper()}" if self.words else ": write a number"


_FIELDS = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of the month", 1, 31),
    _Field("month", 1, 12, {word: number for number, word in enumerate(_MONTHS, 1)}),
    _Field("day of the week", 0, 7, {word: number for number, word in enumerate(_DAYS)}),
)


@dataclass(frozen=True)
class CronTimes:
    """What a cron expression names: local times of a calendar's days."""

    minutes: frozenset[int]
    hours: frozenset[int]
    every_real_hour: frozenset[int]
    """Those of `hours` that a wildcard or a step names: they come twice when the clock repeats them."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""

    def has_day(self, day: date) -> bool:
        return day.day in self.days and day.month in self.months and day.isoweekday() % 7 in self.weekdays


def read_cron(text: str) -> CronTimes:
    """Raises `ValueError` that names the field that is wrong, or says that no year has such a day.

    Unlike some crons a day must match both the day of the month and the day of the week, and neither `?`, `L`, `W` nor
    `#` has a meaning. Source: https://docs.temporal.io/schedule#cron-expressions.
    """
    if text.startswith("@") and text not in WORDS:
        raise ValueError(f"{text!r} is none of {', '.join(WORDS)}")
    parts = WORDS.get(text, text).split()
    if len(parts) != len(_FIELDS):
        names = ", ".join(one.name for one in _FIELDS)
        raise ValueError(f"a cron expression has five fields ({names}), not {len(parts)}")
    minutes, hours, days, months, weekdays = (_values(what, part) for what, part in zip(_FIELDS, parts, strict=True))
    stepped = [item for item in parts[1].split(",") if "*" in item or "/" in item]
    if min(days) > max(_LONGEST_MONTHS[month - 1] for month in months):
        raise ValueError("it never comes: none of its months has such a day")
    return CronTimes(
        minutes=minutes,
        hours=hours,
        every_real_hour=_values(_FIELDS[1], ",".join(stepped)) if stepped else frozenset(),
        days=days,
        months=months,
        weekdays=frozenset(day % 7 for day in weekdays),
    )


def check_cron(text: str) -> str:
    """Return the expression with single spaces. Raises `ValueError` as `read_cron` does."""
    read_cron(text)
    return " ".join(text.split())


def _values(what: _Field, part: str) -> frozenset[int]:
    return frozenset[int]().union(*(_item_values(what, item) for item in part.split(",")))


def _item_values(what: _Field, item: str) -> range:
    match = _ITEM.fullmatch(item.lower())
    if match is None or (match["first"] == "*" and match["last"] is not None):
        raise ValueError(f"{item!r} is no {what.name}: write *, 5, 1-5, */15 or a list of them with commas")
    step = 1 if match["step"] is None else int(match["step"])
    if not 1 <= step <= what.highest:
        raise ValueError(f"the step of {item!r} is not 1 to {what.highest}")
    if match["first"] == "*":
        return range(what.lowest, what.highest + 1, step)
    first = what.number(match["first"])
    if match["last"] is not None:
        last = what.number(match["last"])
        if last < first:
            raise ValueError(f"{item!r} ends before it begins; write two ranges with a comma")
    else:
        last = first if match["step"] is None else what.highest
    return range(first, last + 1, step)


Cron = Annotated[
    str,
    StringConstraints(max_length=256, strip_whitespace=True),
    AfterValidator(check_cron),
    WithJsonSchema({"type": "string", "examples": ["0 9 * * MON-FRI", "@hourly"]}),
]
