"""Concurrent Redis reads, taken together."""

import asyncio
from typing import Any

from redis.asyncio import Redis

BATCH_KEYS = 512


class JoinedReads:
    """One read is under way at a time; who asks meanwhile is answered by the next, an MGET for all of them.

    No read is shared that was sent before it was asked for: an answer is never older than its question.
    """

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis
        self._busy = False
        self._waiting: list[tuple[str, asyncio.Future[bytes | None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, key: str) -> bytes | None:
        """Raises `RedisError`."""
        if self._busy:
            answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
            self._waiting.append((key, answer))
            return await answer
        self._busy = True
        try:
            return await self._redis.get(key)
        finally:
            if self._waiting:
                self._task = asyncio.create_task(self._drain(), name="joined-reads")
            else:
                self._busy = False

    async def _drain(self) -> None:
        while self._waiting:
            asked, self._waiting = self._waiting[:BATCH_KEYS], self._waiting[BATCH_KEYS:]
            keys = list(dict.fromkeys(key for key, _ in asked))
            found: dict[str, bytes | None] = {}
            failure: Exception | None = None
            try:
                found = dict(zip(keys, await self._redis.mget(keys), strict=True))
            except Exception as error:  # noqa: BLE001 - whoever asked must hear of it, whatever it is
                failure = error
            for key, answer in asked:
                if answer.done():
                    continue
                if failure is None:
                    answer.set_result(found[key])
                else:
                    answer.set_exception(failure)
        self._busy = False
