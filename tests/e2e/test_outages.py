"""Redis, PostgreSQL and Temporal die under runs and come back: all goes on, and nobody restarts anything of ours."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from redis.asyncio import Redis

from cli.stack import parts
from studio.contracts.base import JsonObject
from tests.api.conftest import Live, open_live
from tests.support.databases import sqlite_database
from tests.support.ports import free_port
from tests.support.postgres import prepared_postgres
from tests.support.scripted_upstream import Reply
from tests.support.servers import Server
from tests.support.services import Answer

OUTAGE_SECONDS = 7.0
"""Longer than any connection or operation may take."""
STEPS: list[JsonObject] = [
    {"id": name, "agent": {"message": f"{{{{ input }}}} {name}"}, "input": "${{ input }}"} for name in "abc"
]


@asynccontextmanager
async def watching(live: Live, run_id: str) -> AsyncGenerator[asyncio.Task[list[str]]]:
    """Reads the run's events from now on; the task ends, with their types and steps, when the stream does."""

    async def read() -> list[str]:
        async with live.api.http.get(f"/api/v1/runs/{run_id}/events") as answer:
            opened.set_result(answer.status)
            lines = [line async for line in answer.content]
        events = [orjson.loads(line.removeprefix(b"data: ")) for line in lines if line.startswith(b"data: ")]
        return [f"{event['type']} {event['step_id'] or ''}".strip() for event in events if event["type"] != "token"]

    opened = asyncio.get_running_loop().create_future()
    reading = asyncio.create_task(read())
    try:
        assert await opened == 200
        yield reading
    finally:
        reading.cancel()


async def until_read(live: Live) -> None:
    """Wait until the process that serves the readers waits for events in Redis."""
    async with asyncio.timeout(10), Redis.from_url(live.engine.settings.redis_url) as redis:
        while (await redis.info("clients"))["blocked_clients"] < 1:  # noqa: ASYNC110 - Redis tells nobody
            await asyncio.sleep(0.02)


@asynccontextmanager
async def outage(live: Live, server: Server) -> AsyncGenerator[dict[str, str]]:
    """The block runs while the server is away. Of two runs with a call under way when it dies, `early` may end at once,
    and `late` has another call to make after the outage; both end well, and who watched them from before hears of it.
    """
    for call in ("early b", "late b", "late c"):
        live.upstream.when(call, Reply(text="one two", hold_after=1), Reply(text="one two"))
    runs = {name: await live.start(input=name) for name in ("early", "late")}
    await live.upstream.wait_for_calls(2, "held")
    async with watching(live, runs["early"]) as early, watching(live, runs["late"]) as late:
        await until_read(live)
        await server.die()
        live.upstream.release()
        away_until = asyncio.get_running_loop().time() + OUTAGE_SECONDS
        yield runs
        await asyncio.sleep(away_until - asyncio.get_running_loop().time())
        await server.start()
        await live.upstream.wait_for_calls(1, "held")
        live.upstream.release()
        await assert_ends(live, runs["early"], early)
        await assert_ends(live, runs["late"], late)


async def assert_ends(live: Live, run_id: str, reader: "asyncio.Task[list[str]]") -> None:
    async with asyncio.timeout(60):
        told = await reader
    assert told[-1] == "run.succeeded"
    assert told.count("run.succeeded") == 1
    assert {f"step.succeeded {step}" for step in "abc"} <= set(told)
    assert (await live.api.get(f"/runs/{run_id}")).ok()["status"] == "succeeded"


def assert_unavailable(answer: Answer, dependency: str) -> None:
    assert answer.problem(503, "dependency-unavailable")["dependency"] == dependency
    assert int(answer.headers["retry-after"]) > 0


async def events(live: Live, run_id: str) -> Answer:
    return await live.api.request("GET", f"/runs/{run_id}/events", headers={"Accept": "application/json"})


