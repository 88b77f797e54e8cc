"""`GET /api/v1/runs/{run_id}/events`: server-sent events, or the list so far as JSON."""

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from api.deps import PartsDep, Ref
from api.docs import problems
from api.runs.hub import BUFFERED, EventHub, Frame, TooSlow, frame_of
from studio.contracts.base import Page
from studio.contracts.events import RunEvent
from studio.contracts.runs import FINAL_STATUSES, Run
from studio.errors import DependencyUnavailable, FieldError, InvalidInput
from studio.tasks import end_tasks
from studio.web.json_route import JsonRoute
from studio.web.responses import JSONResponse

router = APIRouter(prefix="/api/v1", tags=["runs"], route_class=JsonRoute)

PING_SECONDS = 15.0
MAX_EVENTS = 10_000
BEGINNING = "0-0"
_SEQ = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_PING = b": ping\n\n"
_NO_FRAMES: list[Frame] = []


@router.get(
    "/runs/{run_id}/events",
    summary="Watch a run",
    response_class=Response,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "model": Page[RunEvent]},
        204: {"description": "The run has ended and `after` is its last event: do not reconnect"},
        **problems(404, 422, 503),
    },
)
async def run_events(
    request: Request,
    run_id: Ref,
    parts: PartsDep,
    after: Annotated[str | None, Query(description="`seq` of the last event seen")] = None,
    last_event_id: Annotated[str | None, Header(alias="Last-Event-ID", description="As `after`")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_EVENTS, description="JSON only")] = MAX_EVENTS,
) -> Response:
    """SSE by default: `id` is the event's `seq`, `event` its type, `data` the event; ends after the run's last event.

    With `Accept: application/json` the events so far: when `next_cursor` is not null there are more after it, and it
    is the next `after`.
    """
    seen = _position("after", after, "query") or _position("Last-Event-ID", last_event_id, "header") or BEGINNING
    run = await parts.runs.refreshed(run_id)
    if _wants_json(request.headers.get("accept", "")):
        events = await parts.events.so_far(run, seen, limit=limit + 1)
        more = events[limit - 1].seq if len(events) > limit else None
        return JSONResponse(Page[RunEvent](items=events[:limit], next_cursor=more))
    events = await parts.events.so_far(run, seen, limit=BUFFERED)
    if run.status in FINAL_STATUSES and seen != BEGINNING and not events:
        return Response(status_code=204)
    return StreamingResponse(_stream(parts.events, run, seen, events), headers=_HEADERS, media_type="text/event-stream")


def _position(name: str, value: str | None, where: str) -> str | None:
    if value is None or value == "":
        return None
    if _SEQ.fullmatch(value) is None:
        error = FieldError(loc=[where, name], msg="not the `seq` of an event, such as 1712-0", type="seq")
        raise InvalidInput(f"{name} is not the `seq` of an event.", errors=[error])
    return value if "-" in value else f"{value}-0"


def _wants_json(accept: str) -> bool:
    types = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "application/json" in types and "text/event-stream" not in types


async def _stream(hub: EventHub, run: Run, seen: str, first: Sequence[RunEvent]) -> AsyncGenerator[bytes]:
    if run.status in FINAL_STATUSES:
        events = list(first)
        while events:
            yield b"".join(frame_of(event).data for event in events)
            events = await hub.so_far(run, events[-1].seq, limit=BUFFERED)
        return
    yield _PING  # the headers leave at once
    frames = hub.follow(run.id, seen, first)
    try:
        async for batch in _with_pings(frames):
            yield batch
    except TooSlow:
        yield b": closed: this reader cannot keep up; go on with Last-Event-ID\n\n"
    except DependencyUnavailable:
        yield b": closed: the events cannot be read now; go on with Last-Event-ID\n\n"
    finally:
        await frames.aclose()


async def _with_pings(frames: AsyncGenerator[list[Frame]]) -> AsyncGenerator[bytes]:
    """The frames' bytes, and a comment whenever nothing came for `PING_SECONDS`."""
    pending: asyncio.Task[list[Frame]] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(anext(frames, _NO_FRAMES))
            done, _ = await asyncio.wait([pending], timeout=PING_SECONDS)
            if not done:
                yield _PING
                continue
            batch = pending.result()
            pending = None
            if not batch:
                return
            yield b"".join(frame.data for frame in batch)
    finally:
        if pending is not None:
            await end_tasks(pending)
