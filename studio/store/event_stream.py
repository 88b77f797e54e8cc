"""The live events of runs, one Redis stream a run.

The stream is a view: losing Redis loses live tokens, never a run.
"""

from collections.abc import Collection, Sequence
from typing import Any, Self, cast

import orjson
import structlog
from prometheus_client import Counter
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from studio.contracts.events import FINAL_EVENTS, NewEvent, RunEvent

KEEP_SECONDS = 24 * 3600
"""After the last event; a later reader gets the story from the run's row, without tokens."""
MAX_EVENTS = 200_000
OPERATION_SECONDS = 2.0
MAX_WATCHED = 10_000
"""Runs that one process watches at once; redis-py's own limit is 100 connections."""

LOST = Counter("studio_events_lost_total", "Run events that could not be published.")
_log = structlog.get_logger(__name__)

# KEYS: stream, keys already published. ARGV: time to live, max length, then (key, event, mark) for each event. An empty
# key means that the event is published each time. What has the mark `closes` is the last that is taken until an event
# with the mark `opens` comes: calls of a terminated run go on for a moment.
_PUBLISH = """
local closed = redis.call('SISMEMBER', KEYS[2], 'closed') == 1
for i = 3, #ARGV, 3 do
  local key, event, mark = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if (not closed or mark == 'opens') and (key == '' or redis.call('SADD', KEYS[2], key) == 1) then
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'e', event)
    if mark == 'closes' then
      redis.call('SADD', KEYS[2], 'closed')
      closed = true
    elseif mark == 'opens' then
      redis.call('SREM', KEYS[2], 'closed')
      closed = false
    end
  end
end
redis.call('EXPIRE', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[2], ARGV[1])
return 1
"""


class EventStream:
    """Publishes and reads. One instance a process; `async with` closes its connections."""

    def __init__(self, redis_url: str) -> None:
        timeouts: dict[str, Any] = {"socket_timeout": OPERATION_SECONDS, "socket_connect_timeout": OPERATION_SECONDS}
        pool: Any = BlockingConnectionPool.from_url(redis_url, timeout=OPERATION_SECONDS, **timeouts)
        self._redis = cast("Any", Redis.from_pool(pool))
        # A blocking read outlasts the timeout of the other commands, and a run that is watched holds a connection.
        reading: dict[str, Any] = timeouts | {"socket_timeout": None, "max_connections": MAX_WATCHED}
        self._reader = cast("Any", Redis.from_url(redis_url, **reading))
        self._publish = self._redis.register_script(_PUBLISH)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._redis.aclose()
        await self._reader.aclose()

    async def check(self) -> None:
        await self._redis.ping()

    async def publish(self, run_id: str, events: Sequence[NewEvent]) -> bool:
        """Append events in order; a lifecycle event that is already there is left out, and so is all that comes after
        the run's last event, unless the run is retried.

        False when Redis did not take them: the run goes on, and the loss is counted.
        """
        if not events:
            return True
        arguments: list[str | bytes | int] = [KEEP_SECONDS, MAX_EVENTS]
        for event in events:
            body = orjson.dumps(event.model_dump(mode="json", exclude_defaults=True))
            arguments += [event.key() or "", body, _mark(event)]
        try:
            await self._publish(keys=[_stream(run_id), _published(run_id)], args=arguments)
        except (RedisError, OSError, TimeoutError) as error:
            LOST.inc(len(events))
            _log.warning("events.lost", run_id=run_id, count=len(events), error=type(error).__name__)
            return False
        return True

    async def remove(self, runs: Collection[str]) -> None:
        """What Redis does not remove now it forgets by itself, a day after the last event."""
        try:
            await self._redis.unlink(*(name for run_id in runs for name in (_stream(run_id), _published(run_id))))
        except (RedisError, OSError, TimeoutError) as error:
            _log.warning("events.not_removed", count=len(runs), error=type(error).__name__)

    async def read(
        self, run_id: str, after: str = "0-0", *, block_ms: int | None = None, count: int = 1000
    ) -> list[RunEvent]:
        """Events after `after`, at most `count`; waits up to `block_ms` for the first. Raises `RedisError`."""
        answer = await self._reader.xread({_stream(run_id): after}, count=count, block=block_ms)
        entries = cast("list[tuple[bytes, dict[bytes, bytes]]]", _entries(answer))
        return [
            RunEvent.model_validate(orjson.loads(fields[b"e"]) | {"seq": seq.decode(), "run_id": run_id})
            for seq, fields in entries
        ]


def _mark(event: NewEvent) -> str:
    return "closes" if event.type in FINAL_EVENTS else "opens" if event.type == "run.retried" else ""


def _entries(answer: Any) -> Any:
    """The entries of the one stream read: redis-py answers a list with RESP2 and a map with RESP3."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (batches,) = cast("dict[Any, Any]", answer).values()
        return batches[0]
    return answer[0][1]


def _stream(run_id: str) -> str:
    return f"studio:run:{{{run_id}}}:events"


def _published(run_id: str) -> str:
    return f"studio:run:{{{run_id}}}:published"
