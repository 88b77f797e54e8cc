"""Redis hangs, is gone, or holds what nobody understands: runs go on at their own speed."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis.asyncio import Redis

from cli.stack import parts
from studio.contracts.base import JsonObject
from studio.store.event_stream import OPERATION_SECONDS
from tests.api.conftest import Live, open_live
from tests.support.databases import sqlite_database
from tests.support.ports import free_port
from tests.support.servers import Server

STEPS: list[JsonObject] = [
    {"id": f"s{number}", "agent": {"message": "{{ input }}"}, "input": f"{number}"}
    | ({"cache": {"ttl": "1h"}} if number % 2 else {})
    for number in range(12)
]


@asynccontextmanager
async def on_redis_of_its_own(folder: Path, temporal_address: str) -> AsyncGenerator[tuple[Live, Server]]:
    server = Server(parts.redis(free_port(), None), folder / "redis.log")
    async with (
        server,
        open_live(folder, temporal_address, server.part.address, sqlite_database(folder)) as live,
    ):
        await live.workflow(*STEPS)
        await succeeded(live, await live.start())  # everything is warm
        yield live, server


async def succeeded(live: Live, run_id: str) -> None:
    run = await live.api.until(f"/runs/{run_id}", lambda run: run["ended_at"] is not None)
    assert run["status"] == "succeeded"


class TestRedisAway:
    async def test_frozen_it_costs_a_run_one_timeout_and_the_next_nothing(
        self, tmp_path: Path, temporal_address: str
    ) -> None:
        async with on_redis_of_its_own(tmp_path, temporal_address) as (live, server):
            server.freeze()
            try:
                began = time.monotonic()
                run_id = await live.start()
                started = time.monotonic() - began
                await succeeded(live, run_id)
                first = time.monotonic() - began
                await succeeded(live, await live.start())
                second = time.monotonic() - began - first
            finally:
                server.thaw()
            # The API, the worker's events and its answer cache each find out once; a write each would take 50 s.
            assert started < 2 * OPERATION_SECONDS
            assert first < 5 * OPERATION_SECONDS
            assert second < 2 * OPERATION_SECONDS
            await came_back(live)

    async def test_killed_it_is_found_again_by_itself(self, tmp_path: Path, temporal_address: str) -> None:
        async with on_redis_of_its_own(tmp_path, temporal_address) as (live, server):
            await server.die()
            await succeeded(live, await live.start())
            await server.start()
            await came_back(live)


async def came_back(live: Live) -> None:
    """Events are published again, by the API and by the worker, without a restart."""
    async with asyncio.timeout(15):
        while True:
            run_id = await live.start()
            await succeeded(live, run_id)
            try:
                seen = {event.type for event in await live.engine.stream.read(run_id)}
            except OSError:
                continue
            if {"run.started", "step.started", "token", "run.succeeded"} <= seen:
                return


class TestJunkInTheStream:
    @pytest.mark.parametrize(
        "entry",
        [{"x": "1"}, {"e": "not JSON"}, {"e": "[]"}, {"e": "7"}, {"e": "{}"}, {"e": "[" * 5000}, {"e": b"\xff"}],
        ids=["no event", "no JSON", "a list", "a number", "empty", "deep", "no text"],
    )
    async def test_is_left_out(self, lite: Live, entry: dict[str, str | bytes]) -> None:
        await lite.workflow({"id": "a", "transform": "${{ input }}"})
        run_id = await lite.start(input=1)
        await lite.api.finished(run_id)
        async with Redis.from_url(lite.engine.settings.redis_url) as redis:
            await redis.xadd(f"studio:run:{{{run_id}}}:events", entry)  # pyright: ignore[reportArgumentType]
        answer = await lite.api.request("GET", f"/runs/{run_id}/events", headers={"Accept": "application/json"})
        assert [event["type"] for event in answer.ok()["items"]][-1] == "run.succeeded"
