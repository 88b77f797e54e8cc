"""What waits for people, over all runs: a view of what the workflows say of themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.activities import WorkflowView
from studio.contracts.interaction import PendingApproval
from studio.contracts.runs import FINAL_STATUSES
from studio.db.engine import WriteSession
from studio.db.tables import PendingApprovalRow, RunRow, WorkflowViewRow

_DECIDED = "decided"
Position = tuple[datetime, str, str]
"""Since when, the run, the step: the order of the inbox."""


@dataclass(frozen=True)
class InboxFilter:
    """What the inbox is narrowed to; None means everything."""

    project_id: str | None = None
    workflow: str | None = None
    """Name or id."""
    run_id: str | None = None
    escalated: bool | None = None


async def write_view(session: WriteSession, run_id: str, workflow_path: str, view: WorkflowView, *, retry: int) -> bool:
    """Put what a workflow tells in the place of what it told before, and the run's status after its own.

    False when that is not to be: the run has ended, is gone or was retried since, or something newer was told.
    """
    own = select(RunRow.status, RunRow.project_id).where(RunRow.id == run_id, RunRow.retry_count == retry)
    run = (await session.execute(own.with_for_update())).first()  # a run's workflows come one after the other
    if run is None or run[0] in FINAL_STATUSES:
        return False
    told = await session.get(WorkflowViewRow, (run_id, workflow_path))
    if told is not None and told.told_at > view.at:
        return False
    if told is None:
        session.add(WorkflowViewRow(run_id=run_id, workflow_path=workflow_path, told_at=view.at))
    else:
        told.told_at = view.at
    if not workflow_path:
        await session.execute(update(RunRow).where(RunRow.id == run_id).values(status=view.status))
    await _put(session, run_id, run[1], workflow_path, view)
    await session.flush()
    return True


async def _put(session: WriteSession, run_id: str, project_id: str, workflow_path: str, view: WorkflowView) -> None:
    """Only what changed is written: of a map of hundreds one is decided at a time."""
    own = select(PendingApprovalRow).filter_by(run_id=run_id, workflow_path=workflow_path)
    held = {row.step_id: row for row in await session.scalars(own)}
    for approval in view.approvals:
        row = held.pop(approval.step_id, None)
        if row is None:
            session.add(
                PendingApprovalRow(
                    run_id=run_id,
                    step_id=approval.step_id,
                    workflow_path=workflow_path,
                    project_id=project_id,
                    waiting=approval.waiting,
                    created_at=approval.since,
                )
            )
        elif row.created_at != approval.since or (_DECIDED not in row.waiting and row.waiting != approval.waiting):
            row.waiting, row.created_at = approval.waiting, approval.since
    for row in held.values():
        await session.delete(row)


async def hide_approval(session: WriteSession, run_id: str, step_id: str) -> None:
    """It was decided. The row stays until its workflow says so, too: what that told just before must not bring it
    back.
    """
    row = await session.get(PendingApprovalRow, (run_id, step_id))
    if row is not None:
        row.waiting = row.waiting | {_DECIDED: True}


async def forget_views(session: WriteSession, run_id: str) -> None:
    """The run has ended: nothing of it waits."""
    await session.execute(delete(PendingApprovalRow).filter_by(run_id=run_id))
    await session.execute(delete(WorkflowViewRow).filter_by(run_id=run_id))


async def list_pending(
    session: AsyncSession, chosen: InboxFilter, *, limit: int, after: Position | None = None
) -> Sequence[PendingApproval]:
    """What has waited longest comes first; the page begins behind `after`."""
    row = PendingApprovalRow
    query = select(row, RunRow.definition_name).join(RunRow, RunRow.id == row.run_id)
    query = query.where(row.waiting[_DECIDED].as_boolean().is_(None))
    if chosen.project_id is not None:
        query = query.where(row.project_id == chosen.project_id)
    if chosen.workflow is not None:
        query = query.where(or_(RunRow.definition_id == chosen.workflow, RunRow.definition_name == chosen.workflow))
    if chosen.run_id is not None:
        query = query.where(row.run_id == chosen.run_id)
    if chosen.escalated is not None:
        is_escalated = row.waiting["escalated"].as_boolean()
        query = query.where(is_escalated if chosen.escalated else or_(is_escalated.is_(None), ~is_escalated))
    if after is not None:
        since, run_id, step_id = after
        later = and_(row.run_id == run_id, row.step_id > step_id)
        query = query.where(or_(row.created_at > since, and_(row.created_at == since, or_(row.run_id > run_id, later))))
    query = query.order_by(row.created_at, row.run_id, row.step_id).limit(limit)
    return [_pending(found, name) for found, name in (await session.execute(query))]


def _pending(row: PendingApprovalRow, workflow: str) -> PendingApproval:
    place = {"run_id": row.run_id, "step_id": row.step_id, "project_id": row.project_id, "workflow": workflow}
    return PendingApproval.model_validate({**row.waiting, **place, "waiting_since": row.created_at})
