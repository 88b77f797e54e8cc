"""The run event stream."""

from typing import Annotated, Literal

import orjson
from pydantic import Field

from studio.contracts.base import Json, JsonObject, Timestamp, Wire, format_timestamp

EventType = Literal[
    "run.started",
    "run.succeeded",
    "run.failed",
    "run.cancelled",
    "run.terminated",
    "run.timed_out",
    "run.paused",
    "run.resumed",
    "run.stalled",
    "run.retried",
    "step.started",
    "step.succeeded",
    "step.failed",
    "step.retrying",
    "step.skipped",
    "step.cancelled",
    "step.waiting",
    "token",
    "thinking",
    "edge.taken",
    "usage",
]
FINAL_EVENTS: frozenset[EventType] = frozenset(
    {"run.succeeded", "run.failed", "run.cancelled", "run.terminated", "run.timed_out"}
)
CONTENT_LIMIT_BYTES = 16 * 1024
"""Inputs and outputs longer than this (as JSON) are cut in an event, which then says `truncated: true`."""


def cut_content(data: dict[str, Json]) -> dict[str, Json]:
    """The data with `input` and `output` cut at `CONTENT_LIMIT_BYTES`; a cut value is the beginning of its text."""
    for field in ("input", "output"):
        value = data.get(field)
        if isinstance(value, str) and len(value) > CONTENT_LIMIT_BYTES:
            value = value[: CONTENT_LIMIT_BYTES + 1]  # more would be cut anyway
        encoded = orjson.dumps(value)
        if len(encoded) > CONTENT_LIMIT_BYTES:
            text = value.encode() if isinstance(value, str) else encoded
            data = data | {field: text[:CONTENT_LIMIT_BYTES].decode(errors="ignore"), "truncated": True}
    return data


class NewEvent(Wire):
    """An event before the stream gave it its `seq`."""

    ts: Timestamp
    step_id: str | None = None
    attempt: Annotated[int, Field(ge=1)] = 1
    type: EventType
    data: dict[str, Json] = {}

    def key(self) -> str | None:
        """What makes a lifecycle event the same event when a retried activity publishes it again."""
        if self.type in {"token", "thinking"}:
            return None
        more = ""
        if self.type == "edge.taken":  # a node of a graph takes several
            more = f":{self.data.get('to')}"
        elif self.type == "step.waiting" and (self.data.get("for") == "resolve" or self.data.get("escalated")):
            more = f":{self.data.get('for')}"  # an attempt that waited for something else before
        elif self.type == "run.stalled":  # whoever sees it publishes it
            more = f":{self.data.get('since')}"
        return f"{self.type}:{self.step_id or ''}:{self.attempt}{more}"


def run_started(at: Timestamp) -> NewEvent:
    """A run's first event, told by whoever comes to it first."""
    return NewEvent(ts=at, type="run.started", data={"status": "running"})


def run_retried(at: Timestamp, retry_count: int, by: str) -> NewEvent:
    """First event of an execution after a run's first. The worker tells it, too, but not who asked for it."""
    data: dict[str, Json] = {"status": "running", "retry_count": retry_count, "by": by}
    return NewEvent(ts=at, attempt=retry_count + 1, type="run.retried", data=data)


def run_stalled(at: Timestamp, since: Timestamp, message: str) -> NewEvent:
    """No worker can carry the run on; published by whoever sees it, once for each time that it comes to this."""
    return NewEvent(ts=at, type="run.stalled", data={"since": format_timestamp(since), "message": message})


def step_retrying(
    at: Timestamp, path: str, attempt: int, error: JsonObject | None = None, next_attempt_at: Timestamp | None = None
) -> NewEvent:
    """`attempt` is the one to come; nobody knows the error (a `RunError`) of one whose worker is gone."""
    data: dict[str, Json] = {"superseded_attempt": attempt - 1}
    if error is not None:
        data["error"] = error
    if next_attempt_at is not None:
        data["next_attempt_at"] = format_timestamp(next_attempt_at)
    return NewEvent(ts=at, step_id=path, attempt=attempt, type="step.retrying", data=data)


class RunEvent(NewEvent):
    """`seq` is a Redis Streams id, `1712-0`; it only grows."""

    seq: str
    run_id: str
