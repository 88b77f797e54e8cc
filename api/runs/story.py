"""A finished run's events told from its row, for what the live stream lost or no longer holds. Without tokens."""

from collections.abc import Iterator, Sequence
from typing import cast

from studio.contracts.base import Json
from studio.contracts.events import FINAL_EVENTS, EventType, NewEvent, RunEvent, cut_content, run_started
from studio.contracts.runs import Run, StepRun, is_inside

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_TOLD_OFFSET = 1_000_000
"""Sub-numbers of what is told, far from those that Redis gives within a millisecond."""
_PUBLISHED_WITHIN_MS = 60_000
"""How long an activity may wait for a worker before its events reach Redis."""

Seq = tuple[int, int]
Identity = tuple[str, str | None] | None


def read_seq(seq: str) -> Seq:
    """`1712-0` as numbers that compare."""
    milliseconds, _, number = seq.partition("-")
    return int(milliseconds), int(number or 0)


def closing_event(run: Run) -> NewEvent:
    """The last event of a run that has ended."""
    data: dict[str, Json] = {
        "status": run.status,
        "usage": run.usage.model_dump(),
        "cost_usd": None if run.cost_usd is None else str(run.cost_usd),
    }
    if run.status == "succeeded":
        data["output"] = run.output
    if run.error is not None:
        data["error"] = run.error.model_dump()
    return NewEvent(
        ts=run.ended_at or run.created_at,
        attempt=run.retry_count + 1,
        type=cast("EventType", f"run.{run.status}"),
        data=cut_content(data),
    )


def whole_story(run: Run, streamed: Sequence[RunEvent]) -> list[RunEvent]:
    """Everything about a finished run: what the stream holds, and from the row what it does not.

    What is added gets a `seq` made of its time, so that a reader who has seen a part goes on after it.
    """
    seen = {identity(event) for event in streamed}
    told = [event for event in _told(run) if identity(event) not in seen]
    if not told:
        return list(streamed)
    events = list(streamed)
    for number, (event, moment) in enumerate(zip(told, _moments(told, streamed), strict=True)):
        seq = f"{moment}-{_TOLD_OFFSET + number}"
        events.append(RunEvent.model_validate({**event.model_dump(mode="json"), "seq": seq, "run_id": run.id}))
    return sorted(events, key=lambda event: (event.type in FINAL_EVENTS, read_seq(event.seq)))


def _moments(told: Sequence[NewEvent], streamed: Sequence[RunEvent]) -> list[int]:
    """Milliseconds of each event's `seq`, never falling.

    Beside a stream that is there in part: when it happened. When all of the stream is gone: when it had reached Redis
    at the latest, since what a client saw last is a position in that stream. It may get an event again; it loses none.
    """
    if streamed:
        newest = read_seq(streamed[-1].seq)[0]
        plain = [int(event.ts.timestamp() * 1000) for event in told]
        return [max(moment, newest) if told[n].type in FINAL_EVENTS else moment for n, moment in enumerate(plain)]
    moments: list[int] = []
    latest = int(told[-1].ts.timestamp() * 1000) + _PUBLISHED_WITHIN_MS
    for event in reversed(told):
        if event.type == "step.started" and event.data["kind"] == "agent":
            # An activity brings along everything before it.
            latest = int(event.ts.timestamp() * 1000) + _PUBLISHED_WITHIN_MS
        moments.append(latest)
    return moments[::-1]


def identity(event: NewEvent) -> Identity:
    """What happened, whichever attempt it was; None for tokens and the like, of which there are many."""
    if event.type in {"token", "thinking", "usage"}:
        return None
    if event.type in FINAL_EVENTS:
        return "run.ended", None
    if event.type in {"step.succeeded", "step.failed", "step.cancelled"}:
        return "step.ended", event.step_id
    return event.type, event.step_id


def _told(run: Run) -> Iterator[NewEvent]:
    if run.started_at is not None:
        yield run_started(run.started_at)
    around: list[StepRun] = []
    """The steps that the next one may be inside of: blocks, and steps whose errors are caught."""
    now = run.started_at or run.created_at
    for step in run.steps:
        while around and not is_inside(step.id, around[-1].id):
            yield from _step_end(around.pop())
        now = step.started_at or now
        if step.status == "skipped":
            yield NewEvent(ts=now, step_id=step.id, type="step.skipped", data={"kind": step.kind})
        elif step.started_at is not None:
            data: dict[str, Json] = {"kind": step.kind} | ({"name": step.name} if step.name else {})
            yield NewEvent(ts=now, step_id=step.id, type="step.started", data=data)
            around.append(step)
    while around:
        yield from _step_end(around.pop())
    yield closing_event(run)


def _step_end(step: StepRun) -> Iterator[NewEvent]:
    if step.status not in _ENDED or step.started_at is None:
        return
    data: dict[str, Json] = {"kind": step.kind, "duration_ms": step.duration_ms}
    if step.error is not None:
        data["error"] = step.error.model_dump()
    if step.kind == "agent":
        data |= {"usage": step.usage.model_dump(), "cost_usd": None if step.cost_usd is None else str(step.cost_usd)}
    if step.status == "succeeded":
        data["output"] = step.output
    yield NewEvent(
        ts=step.ended_at or step.started_at,
        step_id=step.id,
        attempt=step.attempt,
        type=cast("EventType", f"step.{step.status}"),
        data=cut_content(data),
    )
