"""Answers that steps with a `cache` may be given again, in Redis. Losing them costs a call, never a run."""

import hashlib
import json
from datetime import timedelta
from typing import Any, Self, cast

import structlog
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from studio.contracts.base import Json
from studio.store.breaker import AWAY, Breaker
from studio.store.event_stream import OPERATION_SECONDS

_log = structlog.get_logger(__name__)


def answer_digest(project_id: str, key: Json) -> str:
    """SHA-256 of what makes two calls of a project the same."""
    text = json.dumps([project_id, key], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class AnswerCache:
    """One instance a process; `async with` closes its connections."""

    def __init__(self, redis_url: str) -> None:
        timeouts: dict[str, Any] = {"socket_timeout": OPERATION_SECONDS, "socket_connect_timeout": OPERATION_SECONDS}
        # One that waits for a free connection: a worker has more calls under way than a pool has connections.
        pool: Any = BlockingConnectionPool.from_url(redis_url, timeout=OPERATION_SECONDS, **timeouts)
        self._redis = cast("Any", Redis.from_pool(pool))
        self._breaker = Breaker("redis", self._redis.ping)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._breaker.close()
        await self._redis.aclose()

    async def get(self, digest: str) -> str | None:
        """None also when Redis is away."""
        if self._breaker.is_open:
            return None
        try:
            found = await self._redis.get(_name(digest))
        except (RedisError, OSError, TimeoutError) as error:
            self._failed("answers.not_read", error)
            return None
        return None if found is None else found.decode()

    async def put(self, digest: str, text: str, ttl: timedelta) -> None:
        if self._breaker.is_open:
            return
        try:
            await self._redis.set(_name(digest), text, px=max(1, ttl // timedelta(milliseconds=1)))
        except (RedisError, OSError, TimeoutError) as error:
            self._failed("answers.not_kept", error)

    def _failed(self, event: str, error: Exception) -> None:
        if isinstance(error, AWAY):
            self._breaker.trip(error)
        _log.warning(event, error=type(error).__name__)


def _name(digest: str) -> str:
    return f"studio:answer:{digest}"
