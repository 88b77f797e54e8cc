"""One prompt engine for all tests here, and a project of its own for each."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.prompt_engine import Project, migrated, project, prompt_engine


@pytest.fixture(scope="session")
def prompt_mongo(mongo_url: str) -> str:
    """A migrated MongoDB."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, migrated(mongo_url)).result()
    return mongo_url


@pytest.fixture(scope="session")
def prompt_url(prompt_mongo: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prompts")
    with prompt_engine(folder, mongo_url=prompt_mongo, redis_url=redis_url) as url:
        yield url


@pytest.fixture
async def prompts(prompt_url: str) -> AsyncGenerator[Project]:
    async with project(prompt_url) as mine:
        yield mine


@pytest.fixture(scope="session")
def small_payload_url(prompt_mongo: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A second engine on the same MongoDB and Redis, which cuts payloads at 2 KiB."""
    folder = tmp_path_factory.mktemp("small")
    with prompt_engine(folder, mongo_url=prompt_mongo, redis_url=redis_url, STUDIO_TRACE_PAYLOAD_BYTES="2048") as url:
        yield url
