"""`/api/v1/approvals`: what waits for people, over all runs."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query

from api.deps import ProjectFilter, ReadSessionDep
from studio.contracts.base import Page, format_timestamp, to_utc
from studio.contracts.interaction import PendingApproval
from studio.store.approvals import InboxFilter, Position, list_pending
from studio.web.json_route import JsonRoute
from studio.web.openapi import problems
from studio.web.paging import DEFAULT_LIMIT, Cursor, Limit, decode_cursor, encode_cursor, foreign_cursor

router = APIRouter(prefix="/api/v1/approvals", tags=["approvals"], route_class=JsonRoute)


@router.get(
    "", name="list_approvals", summary="The inbox: what waits for a person, longest first", responses=problems(422, 503)
)
async def list_all_approvals(
    session: ReadSessionDep,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    project_id: ProjectFilter = None,
    workflow: Annotated[str | None, Query(max_length=64, description="Name or id")] = None,
    run_id: Annotated[str | None, Query(max_length=64, description="Only of this run")] = None,
    escalated: Annotated[bool | None, Query(description="Only those that are, or are not")] = None,
) -> Page[PendingApproval]:
    """Also while no worker runs. Decide with `POST /runs/{run_id}/approvals/{step_id}`."""
    chosen = InboxFilter(project_id=project_id, workflow=workflow, run_id=run_id, escalated=escalated)
    after = None if cursor is None else _position(cursor)
    items = list(await list_pending(session, chosen, limit=limit + 1, after=after))
    more = _cursor(items[limit - 1]) if len(items) > limit else None
    return Page(items=items[:limit], next_cursor=more)


def _cursor(item: PendingApproval) -> str:
    return encode_cursor(format_timestamp(item.waiting_since), item.run_id, item.step_id)


def _position(cursor: str) -> Position:
    since, run_id, step_id = decode_cursor(cursor, 3)
    try:
        return to_utc(datetime.fromisoformat(str(since))), str(run_id), str(step_id)
    except ValueError:
        raise foreign_cursor() from None
