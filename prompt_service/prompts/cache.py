"""Redis in front of MongoDB, never older than the last promotion that was answered.

An entry says where a prompt's labels point; versions never change, so they are cached without further care.

- A reader that misses takes a lease *before* it reads MongoDB and may fill the entry only while it holds it. A
  promotion takes the lease away, writes the new entry itself, and only then is answered: a reader that was slow
  cannot put the old version back. No entry ever gives way to one of a lower revision. A lost lease (eviction,
  restart) only costs the fill.
- When Redis does not answer, reads go to MongoDB. A promotion then counts up a generation in MongoDB, which is part
  of every key, and is answered only when every process has had the time to learn it: what Redis remembers when it
  comes back is never read again.
- A Redis that restarted may have forgotten the last promotions and remember older entries. Its run id is part of
  every key too, and every new connection asks for it before it is used.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Self

import orjson
import structlog
from pymongo import ReturnDocument
from pymongo.errors import PyMongoError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.utils import str_if_bytes

from prompt_service.mongo import Database, mongo_faults
from prompt_service.prompts.reads import JoinedReads
from prompt_service.prompts.records import CACHE
from studio.contracts.prompts import Prompt, PromptType, PromptVersion
from studio.tasks import end_tasks

ENTRY_SECONDS = 3600
VERSION_SECONDS = 86_400
LEASE_MS = 10_000
TIMEOUT_SECONDS = 0.5
"""A cache slower than this is worse than the database."""
START_SECONDS = 1.0
REST_SECONDS = 1.0
"""How long a Redis that failed is left alone."""
POLL_SECONDS = 0.5
SETTLE_SECONDS = 2.0
"""By then every process knows a new generation, or reads past the cache."""
MAX_AGE_SECONDS = 1.5
_DELETED_REVISION = 2**53 - 1
_log = structlog.get_logger(__name__)

_FILL = """
local function revision(value) return tonumber(string.match(value, '^(%d+):')) end
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
local current = redis.call('GET', KEYS[1])
if current and revision(current) > tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], ARGV[3], 'EX', ARGV[4])
redis.call('DEL', KEYS[2])
return 1
"""
_PUBLISH = """
local function revision(value) return tonumber(string.match(value, '^(%d+):')) end
for i = 1, 3, 2 do
  local current = redis.call('GET', KEYS[i])
  if current and revision(current) > tonumber(ARGV[1]) then return 0 end
  redis.call('SET', KEYS[i], ARGV[2], 'EX', ARGV[3])
  redis.call('DEL', KEYS[i + 1])
