"""A circuit breaker for what runs can do without: a server that hangs costs them one timeout, not one for each call."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context

import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from studio.tasks import end_tasks

PROBE_SECONDS = 0.25
AWAY = (RedisConnectionError, RedisTimeoutError, OSError, TimeoutError)
"""What a Redis that does not answer raises; what one that refuses a command raises is another matter."""
_log = structlog.get_logger(__name__)


class Breaker:
    """Open from the first call that failed until a probe, made in the background, succeeds."""

    def __init__(self, server: str, probe: Callable[[], Awaitable[object]]) -> None:
        self._server = server
        self._probe = probe
        self._probing: asyncio.Task[None] | None = None

    @property
    def is_open(self) -> bool:
        """Whether calls are to be left out."""
        return self._probing is not None

    def trip(self, error: BaseException) -> None:
        """A call failed with one of `AWAY`."""
        if self._probing is None:
            _log.warning("breaker.opened", server=self._server, error=type(error).__name__)
            name = f"probe-{self._server}"
            self._probing = asyncio.create_task(self._wait_for_it(), name=name, context=Context())  # not of this call

    async def close(self) -> None:
        """End the probing."""
        if self._probing is not None:
            await end_tasks(self._probing)

    async def _wait_for_it(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(PROBE_SECONDS)
            try:
                await self._probe()
            except AWAY:
                continue
            break
        _log.info("breaker.closed", server=self._server, seconds=round(time.monotonic() - began, 1))
        self._probing = None
