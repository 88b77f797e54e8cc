"""The run event stream."""

from typing import Annotated, Literal

from pydantic import Field

from studio.contracts.base import Contract, Json, Timestamp

EventType = Literal[
    "run.started",
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "run.terminated",
    "run.timed_out",
    "step.started",
    "step.succeeded",
    "step.failed",
    "step.retrying",
    "step.skipped",
    "step.cancelled",
    "token",
    "thinking",
    "usage",
]
FINAL_EVENTS: frozenset[EventType] = frozenset(
    {"run.succeeded", "run.failed", "run.cancelled", "run.terminated", "run.timed_out"}
)
CONTENT_LIMIT_BYTES = 16 * 1024
"""Inputs and outputs longer than this (as JSON) are cut in an event, which then says `truncated: true`."""


class NewEvent(Contract):
    """An event before the stream gave it its `seq`."""

    ts: Timestamp
    step_id: str | None = None
    attempt: Annotated[int, Field(ge=1)] = 1
    type: EventType
    data: dict[str, Json] = {}

    def key(self) -> str | None:
        """What makes a lifecycle event the same event when a retried activity publishes it again."""
        return None if self.type in {"token", "thinking"} else f"{self.type}:{self.step_id or ''}:{self.attempt}"


class RunEvent(NewEvent):
    """`seq` is a Redis Streams id, `1712-0`; it only grows."""

    seq: str
    run_id: str
