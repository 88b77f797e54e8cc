"""Brings what the watched runs tell to their channels: one Redis connection for all of them."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import structlog
from redis.exceptions import RedisError

from api.runs.channel import Channel
from studio.contracts.runs import FINAL_STATUSES, Run
from studio.store.event_stream import EventStream
from studio.tasks import end_tasks

BLOCK_MS = 3000
READ_SECONDS = 5.0
COUNT = 256
"""Events of one run in one read, so that a run that has much to tell does not hold up the others."""
RETRY_SECONDS = 0.5
QUIET_SECONDS = 3.0
"""After this without an event a run is asked whether it has ended unheard."""
ASKED_AT_ONCE = 50
"""So many are asked a second, whose turn is longest past: a thousand quiet runs cost Temporal no more than that."""

_log = structlog.get_logger(__name__)


class Tail:
    """At work while there is a channel."""

    def __init__(self, stream: EventStream, refreshed: Callable[[str], Awaitable[Run]]) -> None:
        self._stream = stream
        self._refreshed = refreshed
        self._channels: dict[str, Channel] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_waking = False
        self.is_well = True
        """Whether Redis answered the last read."""

    def get(self, run_id: str) -> Channel | None:
        return self._channels.get(run_id)

    def add(self, channel: Channel) -> None:
        self._channels[channel.run_id] = channel
        for name, work in {"read": self._read, "ask": self._ask_after}.items():
            if name not in self._tasks or self._tasks[name].done():
                self._tasks[name] = asyncio.create_task(work(), name=f"events {name}")
        if not self._is_waking:
            self._is_waking = True
            self._tasks["wake"] = asyncio.create_task(self._wake(), name="events wake")

    async def _wake(self) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._stream.wake()
        except (RedisError, OSError, TimeoutError):
            self._is_waking = False  # the next read, in three seconds at most, takes the new channel in

    def remove(self, channel: Channel) -> None:
        """The reads leave it out from the next one on."""
        if self._channels.get(channel.run_id) is channel:
            del self._channels[channel.run_id]

    async def close(self) -> None:
        self._channels.clear()  # a loop whose cancel is lost (see `end_tasks`) ends by itself
        await end_tasks(*self._tasks.values())

    async def _read(self) -> None:
        while self._channels:
            self._is_waking = False
            after = {run_id: channel.position for run_id, channel in self._channels.items()}
            try:
                async with asyncio.timeout(READ_SECONDS + BLOCK_MS / 1000):
                    found = await self._stream.wait(after, block_ms=BLOCK_MS, count=COUNT)
            except (RedisError, OSError, TimeoutError) as error:
                self.is_well = False
                _log.warning("events.redis_lost", runs=len(after), error=type(error).__name__)
                for channel in self._channels.values():
                    channel.heard_at = 0.0  # perhaps it has ended: nobody could say so
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.is_well = True
            for run_id, batch in found.items():
                channel = self._channels.get(run_id)
                if channel is not None and channel.deliver(batch.events, batch.position):
                    self._end(channel)

    async def _ask_after(self) -> None:
        while self._channels:
            await asyncio.sleep(1)
            now = time.monotonic()
            for channel in self._channels.values():
                channel.ping(now)
            quiet = [channel for channel in self._channels.values() if now - channel.heard_at >= QUIET_SECONDS]
            quiet.sort(key=lambda channel: channel.heard_at)
            await asyncio.gather(*(self._end_if_over(channel) for channel in quiet[:ASKED_AT_ONCE]))

    async def _end_if_over(self, channel: Channel) -> None:
        channel.heard_at = time.monotonic()
        try:
            run = await self._refreshed(channel.run_id)
        except Exception as error:  # noqa: BLE001 - the database may be away for a moment; the run is asked again
            _log.warning("events.run_not_read", run_id=channel.run_id, error=type(error).__name__)
            return
        if run.status not in FINAL_STATUSES or self._channels.get(channel.run_id) is not channel:
            return
        await self._drain(channel)
        self._end(channel)

    def _end(self, channel: Channel) -> None:
        self.remove(channel)
        channel.end()

    async def _drain(self, channel: Channel) -> None:
        """What came between the last read and the end."""
        try:
            async with asyncio.timeout(READ_SECONDS):
                while events := await self._stream.read(channel.run_id, channel.position):
                    channel.deliver(events, events[-1].seq)
        except (RedisError, OSError, TimeoutError):
            return  # the row tells it, without tokens
