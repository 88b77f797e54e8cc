"""`GET /api/v1/runs/{run_id}/events`: server-sent events, or the list so far as JSON."""

import contextlib
import re
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.responses import StreamingResponse

from api.deps import PartsDep, Ref
from api.runs.channel import Frame, TooSlow
from api.runs.hub import BEGINNING, Frames
from studio.contracts.base import Page
from studio.contracts.events import RunEvent
from studio.errors import DependencyUnavailable, FieldError, InvalidInput
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.responses import JSONResponse

router = APIRouter(prefix="/api/v1", tags=["runs"], route_class=JsonRoute)

MAX_EVENTS = 10_000
_SEQ = re.compile(r"[0-9]{1,19}(-[0-9]{1,19})?")
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_PING = b": ping\n\n"
_FRAMES_A_WRITE = 100


@router.get(
    "/runs/{run_id}/events",
    name="list_run_events",
    summary="Watch a run, or list its events so far",
    response_class=Response,
    responses={
        200: {
            "content": {"application/json": {}, "text/event-stream": {"schema": {"type": "string"}}},
            "model": Page[RunEvent],
        },
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
    seen = position("after", after, "query") or position("Last-Event-ID", last_event_id, "header") or BEGINNING
    if _wants_json(request.headers.get("accept", "")):
        events = await parts.events.so_far(run_id, seen, limit=limit + 1)
        more = events[limit - 1].seq if len(events) > limit else None
        return JSONResponse(Page[RunEvent](items=events[:limit], next_cursor=more))
    frames = await parts.events.open(run_id, seen)
    if frames is None:
        return Response(status_code=204)
    return StreamingResponse(_stream(frames), headers=_HEADERS, media_type="text/event-stream")


def position(name: str, value: str | None, where: str) -> str | None:
    """What a client saw last, as a whole `seq`; None when it does not say. Raises `InvalidInput`."""
    if value is None or value == "":
        return None
    if _SEQ.fullmatch(value) is None:
        error = FieldError(loc=[where, name], msg="not the `seq` of an event, such as 1712-0", type="seq")
        raise InvalidInput(f"{name} is not the `seq` of an event.", errors=[error])
    return value if "-" in value else f"{value}-0"


def _wants_json(accept: str) -> bool:
    types = {part.partition(";")[0].strip().lower() for part in accept.split(",")}
    return "application/json" in types and "text/event-stream" not in types


async def _stream(frames: Frames) -> AsyncGenerator[bytes]:
    yield _PING  # the headers leave at once
    try:
        async with contextlib.aclosing(frames):
            async for batch in frames:
                for chunk in _chunks(batch):
                    yield chunk
    except TooSlow:
        yield b": closed: this reader cannot keep up; go on with Last-Event-ID\n\n"
    except DependencyUnavailable:
        yield b": closed: the events cannot be read now; go on with Last-Event-ID\n\n"


def _chunks(batch: Sequence[Frame]) -> Iterator[bytes]:
    """A few writes, each small beside what a connection buffers."""
    if not batch:
        yield _PING
    for start in range(0, len(batch), _FRAMES_A_WRITE):
        yield b"".join(frame.data for frame in batch[start : start + _FRAMES_A_WRITE])
