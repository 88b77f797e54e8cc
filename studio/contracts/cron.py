"""Cron expressions as Temporal reads them: five fields, or one of the words that begin with `@`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import AfterValidator, StringConstraints, WithJsonSchema

WORDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
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


def check_cron(text: str) -> str:
    """Return the expression with single spaces. Raises `ValueError` that names the field that is wrong.

    Unlike some crons a day must match both the day of the month and the day of the week, and neither `?`, `L`, `W` nor
    `#` has a meaning. Source: https://docs.temporal.io/schedule#cron-expressions.
    """
    if text.startswith("@"):
        if text not in WORDS:
            raise ValueError(f"{text!r} is none of {', '.join(WORDS)}")
        return text
    parts = text.split()
    if len(parts) != len(_FIELDS):
        names = ", ".join(one.name for one in _FIELDS)
        raise ValueError(f"a cron expression has five fields ({names}), not {len(parts)}")
    for what, part in zip(_FIELDS, parts, strict=True):
        for item in part.split(","):
            _check_item(what, item)
    return " ".join(parts)


def _check_item(what: _Field, item: str) -> None:
    match = _ITEM.fullmatch(item.lower())
    if match is None or (match["first"] == "*" and match["last"] is not None):
        raise ValueError(f"{item!r} is no {what.name}: write *, 5, 1-5, */15 or a list of them with commas")
    if match["step"] is not None and not 1 <= int(match["step"]) <= what.highest:
        raise ValueError(f"the step of {item!r} is not 1 to {what.highest}")
    if match["first"] == "*":
        return
    first = what.number(match["first"])
    if match["last"] is not None and what.number(match["last"]) < first:
        raise ValueError(f"{item!r} ends before it begins; write two ranges with a comma")


Cron = Annotated[
    str,
    StringConstraints(max_length=256, strip_whitespace=True),
    AfterValidator(check_cron),
    WithJsonSchema({"type": "string", "examples": ["0 9 * * MON-FRI", "@hourly"]}),
]
