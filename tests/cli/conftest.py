import sys
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from studio.contracts.ids import IdPrefix, new_id
from tests.cli.support.command import Platform, Studio
from tests.cli.support.proxy import Proxy
from tests.support.databases import sqlite_database
from tests.support.platform import open_engine, scripted_llm_engine, worker_settings
from tests.support.services import SECRET_KEY, api_settings, serving_api
from tests.support.span_sink import SpanSink


@pytest.fixture(autouse=True)
def logs_apart() -> Iterator[None]:
    """The services log in this process; their lines must not end up in what the command prints."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    yield
    structlog.reset_defaults()


@pytest.fixture
async def platform(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Platform]:
    """API, worker and a scripted model, and the `studio` command in an empty folder."""
    async with SpanSink() as spans, scripted_llm_engine(spans.url) as (llm_url, upstream):
        shared: dict[str, Any] = {
            "temporal_address": temporal_address,
            "redis_url": redis_url,
            "database_url": sqlite_database(tmp_path),
            "secret_keys": [SECRET_KEY],
            "prompt_url": spans.url,
            "temporal_task_queue": new_id(IdPrefix.RUN),
        }
        engine = open_engine(worker_settings(tmp_path, llm_url=llm_url, **shared), upstream, spans)
        settings = api_settings(tmp_path, temporal_ui_url="http://temporal-ui", **shared)
        async with engine, serving_api(settings, migrated=False) as api, Proxy(api.url) as proxy:
            folder = tmp_path / "work"
            folder.mkdir()
            yield Platform(Studio(folder, proxy.url), api, upstream, proxy)


@pytest.fixture
async def definitions(tmp_path: Path) -> AsyncGenerator[Studio]:
    """The `studio` command against an API over SQL alone."""
    async with serving_api(api_settings(tmp_path)) as api:
        folder = tmp_path / "work"
        folder.mkdir()
        yield Studio(folder, api.url)
