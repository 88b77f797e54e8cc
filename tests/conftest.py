"""Servers that the whole test session shares: each one starts on a free port when first asked for."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from cli.stack import parts
from studio.heap import settle_heap
from tests.support.databases import postgres_database, sqlite_database
from tests.support.object_store import CREDENTIALS, object_store
from tests.support.ports import free_port
from tests.support.postgres import postgres
from tests.support.prompt_engine import Project, migrated, project, prompt_engine
from tests.support.servers import running

LONGEST = (
    "test_examples",
    "test_full_stack",
    "test_outages",
    "test_against_model",
    "test_up",
    "test_kills",
    "test_pressure",
    "test_large",
    "test_batches",
    "test_drain",
    "test_every_part",
    "test_parity",
    "test_patterns",
    "test_payload_sizes",
    "test_sequential",
    "test_long_runs",
)


SERVERS = frozenset(
    {
        *("redis_url", "mongo_url", "temporal_address", "hasty_temporal", "model_url", "embeddings_url"),
        *("postgres_url", "either_database", "s3_endpoint", "prompt_mongo", "prompt_url", "studio", "place"),
    }
)
PROCESSES = frozenset({"e2e", "stack", "fuzz", "sdk"})
"""Folders of tests that start processes themselves."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="only what starts no server")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The files that take longest come first: else one process is still at them when the others have nothing left."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(places)))
    if config.getoption("--quick"):
        items[:] = [item for item in items if _is_quick(item)]


def _is_quick(item: pytest.Item) -> bool:
    fixtures = frozenset(cast("pytest.Function", item).fixturenames)
    return fixtures.isdisjoint(SERVERS) and PROCESSES.isdisjoint(item.path.parts) and item.path.stem not in LONGEST


@pytest.fixture(scope="module", autouse=True)
def settled_heap() -> None:
    """As in a worker: after a thousand tests a full collection lasts so long that a workflow seems to hang."""
    settle_heap()


@pytest.fixture(scope="session")
def server_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def redis_url(server_logs: Path) -> Iterator[str]:
    with running(parts.redis(free_port(), None), server_logs / "redis.log") as part:
        yield part.address


@pytest.fixture(scope="session")
def mongo_url(server_logs: Path) -> Iterator[str]:
    with running(parts.mongo(free_port(), None), server_logs / "mongo.log") as part:
        yield part.address


@pytest.fixture(scope="session")
def temporal_address(server_logs: Path) -> Iterator[str]:
    """In memory, with the tuned flags and the search attributes of the embedded stack."""
    with running(parts.temporal(free_port(), None, None), server_logs / "temporal.log") as part:
        yield part.address


@pytest.fixture(scope="session")
def hasty_temporal(server_logs: Path) -> Iterator[str]:
    """One that suggests to continue as new after 60 events."""
    part = parts.temporal(free_port(), None, None)
    flag = "limit.historyCount.suggestContinueAsNew=60"
    hasty = replace(part, command=(*part.command, "--dynamic-config-value", flag))
    with running(hasty, server_logs / "hasty-temporal.log") as started:
        yield started.address


@pytest.fixture(scope="session")
def model_url(server_logs: Path) -> Iterator[str]:
    """SmolLM2 on llama.cpp: an OpenAI-compatible base URL without `/v1`; the model's name is `smollm2`."""
    with running(parts.model(free_port()), server_logs / "model.log") as part:
        yield part.address


@pytest.fixture(scope="session")
def embeddings_url(server_logs: Path) -> Iterator[str]:
    with running(parts.embeddings(free_port()), server_logs / "embeddings.log") as part:
        yield part.address


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """PostgreSQL 18, SQLAlchemy URL with psycopg; the database `postgres` of its superuser `postgres`."""
    with tempfile.TemporaryDirectory(prefix="studio-postgres-") as folder, postgres(Path(folder)) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def either_database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database: the test runs once with each engine."""
    if request.param == "sqlite":
        return sqlite_database(tmp_path)
    return postgres_database(request.getfixturevalue("postgres_url"))


@pytest.fixture(scope="session")
def s3_endpoint(server_logs: Path) -> Iterator[str]:
    """An S3-compatible server; its credentials are in the environment."""
    with pytest.MonkeyPatch.context() as patch, object_store(server_logs / "s3.log") as endpoint:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield endpoint


@pytest.fixture(scope="session")
def prompt_mongo(mongo_url: str) -> str:
    """A migrated MongoDB."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, migrated(mongo_url)).result()
    return mongo_url


@pytest.fixture(scope="session")
def prompt_url(prompt_mongo: str, redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One prompt engine for all."""
    folder = tmp_path_factory.mktemp("prompts")
    with prompt_engine(folder, mongo_url=prompt_mongo, redis_url=redis_url) as url:
        yield url


@pytest.fixture
async def prompts(prompt_url: str) -> AsyncGenerator[Project]:
    """A project of its own for each test."""
    async with project(prompt_url) as mine:
        yield mine
