"""How a step ended, for what is around it."""

from dataclasses import dataclass
from typing import Literal

from studio.contracts.base import Json


@dataclass(frozen=True)
class Failure:
    type: str
    path: str | None
    """Of the step where it began."""


@dataclass(frozen=True)
class Result:
    """How a step or a chain of steps ended, for what is around it. `done` is also one whose error was caught."""

    kind: Literal["done", "skipped", "failed", "stopped"]
    output: Json = None
    failure: Failure | None = None


SKIPPED = Result("skipped")
STOPPED = Result("stopped")


def failed(kind: str, path: str | None) -> Result:
    return Result("failed", failure=Failure(kind, path))
