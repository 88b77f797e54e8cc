"""The live events of runs, one Redis stream a run.

The stream is a view: losing Redis loses live tokens, never a run.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Self, cast

import orjson
import structlog
from prometheus_client import Counter
from pydantic import ValidationError
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import RedisError

from studio.contracts.base import Wire
from studio.contracts.events import FINAL_EVENTS, NewEvent, RunEvent
from studio.contracts.runs import Retrying
from studio.foreign_json import write_storable
from studio.store.breaker import AWAY, Breaker

KEEP_SECONDS = 24 * 3600
"""After the last event; a later reader gets the story from the run's row, without tokens."""
MAX_EVENTS = 200_000
OPERATION_SECONDS = 2.0
PAGE_CONNECTIONS = 8
"""Readers that catch up share these: a page takes a millisecond or two."""
PAGE_SECONDS = 5.0
"""How long a reader waits for one of them."""
RETRY_AHEAD_MS = 61_000
"""`run.retried` gets a `seq` so far ahead of the clock, and what follows comes after it: a story told from the row may
have given numbers up to a minute after the run's end."""
_WAKE_KEEP_SECONDS = 60

LOST = Counter("studio_events_lost_total", "Run events that could not be published.")
_log = structlog.get_logger(__name__)

# KEYS: stream, keys already published. ARGV: time to live, max length, then (key, event, milliseconds ahead, mark) for
# each event. An empty key means that the event is published each time. What has the mark `closes` is the last that is
# taken until an event with the mark `opens` comes: calls of a terminated run go on for a moment.
_PUBLISH = """
local closed = redis.call('SISMEMBER', KEYS[2], 'closed') == 1
for i = 3, #ARGV, 4 do
  local key, event, ahead, mark = ARGV[i], ARGV[i + 1], tonumber(ARGV[i + 2]), ARGV[i + 3]
  if (not closed or mark == 'opens') and (key == '' or redis.call('SADD', KEYS[2], key) == 1) then
    local id = '*'
    if ahead > 0 then
      local moment = redis.call('TIME')[1] * 1000 + ahead
      local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
      if not last or tonumber(string.match(last[1], '^%d+')) < moment then id = string.format('%.0f-0', moment) end
    end
    redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], id, 'e', event)
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


class RetryNote(Wire):
    """What a `step.retrying` says to who looks at the run."""

    attempt: int
    data: Retrying


@dataclass(frozen=True)
class Batch:
    """What one run told."""

    events: list[RunEvent]
    position: str
    """Of the last entry; the next read begins after it."""


class EventStream:
    """Publishes and reads. One instance a process; `async with` closes its connections."""

    def __init__(self, redis_url: str) -> None:
        timeouts: dict[str, Any] = {"socket_timeout": OPERATION_SECONDS, "socket_connect_timeout": OPERATION_SECONDS}
        pool: Any = BlockingConnectionPool.from_url(redis_url, timeout=OPERATION_SECONDS, **timeouts)
        self._redis = cast("Any", Redis.from_pool(pool))
        few: dict[str, Any] = timeouts | {"max_connections": PAGE_CONNECTIONS, "timeout": PAGE_SECONDS}
        pages: Any = BlockingConnectionPool.from_url(redis_url, **few)
        self._pages = cast("Any", Redis.from_pool(pages))
        # A blocking read outlasts the timeout of the other commands.
        self._tail = cast(
            "Any", Redis.from_url(redis_url, socket_timeout=None, socket_connect_timeout=OPERATION_SECONDS)
        )
        self._publish = self._redis.register_script(_PUBLISH)
        self._breaker = Breaker("redis", self._redis.ping)
        self._wake_key = f"studio:wake:{token_hex(8)}"
        self._woken = "0-0"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self._breaker.close()
        await self._redis.aclose()
        await self._pages.aclose()
        await self._tail.aclose()

    async def check(self) -> None:
        await self._redis.ping()

    async def publish(self, run_id: str, events: Sequence[NewEvent]) -> bool:
        """Append events in order; a lifecycle event that is already there is left out, and so is all that comes after
        the run's last event, unless the run is retried.

        False when Redis did not take them: the run goes on, and the loss is counted. While Redis is known to be away
        that takes no time.
        """
        if not events:
            return True
        if self._breaker.is_open:
            LOST.inc(len(events))
            return False
        arguments: list[str | bytes | int] = [KEEP_SECONDS, MAX_EVENTS]
        for event in events:
            ahead = RETRY_AHEAD_MS if event.type == "run.retried" else 0
            body = write_storable(event.model_dump(mode="json", exclude_defaults=True))
            arguments += [event.key() or "", body, ahead, _mark(event)]
        try:
            await self._publish(keys=[_stream(run_id), _published(run_id)], args=arguments)
            await self._note_retries(run_id, events)
        except (RedisError, OSError, TimeoutError) as error:
            if isinstance(error, AWAY):
                self._breaker.trip(error)
            LOST.inc(len(events))
            _log.warning("events.lost", run_id=run_id, count=len(events), error=type(error).__name__)
            return False
        return True

    async def _note_retries(self, run_id: str, events: Sequence[NewEvent]) -> None:
        """Kept beside the stream: who looks at the run does not read all of its events."""
        notes = {event.step_id: event.model_dump_json() for event in events if "next_attempt_at" in event.data}
        if notes:
            async with self._redis.pipeline(transaction=False) as commands:
                commands.hset(_retries(run_id), mapping=notes)
                commands.expire(_retries(run_id), KEEP_SECONDS)
                await commands.execute()

    async def retries(self, run_id: str) -> dict[str, RetryNote]:
        """The last `step.retrying` of each step that said when its next attempt comes; none when Redis is away."""
        if self._breaker.is_open:
            return {}
        try:
            found: dict[bytes, bytes] = await self._redis.hgetall(_retries(run_id))
        except (RedisError, OSError, TimeoutError) as error:
            if isinstance(error, AWAY):
                self._breaker.trip(error)
            return {}
        notes: dict[str, RetryNote] = {}
        for path, note in found.items():
            with suppress(ValidationError):  # a newer worker's
                notes[path.decode()] = RetryNote.model_validate_json(note)
        return notes

    async def remove(self, runs: Collection[str]) -> None:
        """What Redis does not remove now it forgets by itself, a day after the last event."""
        try:
            names = (_stream, _published, _retries)
            await self._redis.unlink(*(name(run_id) for run_id in runs for name in names))
        except (RedisError, OSError, TimeoutError) as error:
            _log.warning("events.not_removed", count=len(runs), error=type(error).__name__)

    async def read(self, run_id: str, after: str = "0-0", *, count: int = 1000) -> list[RunEvent]:
        """The events there are after `after`, at most `count`. Raises `RedisError`."""
        answer = await self._pages.xread({_stream(run_id): after}, count=count)
        return [event for entries in _by_stream(answer).values() for event in _events(run_id, entries)]

    async def newest(self, run_id: str) -> str:
        """The `seq` of the last event there is; `0-0` without any. Raises `RedisError`."""
        found = cast("_Entries", await self._pages.xrevrange(_stream(run_id), count=1))
        return found[0][0].decode() if found else "0-0"

    async def wait(self, after: Mapping[str, str], *, block_ms: int, count: int) -> dict[str, Batch]:
        """The next events of many runs, on one connection, `count` of each at most; `after` is each run's position.

        Returns without any when none came within `block_ms`, or when somebody called `wake`. Raises `RedisError`.
        """
        runs = {_stream(run_id).encode(): run_id for run_id in after}
        positions = {_stream(run_id): position for run_id, position in after.items()}
        answer = await self._tail.xread(positions | {self._wake_key: self._woken}, count=count, block=block_ms)
        streams = _by_stream(answer)
        for seq, _ in streams.pop(self._wake_key.encode(), []):
            self._woken = seq.decode()
        return {
            runs[stream]: Batch(_events(runs[stream], entries), entries[-1][0].decode())
            for stream, entries in streams.items()
        }

    async def wake(self) -> None:
        """Make the `wait` that is under way, or the next one, return. Raises `RedisError`."""
        async with self._redis.pipeline(transaction=False) as commands:
            commands.xadd(self._wake_key, {"w": b""}, maxlen=1)
            commands.expire(self._wake_key, _WAKE_KEEP_SECONDS)
            await commands.execute()


def _mark(event: NewEvent) -> str:
    return "closes" if event.type in FINAL_EVENTS else "opens" if event.type == "run.retried" else ""


_Entries = list[tuple[bytes, dict[bytes, bytes]]]


def _events(run_id: str, entries: _Entries) -> list[RunEvent]:
    """Without those that this process does not understand: a newer worker's, or what somebody else put there."""
    events: list[RunEvent] = []
    for seq, fields in entries:
        try:
            found = orjson.loads(fields[b"e"]) | {"seq": seq.decode(), "run_id": run_id}
            events.append(RunEvent.model_validate(found))
        except (ValidationError, orjson.JSONDecodeError, KeyError, TypeError) as error:
            _log.warning("events.not_understood", run_id=run_id, seq=seq.decode(), error=type(error).__name__)
    return events


def _by_stream(answer: Any) -> dict[bytes, _Entries]:
    """The entries read: redis-py answers a list with RESP2 and a map of lists of lists with RESP3."""
    if not answer:
        return {}
    if isinstance(answer, dict):
        return {stream: batches[0] for stream, batches in cast("dict[bytes, list[_Entries]]", answer).items()}
    return dict(cast("list[tuple[bytes, _Entries]]", answer))


def _stream(run_id: str) -> str:
    return f"studio:run:{{{run_id}}}:events"


def _published(run_id: str) -> str:
    return f"studio:run:{{{run_id}}}:published"


def _retries(run_id: str) -> str:
    return f"studio:run:{{{run_id}}}:retries"
