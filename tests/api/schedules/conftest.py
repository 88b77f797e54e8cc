from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.api.conftest import Live, open_live
from tests.support.databases import sqlite_database


@pytest.fixture
async def timed(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Live]:
    """What is stored of schedules stops firing with the test: the Temporal server is shared."""
    async with open_live(tmp_path, temporal_address, redis_url, sqlite_database(tmp_path)) as running:
        yield running
        for schedule in (await running.api.get("/schedules")).ok()["items"]:
            (await running.api.request("DELETE", f"/schedules/{schedule['id']}")).ok(204)