end
return 1
"""
_RETIRE = """
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
redis.call('DEL', KEYS[2], KEYS[3], KEYS[4])
"""


@dataclass(frozen=True, slots=True)
class Pointer:
    """Where a prompt's labels point."""

    id: str
    name: str
    project_id: str
    type: PromptType
    labels: dict[str, int]
    revision: int


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to fill one entry, taken before the database is read."""

    key: str
    token: str


def pointer_of(prompt: Prompt) -> Pointer:
    return Pointer(prompt.id, prompt.name, prompt.project_id, prompt.type, prompt.labels, prompt.revision)


class PromptCache:
    """Use as `async with PromptCache(redis_url, database) as cache`."""

    def __init__(self, redis_url: str, database: Database) -> None:
        self._redis: Any = Redis.from_url(  # pyright: ignore[reportUnknownMemberType] - redis-py leaves **kwargs open
            redis_url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=self._greet,
        )
        self._reads = JoinedReads(self._redis)
        self._fill: Any = self._redis.register_script(_FILL)
        self._publish: Any = self._redis.register_script(_PUBLISH)
        self._retire: Any = self._redis.register_script(_RETIRE)
        self._state = database[CACHE]
        self._prefix: str | None = None
        self._generation: int | None = None
        self._server: str | None = None
        self._known_at = 0.0
        self._changed_at = 0.0
        self._mongo_down = False
        self._rest_until = 0.0

    async def __aenter__(self) -> Self:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_SECONDS):
                await self._look()
        self._poller = asyncio.create_task(self._poll(), name="cache-generation")
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await end_tasks(self._poller)
        await self._redis.aclose()

    async def ping(self) -> None:
        """Raises `RedisError`."""
        await self._redis.ping()

    def usable(self) -> bool:
        """Whether Redis may be asked: it answered lately, and the generation is known to be the newest.

        While MongoDB is down nothing can be promoted, so the last known generation stays good.
        """
        now = time.monotonic()
        return self._prefix is not None and now >= self._rest_until and (
            self._mongo_down or now - self._known_at < MAX_AGE_SECONDS
        )  # fmt: skip

    async def get(self, ref: str) -> Pointer | None:
        """The pointer stored under `project/name` or an id. Raises `RedisError`."""
        value: bytes | None = await self._ask(self._reads.get(f"{self._prefix}{ref}"))
        if value is None:
            return None
        revision, _, body = value.partition(b":")
        return None if not body else Pointer(**orjson.loads(body), revision=int(revision))

    async def lease(self, ref: str) -> Lease:
        """Raises `RedisError`."""
        lease = Lease(f"{self._prefix}{ref}", token_hex(8))
        await self._ask(self._redis.set(f"{lease.key}:lease", lease.token, px=LEASE_MS))
        return lease

    async def fill(self, lease: Lease, pointer: Pointer) -> None:
        """Raises `RedisError`."""
        arguments = [lease.token, pointer.revision, _dumped(pointer), ENTRY_SECONDS]
        await self._ask(self._fill(keys=[lease.key, f"{lease.key}:lease"], args=arguments))

    async def get_version(self, prompt_id: str, number: int) -> PromptVersion | None:
        """Raises `RedisError`."""
        value: bytes | None = await self._ask(self._redis.get(f"studio:prompt-version:{prompt_id}:{number}"))
        return None if value is None else PromptVersion.model_validate_json(value)

    async def keep_version(self, version: PromptVersion) -> None:
        """Raises `RedisError`."""
        key = f"studio:prompt-version:{version.prompt_id}:{version.version}"
        await self._ask(self._redis.set(key, version.model_dump_json(), ex=VERSION_SECONDS))

    async def publish(self, prompt: Prompt) -> None:
        """After this, no process serves what the prompt's labels pointed to before."""
        pointer = pointer_of(prompt)
        await self._change(self._publish, prompt, [pointer.revision, _dumped(pointer), ENTRY_SECONDS])

    async def refresh(self, prompt: Prompt) -> None:
        """Bring the entry's revision up to date, if Redis answers: the labels did not change."""
        if self.usable():
            pointer = pointer_of(prompt)
            with contextlib.suppress(RedisError):
                await self._run(self._publish, prompt, [pointer.revision, _dumped(pointer), ENTRY_SECONDS])

    async def retire(self, prompt: Prompt) -> None:
        """After this, no process serves the deleted prompt."""
        await self._change(self._retire, prompt, [f"{_DELETED_REVISION}:", ENTRY_SECONDS])

    async def _change(self, script: Any, prompt: Prompt, arguments: list[Any]) -> None:
        try:
            if self._prefix is None:
                raise RedisConnectionError("the generation is not known yet")
            await self._run(script, prompt, arguments)
        except RedisError as error:
            _log.warning("cache.bypassed", reason=type(error).__name__)
            await self._next_generation()
        settled = self._changed_at + SETTLE_SECONDS - time.monotonic()
        if settled > 0:
            await asyncio.sleep(settled)

    async def _run(self, script: Any, prompt: Prompt, arguments: list[Any]) -> None:
        entries = [f"{self._prefix}{prompt.id}", f"{self._prefix}{prompt.project_id}/{prompt.name}"]
        keys = [key for entry in entries for key in (entry, f"{entry}:lease")]
        await self._ask(script(keys=keys, args=arguments))

    async def _ask(self, call: Any) -> Any:
        try:
            return await call
        except RedisError:
            self._rest_until = time.monotonic() + REST_SECONDS
            raise

    async def _next_generation(self) -> None:
        with mongo_faults():
            state: Any = await self._state.find_one_and_update(
                {"_id": "generation"}, {"$inc": {"number": 1}}, upsert=True, return_document=ReturnDocument.AFTER
            )
        self._learn(int(state["number"]), time.monotonic())

    def _learn(self, generation: int, asked_at: float) -> None:
        self._mongo_down = False
        self._known_at = max(self._known_at, asked_at)
        if self._generation is not None and generation <= self._generation:
            return
        if self._generation is not None:
            self._changed_at = time.monotonic()
        self._generation = generation
        self._name_keys()

    def _name_keys(self) -> None:
        if self._server is not None and self._generation is not None:
            self._prefix = f"studio:prompt:{self._server}:{self._generation}:"

    async def _greet(self, connection: Any) -> None:
        """Ask a new connection's server who it is; the keys of another server's life are not for it."""
        await connection.on_connect()
        await connection.send_command("INFO", "server")
        info: str = str_if_bytes(await connection.read_response())
        server = info.partition("run_id:")[2][:40]
        known, self._server = self._server, server
        self._name_keys()
        if known is not None and known != server:
            raise RedisConnectionError("the server started anew")

    async def _look(self) -> None:
        asked_at = time.monotonic()
        try:
            state = await self._state.find_one({"_id": "generation"})
            self._learn(0 if state is None else state["number"], asked_at)
        except PyMongoError:
            self._mongo_down = True
        if self._server is None:
            with contextlib.suppress(RedisError):
                await self._redis.ping()

    async def _poll(self) -> None:
        while True:
            await self._look()
            await asyncio.sleep(POLL_SECONDS)


def _dumped(pointer: Pointer) -> bytes:
    fields = {"id": pointer.id, "name": pointer.name, "project_id": pointer.project_id, "type": pointer.type}
    return b"%d:%b" % (pointer.revision, orjson.dumps({**fields, "labels": pointer.labels}))
