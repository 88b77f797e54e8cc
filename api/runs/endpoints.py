"""`/api/v1/runs`, and starting runs of agents and workflows."""

import re
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from api.deps import DEFAULT_PROJECT, PartsDep, Project, ProjectFilter, Ref, SessionHeader, UserHeader
from api.runs.starting import Trigger
from studio.contracts.base import Page, Timestamp
from studio.contracts.runs import Run, RunKind, RunStatus, StartRun
from studio.errors import FieldError, InvalidInput
from studio.store.runs import RunFilter
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, encode_cursor
from studio.web.preconditions import ANONYMOUS, Actor
from studio.web.query import open_parameter

router = APIRouter(prefix="/api/v1", tags=["runs"], route_class=JsonRoute)

MAX_METADATA_FILTERS = 10
_METADATA = re.compile(r"metadata\.(.{1,256})", re.DOTALL)

_UNESCAPED_PLUS = re.compile(r"(.*\d) (\d\d:?\d\d)")
_DATE = re.compile(r"\d{4}-\d\d-\d\d.*", re.DOTALL)


def _query_time(text: str) -> str:
    if match := _UNESCAPED_PLUS.fullmatch(text):
        right = f"{match[1]}%2B{match[2]}"
        raise PydanticCustomError("unescaped_plus", "a `+` in a URL is a space: write {right}", {"right": right})
    if not _DATE.fullmatch(text):  # a number would be read as seconds since 1970
        raise PydanticCustomError("timestamp", "write a date and time such as 2026-12-01T09:00:00Z")
    return text


Wait = Annotated[float, Query(ge=0, le=60, description="Seconds to wait for the end; then 200 with the finished run")]
IdempotencyKey = Annotated[
    str | None,
    Header(alias="Idempotency-Key", min_length=1, max_length=256, description="Same key and body: done once"),
]
QueryTime = Annotated[
    Annotated[Timestamp, BeforeValidator(_query_time)] | None,
    Query(description="RFC 3339 with an offset, whose `+` is `%2B` in a URL: `2026-12-01T09:00:00Z`"),
]
Traceparent = Annotated[str | None, Header(description="W3C trace context of the caller")]
_STARTED = {200: {"description": "The run has ended", "model": Run}, **problems(404, 409, 415, 422, 503)}


@router.post(
    "/workflows/{ref}/runs",
    status_code=202,
    summary="Start a run of a workflow",
    responses=_STARTED,
)
async def start_workflow_run(
    ref: Ref,
    body: StartRun,
    parts: PartsDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
    traceparent: Traceparent = None,
    session_id: SessionHeader = None,
    user_id: UserHeader = None,
) -> Run:
    body = _labelled(body, session_id, user_id)
    return await _start("workflow", ref, project_id, body, Trigger(traceparent, idempotency_key), wait, parts, response)


@router.post("/agents/{ref}/runs", status_code=202, summary="Start a run of one agent", responses=_STARTED)
async def start_agent_run(
    ref: Ref,
    body: StartRun,
    parts: PartsDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    wait: Wait = 0,
    idempotency_key: IdempotencyKey = None,
    traceparent: Traceparent = None,
    session_id: SessionHeader = None,
    user_id: UserHeader = None,
) -> Run:
    body = _labelled(body, session_id, user_id)
    return await _start("agent", ref, project_id, body, Trigger(traceparent, idempotency_key), wait, parts, response)


def _labelled(body: StartRun, session_id: str | None, user_id: str | None) -> StartRun:
    """Session and user from the headers where the body has none."""
    given = {"session_id": body.session_id or session_id, "user_id": body.user_id or user_id}
    return StartRun.model_validate(body.model_dump() | given)


async def _start(
    kind: RunKind,
    ref: str,
    project_id: str,
    body: StartRun,
    trigger: Trigger,
    wait: float,
    parts: PartsDep,
    response: Response,
) -> Run:
    run, ended = await parts.runs.start(kind, ref, project_id, body, trigger, wait_seconds=wait)
    response.headers["Location"] = f"/api/v1/runs/{run.id}"
    if ended and wait > 0:
        response.status_code = 200
    return run


@router.get(
    "/runs",
    summary="List runs, newest first",
    responses=problems(422),
    openapi_extra=open_parameter("metadata", "Only runs that were started with this metadata"),
)
async def list_runs(
    request: Request,
    parts: PartsDep,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    project_id: ProjectFilter = None,
    workflow: Annotated[str | None, Query(max_length=64, description="Name or id")] = None,
    agent: Annotated[str | None, Query(max_length=64, description="Name or id")] = None,
    status: Annotated[list[RunStatus] | None, Query(description="Any of these")] = None,
    session_id: Annotated[str | None, Query(max_length=256)] = None,
    user_id: Annotated[str | None, Query(max_length=256)] = None,
    replay_of: Annotated[str | None, Query(max_length=64, description="Id of the run that they replay")] = None,
    schedule: Annotated[str | None, Query(max_length=64, description="Name or id of what started it")] = None,
    batch: Annotated[str | None, Query(max_length=64, description="Id of the batch that it is part of")] = None,
    created_after: QueryTime = None,
    created_before: QueryTime = None,
) -> Page[Run]:
    """`metadata.KEY=VALUE` narrows to runs started with that metadata."""
    chosen = RunFilter(
        project_id=project_id,
        workflow=workflow,
        agent=agent,
        statuses=status or (),
        session_id=session_id,
        user_id=user_id,
        replay_of=replay_of,
        batch=batch,
        schedule=schedule,
        created_after=created_after,
        created_before=created_before,
        metadata=_metadata(request),
    )
    before = None if cursor is None else str(decode_cursor(cursor, 1)[0])
    runs = await parts.runs.list_runs(chosen, limit=limit + 1, before=before)
    more = encode_cursor(runs[limit - 1].id) if len(runs) > limit else None
    return Page(items=list(runs[:limit]), next_cursor=more)


def _metadata(request: Request) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if match := _METADATA.fullmatch(name):
            found[match[1]] = value
    if len(found) > MAX_METADATA_FILTERS:
        message = f"at most {MAX_METADATA_FILTERS} metadata filters"
        raise InvalidInput(message, errors=[FieldError(loc=["query"], msg=message, type="too_many")])
    return found


@router.get("/runs/{run_id}", summary="Read a run", responses=problems(404))
async def get_run(run_id: Ref, parts: PartsDep) -> Run:
    """Steps of a run that goes on come from its workflow; when no worker answers within 2 s, there are none."""
    return await parts.runs.get(run_id)


@router.post(
    "/runs/{run_id}/cancel",
    status_code=202,
    summary="Ask a run to stop, letting its steps clean up",
    responses=problems(404, 409, 503),
)
async def cancel_run(run_id: Ref, parts: PartsDep) -> Run:
    return await parts.runs.cancel(run_id)


@router.post(
    "/runs/{run_id}/terminate",
    status_code=202,
    summary="End a run at once, without any clean-up",
    responses=problems(404, 409, 503),
)
async def terminate_run(run_id: Ref, parts: PartsDep, actor: Actor = ANONYMOUS) -> Run:
    """Child workflows end with it. No step, `compensate` or `finally` gets to do anything; calls under way are cut
    within seconds, and what they had used by then is not counted.
    """
    return await parts.runs.terminate(run_id, actor)
