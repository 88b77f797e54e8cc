"""Temporal's connections stand, and nothing comes back."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from studio.contracts.base import JsonObject
from tests.api.conftest import Live, open_live
from tests.cli.support.proxy import Proxy
from tests.support.databases import sqlite_database

ECHO: JsonObject = {"id": "echo", "transform": "${{ input }}"}


@pytest.fixture
async def proxy(temporal_address: str) -> AsyncGenerator[Proxy]:
    async with Proxy(f"http://{temporal_address}") as between:
        yield between


@pytest.fixture
async def frozen(tmp_path: Path, proxy: Proxy, redis_url: str) -> AsyncGenerator[Live]:
    """No worker."""
    address = proxy.url.removeprefix("http://")
    async with open_live(tmp_path, address, redis_url, sqlite_database(tmp_path), worker=False) as running:
        yield running


class TestFrozenTemporal:
    async def test_a_start_of_unknown_fate_keeps_its_key(self, frozen: Live, proxy: Proxy) -> None:
        await frozen.workflow(ECHO)
        first = await frozen.start()
        proxy.freeze()
        key = {"Idempotency-Key": "k"}
        start = frozen.api.request("POST", "/workflows/test/runs", {"input": 1}, headers=key)
        cancel = frozen.api.post(f"/runs/{first}/cancel")
        started, cancelled = await asyncio.gather(start, cancel)
        assert started.problem(503, "dependency-unavailable")["dependency"] == "temporal"
        assert cancelled.problem(503, "dependency-unavailable")["dependency"] == "temporal"
        listed = (await frozen.api.get("/runs")).ok()["items"]
        queued = [run["id"] for run in listed if run["id"] != first]
        assert len(queued) == 1

        proxy.thaw()
        again = await frozen.api.request("POST", "/workflows/test/runs", {"input": 1}, headers=key)
        assert again.ok(202)["id"] == queued[0]
