"""`Idempotency-Key`: the same key and body give the same run, or batch of runs; a signal with it counts once."""

import hashlib
from datetime import datetime

import orjson
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


async def find_target(session: AsyncSession, scope: str, key: str, hashed: str) -> str | None:
    """Where the signal with the key was sent. Raises `Conflict` when that was with another payload."""
    used = await session.get(IdempotencyRow, (scope, key))
    if used is None:
        return None
    if used.body_hash != hashed:
        raise Conflict(f"The Idempotency-Key {key!r} was used with another payload for this signal.")
    return used.target


async def keep_target(
    session: WriteSession, scope: str, key: str, hashed: str, run_id: str, target: str, now: datetime
) -> None:
    """Raises `IntegrityError` when the key was taken meanwhile."""
    fields = {"scope": scope, "key": key, "body_hash": hashed, "run_id": run_id, "target": target}
    session.add(IdempotencyRow(**fields, created_at=now))
    await session.flush()
