"""`Idempotency-Key`: the same key and body give the same run, or batch of runs."""

import hashlib
from datetime import datetime

import orjson
from sqlalchemy.ext.asyncio import AsyncSession

from studio.contracts.base import Contract
from studio.db.engine import WriteSession
from studio.db.tables import IdempotencyRow
from studio.errors import Conflict


def body_hash(body: Contract) -> str:
    document = orjson.dumps(body.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(document).hexdigest()


async def find_started(session: AsyncSession, definition_id: str, key: str, hashed: str) -> str | None:
    """The id of what the key started. Raises `Conflict` when that was with another body."""
    used = await session.get(IdempotencyRow, (definition_id, key))
    if used is None:
        return None
    if used.body_hash != hashed:
        raise Conflict(f"The Idempotency-Key {key!r} was used with another body; it started {used.run_id}.")
    return used.run_id


async def keep_key(
    session: WriteSession, definition_id: str, key: str, hashed: str, started: str, now: datetime
) -> None:
    """Raises `IntegrityError` when the key was taken meanwhile."""
    session.add(IdempotencyRow(scope=definition_id, key=key, body_hash=hashed, run_id=started, created_at=now))
    await session.flush()


async def forget_key(session: WriteSession, definition_id: str, key: str) -> None:
    used = await session.get(IdempotencyRow, (definition_id, key))
    if used is not None:
        await session.delete(used)
