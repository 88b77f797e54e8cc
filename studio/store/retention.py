"""Which runs have been kept long enough, and everything in SQL that goes with them."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import get_args

from sqlalchemy import ColumnElement, and_, bindparam, delete, exists, func, select

from studio.contracts.runs import FINAL_STATUSES, RunStatus
from studio.db.engine import WriteSession
from studio.db.tables import BatchRow, IdempotencyRow, MessageRow, PendingApprovalRow, RunRow, WorkflowViewRow

OPEN_STATUSES = sorted(set(get_args(RunStatus)) - FINAL_STATUSES)


def _is_old(before: datetime) -> ColumnElement[bool]:
    # Said with `in`, SQLite would look all ended runs up by their status, for each batch.
    return and_(RunRow.ended_at < before, RunRow.status.not_in(OPEN_STATUSES))


async def remove_old_runs(session: WriteSession, before: datetime, limit: int) -> Sequence[str]:
    """Remove at most so many, the oldest first, with what was kept of them; returns their ids."""
    oldest = select(RunRow.id).where(_is_old(before)).order_by(RunRow.ended_at, RunRow.id).limit(limit)
    # Asked again by the row that is removed: it may have been retried in between.
    query = delete(RunRow).where(RunRow.id.in_(oldest), _is_old(before)).returning(RunRow.id)
    removed = (await session.scalars(query.execution_options(synchronize_session=False))).all()
    if removed:
        await session.execute(delete(PendingApprovalRow).where(PendingApprovalRow.run_id.in_(removed)))
        await session.execute(delete(WorkflowViewRow).where(WorkflowViewRow.run_id.in_(removed)))
        await session.execute(delete(IdempotencyRow).where(IdempotencyRow.run_id.in_(removed)))
        await _remove_conversations(session, removed)
    return removed


async def _remove_conversations(session: WriteSession, runs: Collection[str]) -> None:
    """Their ids are `RUN_ID/PATH`."""
    if session.get_bind().dialect.name == "postgresql":
        # Its index sorts by a language's rules, so that a prefix is no range.
        run_of = func.split_part(MessageRow.conversation_id, "/", 1)
        await session.execute(delete(MessageRow).where(run_of.in_(runs)))
        return
    within = (MessageRow.conversation_id >= bindparam("first"), MessageRow.conversation_id < bindparam("behind"))
    # The character after the slash; the whole list in one go, since each statement is a way to another thread and back.
    ranges = [{"first": f"{run_id}/", "behind": f"{run_id}0"} for run_id in runs]
    await (await session.connection()).execute(delete(MessageRow).where(*within), ranges)


async def remove_empty_batches(session: WriteSession, before: datetime) -> None:
    """Those of which no run is left, but for the young, whose runs may still come."""
    used = exists().where(RunRow.batch_id == BatchRow.id)
    await session.execute(delete(BatchRow).where(BatchRow.created_at < before, ~used))
