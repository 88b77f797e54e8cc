from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from tests.support.databases import sqlite_database
from tests.support.platform import Engine, open_engine, scripted_llm_engine, worker_settings
from tests.support.span_sink import SpanSink


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """One database is enough: what goes on is in Temporal. `test_sequential.py` and `test_retention.py` use both."""
    return sqlite_database(tmp_path)


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
