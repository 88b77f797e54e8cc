"""Readiness: one question to each kind of part. A probe returns when the part answers and raises `NotReady` if not.

The client libraries are imported by the probes that use them: together they take seconds of a busy machine.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    import aiohttp
    from temporalio.client import Client

PROBE_TIMEOUT_SECONDS = 3.0


class Fact(NamedTuple):
    """What a part that answers says of itself."""

    text: str = ""
    """Its version or another short fact."""
    degraded: bool = False
    """It does its work, but worse than usual; `text` says why."""


Probe = Callable[[int | None], Awaitable[Fact]]
"""Takes the process id of the part when it is ours."""

Connect = Callable[[], Awaitable["Client"]]
"""Connects to Temporal, with TLS or a key when the settings say so."""


class _Degraded(BaseModel):
    dependency: str
    error: str


class _Health(BaseModel):
    """The part of our services' `/health/ready` that matters here."""

    down: list[str]
    degraded: list[_Degraded] = []


class NotReady(Exception):
    """The part does not answer, or not yet as it should. The message is one line without secrets."""

    def __init__(self, message: str, *, waits: bool = False) -> None:
        super().__init__(message)
        self.waits = waits
        """The part itself is well and waits for something else, which may come at any time."""


async def ask(probe: Probe, pid: int | None) -> Fact:
    """Run a probe under the common time limit."""
    try:
        async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
            return await probe(pid)
    except TimeoutError:
        raise NotReady(f"no answer within {PROBE_TIMEOUT_SECONDS:g} s") from None


def http_probe(url: str) -> Probe:
    """Ready when `GET url` answers 2xx. The body of ours names what is down or degraded."""
    import aiohttp

    async def probe(_pid: int | None) -> Fact:
        timeout = aiohttp.ClientTimeout(total=PROBE_TIMEOUT_SECONDS)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
                health = await _health(answer)
                if answer.status < 300:
                    degraded = health.degraded if health else []
                    return Fact(_degradation(degraded), degraded=bool(degraded))
                if health is None or not health.down:
                    raise NotReady(f"answers {answer.status}")
                raise NotReady(f"waits for {', '.join(health.down)}", waits=True)
        except aiohttp.ClientError as error:
            raise NotReady(f"does not answer ({type(error).__name__})") from None

    return probe


async def _health(answer: "aiohttp.ClientResponse") -> _Health | None:
    """None for what is no answer of ours."""
    if answer.content_type != "application/json":
        return None
    try:
        return _Health.model_validate_json(await answer.read())
    except ValidationError:
        return None


def _degradation(found: list[_Degraded]) -> str:
    missing = "; ".join(one.error or f"{one.dependency} does not answer" for one in found)
    return f"degraded: {missing}" if missing else ""


def redis_probe(url: str) -> Probe:
    from redis.asyncio import Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError

    async def probe(_pid: int | None) -> Fact:
        client = Redis.from_url(url, retry=Retry(NoBackoff(), 0))
        try:
            info = await client.info("server")
        except (RedisError, OSError) as error:
            raise NotReady(_one_line(error)) from None
        finally:
            await client.aclose()
        return Fact(f"Redis {info['redis_version']}")

    return probe


def mongo_probe(url: str) -> Probe:
    """In a thread: PyMongo's async client leaks its monitor's socket when it is closed while that connects."""
    from pymongo import MongoClient
    from pymongo.errors import PyMongoError

    def version() -> str:
        with MongoClient[dict[str, object]](url, serverSelectionTimeoutMS=500, connectTimeoutMS=2000) as client:
            return str(client.admin.command("buildInfo")["version"])

    async def probe(_pid: int | None) -> Fact:
        try:
            return Fact(f"MongoDB protocol {await asyncio.to_thread(version)}")
        except (PyMongoError, OSError) as error:
            raise NotReady(f"does not answer ({type(error).__name__})") from None

    return probe


def temporal_probe(connect: Connect, namespace: str) -> Probe:
    from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, GetSystemInfoRequest
    from temporalio.service import RPCError

    async def probe(_pid: int | None) -> Fact:
        client = await _connected(connect)
        try:
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
            info = await client.workflow_service.get_system_info(GetSystemInfoRequest())
        except RPCError as error:
            raise NotReady(_one_line(error)) from None
        return Fact(f"Temporal {info.server_version}")

    return probe


def worker_probe(connect: Connect, namespace: str, task_queue: str) -> Probe:
    """Ready when the process polls its task queue: Temporal names each poller `PID@HOST`."""
    from temporalio.api.enums.v1 import TaskQueueType
    from temporalio.api.taskqueue.v1 import TaskQueue
    from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
    from temporalio.service import RPCError

    async def probe(pid: int | None) -> Fact:
        client = await _connected(connect)
        request = DescribeTaskQueueRequest(
            namespace=namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        try:
            answer = await client.workflow_service.describe_task_queue(request)
        except RPCError as error:
            raise NotReady(f"Temporal: {_one_line(error)}") from None
        if not any(poller.identity.startswith(f"{pid}@") for poller in answer.pollers):
            raise NotReady(f"does not poll the task queue {task_queue!r} yet")
        return Fact(f"polls {task_queue!r}")

    return probe


async def _connected(connect: Connect) -> "Client":
    try:
        return await connect()
    except RuntimeError:  # the SDK's way to say that nobody answers
        raise NotReady("does not answer") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
