"""A definition with all that decides what its run does: what each call gives and when, and when someone cancels it."""

import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from studio.contracts.base import Json, JsonObject
from studio.contracts.definitions import SequentialDefinition

Env = dict[str, Any]
"""What expressions see: every step that they can name, by id, and `item`, `index`, `iteration`, `last` and `error`."""
MILLISECOND = 1000
"""Times are microseconds since the run's start."""


@dataclass(frozen=True)
class Call:
    """What one call of an agent does."""

    duration: int
    output: Json = None
    error: str | None = None
    """Its type, when the call fails."""
    linger: int = 0
    """How long it goes on once it is told to stop. A result that comes in that time counts."""


@dataclass(frozen=True)
class Script:
    """What the calls of each place give, one after the other and then again; the places are `ID`, `ID.router`,
    `ID.manager` and `ID.worker`.
    """

    calls: Mapping[str, list[Call]]
    stops_at_once: bool = False
    """Whether a call that is told to stop does so at that moment."""

    def call(self, path: str, attempt: int) -> Call:
        """The `attempt`th call at a path, from 0. No two calls take equally long, so that no tie decides a race."""
        *_, before, last = ["", *path.split("/")]
        role = re.match(r"(router|manager|worker)\.", last)
        place = f"{_step_id(before)}.{role[1]}" if role else _step_id(last)
        calls = self.calls[place]
        numbers = [int(number) for number in re.findall(r"(?<=[\[#@-])\d+", path)]
        call = calls[(sum(numbers) + attempt) % len(calls)]
        salt = zlib.crc32(f"{path} {attempt}".encode()) % 997 + 1
        output = path if call.output == "its path" else call.output
        linger = 0 if self.stops_at_once else call.linger + salt // 2
        return Call(call.duration + salt, output, call.error, linger)


@dataclass(frozen=True)
class Case:
    document: JsonObject
    script: Script
    expressions: Mapping[str, Callable[[Env], Json]] = field(default_factory=dict[str, Callable[[Env], Json]])
    """What every expression in the document means, by its text."""
    cancel_at: int | None = None

    @property
    def definition(self) -> SequentialDefinition:
        return SequentialDefinition.model_validate(self.document)


@dataclass
class StepOutcome:
    """What became of a step; times are None when it never began."""

    status: str
    output: Json = None
    error: str | None = None
    """The type of what it failed with."""
    started: int | None = None
    ended: int | None = None


@dataclass
class CallOutcome:
    """A call from its start to its end."""

    path: str
    started: int
    call: Call
    ended: int = 0
    stopped: bool = False
    """Whether it was told to stop before it had a result."""


@dataclass
class RunOutcome:
    status: str
    output: Json = None
    error: tuple[str, str | None] | None = None
    """Its type and the path of the step."""
    ended: int = 0
    steps: dict[str, StepOutcome] = field(default_factory=dict[str, StepOutcome])
    """By path."""
    calls: list[CallOutcome] = field(default_factory=list[CallOutcome], compare=False)
    """In the order in which they began."""
    tied: bool = field(default=False, compare=False)
    """Whether two things that race happened at the same moment, so that the rest is not defined."""


def _step_id(segment: str) -> str:
    return re.split(r"[#@\[]", segment)[0]