@dataclass(frozen=True)
class Fragile:
    """An engine, and the server under it that will die."""

    live: Live
    server: Server


@asynccontextmanager
async def fragile(server: Server, folder: Path, temporal: str, redis: str, database: str) -> AsyncGenerator[Fragile]:
    async with server, open_live(folder, temporal, redis, database) as live:
        await live.workflow(*STEPS)
        yield Fragile(live, server)


@pytest.fixture
async def on_redis(tmp_path: Path, temporal_address: str) -> AsyncGenerator[Fragile]:
    """Redis comes back empty."""
    folder = tmp_path / "on-redis"
    folder.mkdir()
    part = parts.redis(free_port(), None)
    server = Server(part, folder / "redis.log")
    async with fragile(server, folder, temporal_address, part.address, sqlite_database(folder)) as running:
        yield running


@pytest.fixture
async def on_temporal(tmp_path: Path, redis_url: str) -> AsyncGenerator[Fragile]:
    folder = tmp_path / "on-temporal"
    folder.mkdir()
    part = parts.temporal(free_port(), None, folder / "temporal.db")
    server = Server(part, folder / "temporal.log")
    async with fragile(server, folder, part.address, redis_url, sqlite_database(folder)) as running:
        yield running


@pytest.fixture
async def on_postgres(temporal_address: str, redis_url: str) -> AsyncGenerator[Fragile]:
    with tempfile.TemporaryDirectory(prefix="studio-postgres-") as name:  # where the user of its own can get at it
        folder = Path(name)
        part, user = prepared_postgres(folder)
        server = Server(part, folder / "postgres.log", user=user, death=signal.SIGQUIT)
        async with fragile(server, folder, temporal_address, redis_url, part.address) as running:
            yield running


async def redis_dies(live: Live, redis: Server) -> None:
    async with outage(live, redis) as runs:
        assert_unavailable(await events(live, runs["late"]), "redis")
        started = await live.api.post("/workflows/test/runs", {"input": "meanwhile"}, wait=30)
        assert started.ok(200)["status"] == "succeeded"
        story = (await events(live, started.json["id"])).ok()["items"]
        assert story[-1]["type"] == "run.succeeded"
        await live.api.until(f"/runs/{runs['early']}", lambda run: run["status"] == "succeeded")


async def temporal_dies(live: Live, temporal: Server) -> None:
    async def start() -> Answer:
        key = {"Idempotency-Key": "the same"}
        return await live.api.request("POST", "/workflows/test/runs", {"input": "queued"}, headers=key)

    async with outage(live, temporal) as runs:
        assert_unavailable(await start(), "temporal")
        assert_unavailable(await live.api.post(f"/runs/{runs['late']}/cancel"), "temporal")
        assert (await live.api.get(f"/runs/{runs['late']}")).ok()["status"] == "running"
    assert (await live.api.finished((await start()).ok(202)["id"]))["status"] == "succeeded"
    answered = [call.text for call in live.upstream.calls if call.outcome == "answered"]
    assert len(answered) == len(set(answered)) == 9  # also those whose end could not be told to Temporal


async def postgres_dies(live: Live, postgres: Server) -> None:
    async with outage(live, postgres) as runs:
        assert_unavailable(await live.api.get(f"/runs/{runs['early']}"), "database")
        assert_unavailable(await live.api.post("/workflows/test/runs", {"input": "not now"}), "database")
        assert (await live.api.get("//health/ready")).status == 503


class TestOutages:
    async def test_runs_outlive_each(self, on_redis: Fragile, on_temporal: Fragile, on_postgres: Fragile) -> None:
        """Side by side: they mostly wait."""
        async with asyncio.TaskGroup() as together:
            together.create_task(redis_dies(on_redis.live, on_redis.server))
            together.create_task(temporal_dies(on_temporal.live, on_temporal.server))
            together.create_task(postgres_dies(on_postgres.live, on_postgres.server))
