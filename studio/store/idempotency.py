"""`Idempotency-Key`: the same key and body give the same run, or batch of runs; a signal with it counts once."""

import hashlib
from datetime import datetime

import orjson
from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.base import Contract, Json
from studio.db.engine import WriteSession
from studio.db.tables import IdempotencyRow
from studio.errors import Conflict


def body_hash(body: Contract) -> str:
    return json_hash(body.model_dump(mode="json"))


def json_hash(value: Json) -> str:
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()


async def find_started(session: AsyncSession, definition_id: str, key: str, hashed: str) -> str | None:
    """The id of what the key started. Raises `Conflict` when that was with another body."""
    used = await session.get(IdempotencyRow, (definition_id, key))
    if used is None:
        return None
    if used.body_hash != hashed:
        started = f"; it started {used.run_id}" if used.run_id else ""
        raise Conflict(f"The Idempotency-Key {key!r} was used with another body, session or user{started}.")
    return used.run_id


async def keep_key(
    session: WriteSession, scope: str, key: str, hashed: str, run_id: str, now: datetime, target: str | None = None
) -> None:
    """`target` is whom a signal is for. Raises `IntegrityError` when the key was taken meanwhile."""
    used = IdempotencyRow(scope=scope, key=key, body_hash=hashed, run_id=run_id, target=target, created_at=now)
    session.add(used)
    await session.flush()


def retry_scope(run_id: str) -> str:
    return f"{run_id}/retry"


async def forget_retry_keys(session: WriteSession, run_id: str, since: datetime) -> None:
    """Of a retry that was queued then and never began: who sends its key again retries the run."""
    made = (IdempotencyRow.scope == retry_scope(run_id), IdempotencyRow.created_at >= since)
    await session.execute(delete(IdempotencyRow).where(*made))


async def name_started(session: WriteSession, definition_id: str, key: str, run_id: str) -> None:
    """What the key started was not known yet when it was kept."""
    used = (IdempotencyRow.scope == definition_id, IdempotencyRow.key == key)
    await session.execute(update(IdempotencyRow).where(*used).values(run_id=run_id))


async def forget_key(session: WriteSession, definition_id: str, key: str) -> None:
    used = await session.get(IdempotencyRow, (definition_id, key))
    if used is not None:
        await session.delete(used)


async def find_signal(session: AsyncSession, scope: str, key: str, hashed: str) -> tuple[str, bool] | None:
    """The workflow that a signal with the key is for, and whether it was told. Raises `Conflict` when the payload was
    another.
    """
    used = await session.get(IdempotencyRow, (scope, key))
    if used is None:
        return None
    if used.body_hash != hashed:
        raise Conflict(f"The Idempotency-Key {key!r} was used with another payload for this signal.")
    return used.target or used.run_id, used.told_at is not None


async def signal_told(session: WriteSession, scope: str, key: str, now: datetime) -> None:
    query = update(IdempotencyRow).where(IdempotencyRow.scope == scope, IdempotencyRow.key == key)
    await session.execute(query.values(told_at=now))


async def forget_signal(session: WriteSession, scope: str, key: str, target: str) -> None:
    """It reached nobody: whoever sends it again chooses the workflow anew."""
    wrong = (IdempotencyRow.target == target, IdempotencyRow.told_at.is_(None))
    await session.execute(
        delete(IdempotencyRow).where(IdempotencyRow.scope == scope, IdempotencyRow.key == key, *wrong)
    )
