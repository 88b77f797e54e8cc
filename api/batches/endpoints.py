"""`/api/v1/…/runs:batch` and `/api/v1/batches`."""

from typing import Annotated

from fastapi import APIRouter, Path, Response

from api.deps import DEFAULT_PROJECT, PartsDep, Project, ProjectFilter, Ref, SessionHeader, UserHeader
from api.runs.endpoints import IdempotencyKey
from studio.contracts.base import Page
from studio.contracts.batches import Batch, StartBatch
from studio.contracts.runs import RunKind
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, encode_cursor

router = APIRouter(prefix="/api/v1", tags=["batches"], route_class=JsonRoute)

BatchId = Annotated[str, Path(max_length=64, description="The batch's id")]
_STARTED = problems(404, 409, 415, 422, 503)


@router.post(
    "/workflows/{ref}/runs:batch", status_code=202, summary="Start many runs of a workflow", responses=_STARTED
)
async def start_workflow_batch(
    ref: Ref,
    body: StartBatch,
    parts: PartsDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    idempotency_key: IdempotencyKey = None,
    session_id: SessionHeader = None,
    user_id: UserHeader = None,
) -> Batch:
    """All inputs are checked first: when one is wrong, none is started."""
    body = _labelled(body, session_id, user_id)
    return await _start("workflow", ref, project_id, body, idempotency_key, parts, response)


@router.post("/agents/{ref}/runs:batch", status_code=202, summary="Start many runs of one agent", responses=_STARTED)
async def start_agent_batch(
    ref: Ref,
    body: StartBatch,
    parts: PartsDep,
    response: Response,
    project_id: Project = DEFAULT_PROJECT,
    idempotency_key: IdempotencyKey = None,
    session_id: SessionHeader = None,
    user_id: UserHeader = None,
) -> Batch:
    body = _labelled(body, session_id, user_id)
    return await _start("agent", ref, project_id, body, idempotency_key, parts, response)


def _labelled(body: StartBatch, session_id: str | None, user_id: str | None) -> StartBatch:
    """Session and user from the headers where an item has none."""
    items = [
        item.model_copy(update={"session_id": item.session_id or session_id, "user_id": item.user_id or user_id})
        for item in body.items
    ]
    return body.model_copy(update={"items": items})


async def _start(
    kind: RunKind,
    ref: str,
    project_id: str,
    body: StartBatch,
    idempotency_key: str | None,
    parts: PartsDep,
    response: Response,
) -> Batch:
    batch = await parts.batches.start(kind, ref, project_id, body, idempotency_key)
    response.headers["Location"] = f"/api/v1/batches/{batch.id}"
    return batch


@router.get("/batches", summary="List batches, newest first", responses=problems(422))
async def list_batches(
    parts: PartsDep, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None, project_id: ProjectFilter = None
) -> Page[Batch]:
    before = None if cursor is None else str(decode_cursor(cursor, 1)[0])
    batches = await parts.batches.list_batches(limit=limit + 1, project_id=project_id, before=before)
    more = encode_cursor(batches[limit - 1].id) if len(batches) > limit else None
    return Page(items=batches[:limit], next_cursor=more)


@router.get("/batches/{batch_id}", summary="How far a batch is", responses=problems(404))
async def get_batch(batch_id: BatchId, parts: PartsDep) -> Batch:
    return await parts.batches.get(batch_id)


@router.post(
    "/batches/{batch_id}/cancel",
    status_code=202,
    summary="Cancel the runs of a batch that have not ended",
    responses=problems(404, 503),
)
async def cancel_batch(batch_id: BatchId, parts: PartsDep) -> Batch:
    """Also those that have not begun. When it answers 503, repeat it."""
    return await parts.batches.cancel(batch_id)
