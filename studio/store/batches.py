"""Batches in SQL: which runs were started together, and how far they are."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.runs import FINAL_STATUSES, RunError, RunProgress
from studio.db.engine import WriteSession
from studio.db.tables import BatchRow, RunRow


@dataclass
class Tally:
    """Of a batch's runs."""

    counts: dict[str, int] = field(default_factory=dict[str, int])
    """By status; those that are none are left out."""
    cost_usd: Decimal | None = None
    """Of those that have ended; None when none made a priced call."""
    started_at: datetime | None = None
    ended_at: datetime | None = None
    """When the last one ended so far."""

    @property
    def open(self) -> int:
        """Those that have not ended."""
        return sum(count for status, count in self.counts.items() if status not in FINAL_STATUSES)


_NEW = (RunRow.status == "queued") & RunRow.queued_at.is_(None)
"""Never taken up; one that is retried is queued as well."""


async def insert_batch(session: WriteSession, batch: BatchRow, runs: Sequence[RunRow]) -> None:
    session.add(batch)
    session.add_all(runs)
    await session.flush()


async def get_batch(session: AsyncSession, batch_id: str) -> BatchRow | None:
    return await session.get(BatchRow, batch_id)


async def list_batches(
    session: AsyncSession, *, limit: int, project_id: str | None = None, before: str | None = None
) -> Sequence[BatchRow]:
    """Newest first; `before` is the id after which the page begins."""
    query = select(BatchRow).order_by(BatchRow.id.desc()).limit(limit)
    if project_id is not None:
        query = query.where(BatchRow.project_id == project_id)
    if before is not None:
        query = query.where(BatchRow.id < before)
    return (await session.scalars(query)).all()


async def tally(session: AsyncSession, batch_ids: Sequence[str]) -> dict[str, Tally]:
    """What has become of the runs of each batch."""
    found = {batch_id: Tally() for batch_id in batch_ids}
    grouped = (
        select(
            RunRow.batch_id,
            RunRow.status,
            func.count(),
            func.min(RunRow.started_at),
            func.max(RunRow.ended_at),
        )
        .where(RunRow.batch_id.in_(batch_ids))
        .group_by(RunRow.batch_id, RunRow.status)
    )
    for batch_id, status, count, started, ended in (await session.execute(grouped)).all():
        one = found[str(batch_id)]
        one.counts[status] = count
        one.started_at = min(filter(None, (one.started_at, started)), default=None)
        one.ended_at = max(filter(None, (one.ended_at, ended)), default=None)
    # Added here, since SQLite would add floats.
    priced = select(RunRow.batch_id, RunRow.cost_usd).where(
        RunRow.batch_id.in_(batch_ids), RunRow.cost_usd.is_not(None)
    )
    for batch_id, cost in (await session.execute(priced)).all():
        if batch_id is not None and cost is not None:
            one = found[batch_id]
            one.cost_usd = (one.cost_usd or Decimal(0)) + cost
    return found


async def queued_runs(session: AsyncSession, batch_id: str, *, after: str, limit: int) -> Sequence[RunRow]:
    """Those that nobody took up yet, oldest first, behind the id `after`."""
    query = select(RunRow).where(_NEW, RunRow.batch_id == batch_id, RunRow.id > after)
    return (await session.scalars(query.order_by(RunRow.id).limit(limit))).all()


async def open_runs(session: AsyncSession, batch_id: str) -> Sequence[RunRow]:
    """Those that have not ended, oldest first."""
    query = select(RunRow).where(RunRow.batch_id == batch_id, RunRow.status.not_in(FINAL_STATUSES))
    return (await session.scalars(query.order_by(RunRow.id))).all()


async def cancel_queued_runs(session: WriteSession, batch_id: str, error: RunError, now: datetime) -> set[str]:
    """Close the runs that nobody took up. Returns their ids."""
    closing = (
        update(RunRow)
        .where(_NEW, RunRow.batch_id == batch_id)
        .values(
            status="cancelled",
            error=error.model_dump(mode="json"),
            progress=RunProgress().model_dump(mode="json"),
            ended_at=now,
        )
        .returning(RunRow.id)
        .execution_options(synchronize_session=False)
    )
    return set((await session.scalars(closing)).all())


async def delete_queued_batch(session: WriteSession, batch: BatchRow) -> bool:
    """Remove a batch with its runs, unless somebody took one of them up; then False."""
    taken = select(RunRow.id).where(~_NEW, RunRow.batch_id == batch.id).limit(1)
    if await session.scalar(taken) is not None:
        return False
    await session.execute(delete(RunRow).where(RunRow.batch_id == batch.id))
    await session.execute(delete(BatchRow).where(BatchRow.id == batch.id))
    return True
