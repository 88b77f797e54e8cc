from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.support.databases import postgres_database, sqlite_database
from tests.support.platform import Engine, open_engine, scripted_llm_engine, worker_settings
from tests.support.span_sink import SpanSink


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return sqlite_database(tmp_path)
    return postgres_database(request.getfixturevalue("postgres_url"))


@pytest.fixture
async def engine(
    tmp_path: Path, temporal_address: str, redis_url: str, database_url: str
) -> AsyncGenerator[Engine, None]:
    async with SpanSink() as spans, scripted_llm_engine(spans.url) as (llm_url, upstream):
        settings = worker_settings(
            tmp_path,
            temporal_address=temporal_address,
            redis_url=redis_url,
            database_url=database_url,
            llm_url=llm_url,
            prompt_url=spans.url,
            worker_max_activities=4,
        )
        async with open_engine(settings, upstream, spans) as running:
            yield running
