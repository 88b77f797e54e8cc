from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.client import Client

from cli.stack import parts
from studio.search_attributes import SEARCH_ATTRIBUTES
from tests.support.ports import free_port
from tests.support.servers import running
from tests.support.stack import StudioCommand


@pytest.fixture
def bare_temporal(tmp_path: Path) -> Iterator[str]:
    """A server that does not know our search attributes."""
    part = parts.temporal(free_port(), None, None)
    bare = replace(part, command=part.command[: part.command.index("--search-attribute")])
    with running(bare, tmp_path / "temporal.log") as server:
        yield server.address


class TestMigrate:
    async def test_every_store(self, studio: StudioCommand, redis_url: str, mongo_url: str, bare_temporal: str) -> None:
        env = {
            "STUDIO_REDIS_URL": redis_url,
            "STUDIO_MONGO_URL": mongo_url,
            "STUDIO_MONGO_DATABASE": "test_migrate",
            "STUDIO_DATABASE_URL": f"sqlite+aiosqlite:///{studio.data.parent / 'migrated.db'}",
            "STUDIO_TEMPORAL_ADDRESS": bare_temporal,
        }
        answer = studio.run("migrate", "--data", str(studio.data), **env)
        assert answer.returncode == 0, answer.stderr
        assert "database: migrated to" in answer.stdout
        client = await Client.connect(bare_temporal)
        found = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
        assert set(SEARCH_ATTRIBUTES) <= set(found.custom_attributes)
        again = studio.run("migrate", "--data", str(studio.data), **env)
        assert again.returncode == 0, again.stderr
        assert "database: already at" in again.stdout

    def test_a_server_that_is_down_is_named(self, studio: StudioCommand) -> None:
        address = f"127.0.0.1:{studio.port_base}"
        answer = studio.run("migrate", "--data", str(studio.data), STUDIO_TEMPORAL_ADDRESS=address)
        assert answer.returncode == 3
        assert f"temporal at {address} cannot be reached" in answer.stdout + answer.stderr
