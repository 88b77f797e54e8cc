"""A finished run's events told from its row, for what the live stream lost or no longer holds. Without tokens, pauses
and the ends of earlier attempts, which the row does not keep.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import cast

from studio.contracts.base import Json
from studio.contracts.events import FINAL_EVENTS, EventType, NewEvent, RunEvent, cut_content, run_started
from studio.contracts.runs import CALL_KINDS, Run, StepRun, is_inside

_ENDED = frozenset({"succeeded", "failed", "cancelled"})
_TOLD_OFFSET = 1_000_000
"""Sub-numbers of what is told, far from those that Redis gives within a millisecond."""
PUBLISHED_WITHIN_MS = 60_000
"""How long an activity may wait for a worker before its events reach Redis."""

Seq = tuple[int, int]
Identity = tuple[str, str | None, int] | None


def read_seq(seq: str) -> Seq:
    """`1712-0` as numbers that compare."""
    milliseconds, _, number = seq.partition("-")
    return int(milliseconds), int(number or 0)


def closing_event(run: Run) -> NewEvent:
    """The last event of a run that has ended."""
    return _closing(run, run.ended_at or run.created_at)


def _closing(run: Run, at: datetime) -> NewEvent:
    data: dict[str, Json] = {
        "status": run.status,
        "usage": run.usage.model_dump(),
        "cost_usd": None if run.cost_usd is None else str(run.cost_usd),
    }
    if run.status == "succeeded":
        data["output"] = run.output
    if run.error is not None:
        data["error"] = run.error.model_dump()
    kind = cast("EventType", f"run.{run.status}")
    return NewEvent(ts=at, attempt=run.retry_count + 1, type=kind, data=cut_content(data))


def whole_story(run: Run, streamed: Sequence[RunEvent]) -> list[RunEvent]:
    """Everything about a finished run: what the stream holds, and from the row what it does not.

    What is added gets a `seq` made of its time, so that a reader who has seen a part goes on after it.
    """
    seen = {identity(event) for event in streamed}
    told = [event for event in told_events(run) if identity(event) not in seen]
    if not told:
        return list(streamed)
    events = list(streamed)
    for number, (event, moment) in enumerate(zip(told, _moments(told, streamed), strict=True)):
        events.append(numbered(event, run.id, (moment, _TOLD_OFFSET + number)))
    attempt = run.retry_count + 1
    return sorted(events, key=lambda event: (_closes(event, attempt), read_seq(event.seq)))


def _closes(event: NewEvent, attempt: int) -> bool:
    return event.type in FINAL_EVENTS and event.attempt == attempt


def numbered(event: NewEvent, run_id: str, seq: Seq) -> RunEvent:
    return RunEvent(**dict(event), run_id=run_id, seq=f"{seq[0]}-{seq[1]}")


def _moments(told: Sequence[NewEvent], streamed: Sequence[RunEvent]) -> list[int]:
    """Milliseconds of each event's `seq`, never falling.

    Beside a stream that is there in part: when it happened. When all of the stream is gone: when it had reached Redis
    at the latest, since what a client saw last is a position in that stream. It may get an event again; it loses none.
    """
    plain = [milliseconds(event) for event in told]
    if streamed:
        newest = read_seq(streamed[-1].seq)[0]
        return [max(moment, newest) if told[n].type in FINAL_EVENTS else moment for n, moment in enumerate(plain)]
    moments: list[int] = []
    latest = plain[-1] + PUBLISHED_WITHIN_MS
    for event, moment in zip(reversed(told), reversed(plain), strict=True):
        if event.type == "step.started" and event.data["kind"] == "agent":
            # An activity brings along everything before it.
            latest = min(latest, moment + PUBLISHED_WITHIN_MS)
        moments.append(latest)
    return moments[::-1]


def milliseconds(event: NewEvent) -> int:
    return int(event.ts.timestamp() * 1000)


def identity(event: NewEvent) -> Identity:
    """What happened; None for tokens and the like, of which there are many, and which no row tells."""
    if event.type in {"token", "thinking", "usage"}:
        return None
    if event.type in FINAL_EVENTS:
        return "run.ended", None, event.attempt
    if event.type in {"step.succeeded", "step.failed", "step.cancelled"}:
        return "step.ended", event.step_id, event.attempt
    # The row knows a step's last attempt, and that may have begun as an earlier one.
    return event.type, event.step_id, 0


def told_events(run: Run) -> list[NewEvent]:
    """What the row of a finished run knows, in the order of times; what happened at once in the order of the steps.

    Of each step the last attempt: its start and its end.
    """
    began = run.started_at or run.created_at
    ended = max([run.ended_at or began, *(step.ended_at for step in run.steps if step.ended_at is not None)])
    events = [run_started(began)] if run.started_at is not None else []
    around: list[StepRun] = []
    """The steps that the next one may be inside of: blocks, and steps whose errors are caught."""
    now = began
    for step in run.steps:
        while around and not is_inside(step.id, around[-1].id):
            closed = around.pop()
            now = closed.ended_at or now
            events += _step_end(closed, ended)
        if step.status == "skipped":
            events.append(NewEvent(ts=now, step_id=step.id, type="step.skipped", data={"kind": step.kind}))
        elif step.started_at is not None:
            now = step.started_at
            data: dict[str, Json] = {"kind": step.kind, "name": step.name, "agent": step.agent}
            told = {key: value for key, value in data.items() if value is not None}
            events.append(NewEvent(ts=now, step_id=step.id, attempt=step.attempt, type="step.started", data=told))
            around.append(step)
        elif step.ended_at is not None:  # it was told to stop before it began
            events += _step_end(step, ended)
    while around:
        events += _step_end(around.pop(), ended)
    return [*sorted(events, key=lambda event: event.ts), _closing(run, ended)]


def _step_end(step: StepRun, run_ended: datetime) -> Iterable[NewEvent]:
    """A step that was under way when its run was ended from outside ended with it."""
    status = step.status if step.status in _ENDED else "cancelled"
    data: dict[str, Json] = {"kind": step.kind, "duration_ms": step.duration_ms}
    if step.error is not None:
        data["error"] = step.error.model_dump()
    if step.kind in CALL_KINDS:
        data |= {"usage": step.usage.model_dump(), "cost_usd": None if step.cost_usd is None else str(step.cost_usd)}
    if status == "succeeded" or step.handled:
        data["output"] = step.output
    if step.handled:
        data["handled"] = True
    if step.cached:
        data["cached"] = True
    yield NewEvent(
        ts=step.ended_at or run_ended,
        step_id=step.id,
        attempt=step.attempt,
        type=cast("EventType", f"step.{status}"),
        data=cut_content(data),
    )
