import asyncio
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from studio.contracts.base import Json, JsonObject
from studio.contracts.ids import IdPrefix, new_id
from tests.support.databases import sqlite_database
from tests.support.platform import Engine, open_engine, scripted_llm_engine, worker_settings
from tests.support.prompt_engine import migrated, prompt_engine
from tests.support.scripted_upstream import ScriptedUpstream
from tests.support.services import SECRET_KEY, RunningApi, api_settings, serving_api
from tests.support.span_sink import SpanSink


@pytest.fixture
def database_url(either_database: str) -> str:
    return either_database


@pytest.fixture
async def api(tmp_path: Path, database_url: str) -> AsyncGenerator[RunningApi]:
    """Over SQL alone: Temporal, Redis and the prompt engine are away."""
    async with serving_api(api_settings(tmp_path, database_url=database_url)) as running:
        yield running


@dataclass(frozen=True)
class Live:
    """The API, with the engine (whose worker runs unless a test asks for none) on the same database and task queue."""

    api: RunningApi
    engine: Engine

    @property
    def upstream(self) -> ScriptedUpstream:
        return self.engine.upstream

    async def workflow(self, *steps: JsonObject, name: str = "test", **fields: Json) -> JsonObject:
        document = {"name": name, "pattern": "sequential", "steps": list(steps), **fields}
        return (await self.api.post("/workflows", document)).ok(201)

    async def start(self, **body: Json) -> str:
        """A run of the workflow `test`; its id."""
        return (await self.api.post("/workflows/test/runs", body)).ok(202)["id"]


@asynccontextmanager
async def open_live(
    folder: Path, temporal_address: str, redis_url: str, database_url: str, *, worker: bool = True
) -> AsyncGenerator[Live]:
    async with SpanSink() as spans, scripted_llm_engine(spans.url) as (llm_url, upstream):
        shared: dict[str, Any] = {
            "temporal_address": temporal_address,
            "redis_url": redis_url,
            "database_url": database_url,
            "secret_keys": [SECRET_KEY],
            "prompt_url": spans.url,
            "temporal_task_queue": new_id(IdPrefix.RUN),
        }
        settings = worker_settings(folder, llm_url=llm_url, **shared)
        async with (
            open_engine(settings, upstream, spans, worker=worker) as engine,
            serving_api(api_settings(folder, temporal_ui_url="http://ui", **shared), migrated=False) as api,
        ):
            yield Live(api, engine)


@pytest.fixture
async def live(tmp_path: Path, temporal_address: str, redis_url: str, database_url: str) -> AsyncGenerator[Live]:
    async with open_live(tmp_path, temporal_address, redis_url, database_url) as running:
        yield running


@pytest.fixture
async def lite(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Live]:
    """As `live`, on SQLite alone: where the database makes no difference."""
    async with open_live(tmp_path, temporal_address, redis_url, sqlite_database(tmp_path)) as running:
        yield running


@pytest.fixture
async def idle(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Live]:
    """No worker: runs stay queued."""
    url = sqlite_database(tmp_path)
    async with open_live(tmp_path, temporal_address, redis_url, url, worker=False) as running:
        yield running


@pytest.fixture(scope="session")
def prompt_url(mongo_url: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The prompt engine, shared: each test names a project of its own."""
    folder = tmp_path_factory.mktemp("api-prompts")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, migrated(mongo_url)).result()
    with prompt_engine(folder, mongo_url=mongo_url, redis_url=redis_url) as url:
        yield url


@pytest.fixture
async def whole(tmp_path: Path, database_url: str, prompt_url: str) -> AsyncGenerator[RunningApi]:
    """Over SQL and the prompt engine."""
    settings = api_settings(tmp_path, database_url=database_url, prompt_url=prompt_url)
    async with serving_api(settings) as running:
        yield running
