from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.support.databases import postgres_database, sqlite_database
from tests.support.services import RunningApi, api_settings, serving_api


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_database(tmp_path)
    return postgres_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def api(tmp_path: Path, database_url: str) -> AsyncGenerator[RunningApi]:
    """Over SQL alone: Temporal, Redis and the prompt engine are away."""
    async with serving_api(api_settings(tmp_path, database_url=database_url)) as running:
        yield running
