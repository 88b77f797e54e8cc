"""Which run's histories refer to a blob: it is kept for as long as one of them is."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, delete, exists, func, or_, select, type_coerce, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from studio.contracts.ids import IdPrefix
from studio.db.engine import WriteSession
from studio.db.tables import Base, BlobRow, BlobUseRow, RunRow, StrayObjectRow

GRACE = timedelta(hours=1)
"""A blob stored, or put to a new use, this recently is not removed: whoever did it may not be done."""
TOUCH_AFTER = GRACE / 6
"""A new use of a blob older than this makes it recent again."""
NO_RUN = "-"
"""Uses what belongs to no run: it is never removed."""
REFERENCE_BYTES = 256
"""More than a reference to an object is long."""


def owner_of(workflow_id: str | None) -> str:
    """A run's workflow has the run's id; its children have `RUN_ID/PATH`."""
    return (workflow_id or NO_RUN).partition("/")[0]


async def find_use(session: AsyncSession, digest: str, owner: str) -> tuple[datetime | None, bool]:
    """When the blob was last stored (None: it is not there), and whether `owner` is known to use it."""
    used = exists().where(BlobUseRow.digest == digest, BlobUseRow.run_id == owner)
    found = (await session.execute(select(BlobRow.created_at, used).where(BlobRow.digest == digest))).one_or_none()
    return (None, False) if found is None else (found[0], bool(found[1]))


async def add_blob(session: WriteSession, digest: str, data: bytes, now: datetime) -> bool:
    """False when it is there."""
    return await _insert_new(session, BlobRow, digest=digest, data=data, created_at=now)


async def add_use(session: WriteSession, digest: str, owner: str) -> None:
    await _insert_new(session, BlobUseRow, digest=digest, run_id=owner)


async def touch(session: WriteSession, digest: str, now: datetime) -> bool:
    """Make the blob recent; False when it is gone. Whoever removes it meanwhile looks again, and leaves it."""
    query = update(BlobRow).where(BlobRow.digest == digest).values(created_at=now).returning(BlobRow.digest)
    return (await session.execute(query)).first() is not None


async def _insert_new(session: WriteSession, table: type[Base], **values: Any) -> bool:
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    query = insert(table).values(**values).on_conflict_do_nothing().returning(table.__table__.c["digest"])
    return (await session.execute(query)).first() is not None


async def release(session: WriteSession, runs: Collection[str], now: datetime) -> Sequence[bytes]:
    """Remove the uses of runs that are gone, and the blobs that nobody else uses.

    Returns the first `REFERENCE_BYTES` of each blob removed. What is recent stays, with its use, for a later call.
    """
    other = aliased(BlobUseRow)
    recent = now - GRACE

    def used_by_others(digest: Any) -> ColumnElement[bool]:
        return exists().where(other.digest == digest, other.run_id.not_in(runs))

    theirs = select(BlobUseRow.digest).where(BlobUseRow.run_id.in_(runs))
    removed = await session.scalars(
        delete(BlobRow)
        .where(BlobRow.digest.in_(theirs), BlobRow.created_at < recent, ~used_by_others(BlobRow.digest))
        .returning(type_coerce(func.substr(BlobRow.data, 1, REFERENCE_BYTES), LargeBinary))
        .execution_options(synchronize_session=False)
    )
    heads = removed.all()
    left = exists().where(BlobRow.digest == BlobUseRow.digest)
    await session.execute(
        delete(BlobUseRow)
        .where(BlobUseRow.run_id.in_(runs), or_(~left, used_by_others(BlobUseRow.digest)))
        .execution_options(synchronize_session=False)
    )
    return heads


async def runs_gone(session: AsyncSession, before: str, after: str, limit: int) -> Sequence[str]:
    """Ids, in order, of runs that use blobs and have no row: they never started, or they were removed.

    Run ids sort by time: `before` is one from when every start has been decided since.
    """
    gone = ~exists().where(RunRow.id == BlobUseRow.run_id)
    query = (
        select(BlobUseRow.run_id)
        .where(BlobUseRow.run_id > max(after, f"{IdPrefix.RUN}_"), BlobUseRow.run_id < before, gone)
        .distinct()
        .order_by(BlobUseRow.run_id)
        .limit(limit)
    )
    return (await session.scalars(query)).all()


# Objects that no blob names


async def add_strays(session: WriteSession, names: Collection[str], now: datetime) -> None:
    session.add_all(StrayObjectRow(name=name, created_at=now) for name in names)
    await session.flush()


async def claim_stray(session: WriteSession, name: str, now: datetime) -> bool:
    """Forget it, since a blob is about to name it. False when it is so old that it may just be swept."""
    fresh = StrayObjectRow.created_at > now - GRACE / 2
    query = delete(StrayObjectRow).where(StrayObjectRow.name == name, fresh).returning(StrayObjectRow.name)
    return (await session.execute(query)).first() is not None


async def forget_strays(session: WriteSession, names: Collection[str]) -> None:
    await session.execute(delete(StrayObjectRow).where(StrayObjectRow.name.in_(names)))


async def find_strays(session: AsyncSession, now: datetime, limit: int) -> Sequence[str]:
    """Those of which whoever put or removed them must have been stopped in the middle."""
    query = select(StrayObjectRow.name).where(StrayObjectRow.created_at < now - GRACE).limit(limit)
    return (await session.scalars(query)).all()
