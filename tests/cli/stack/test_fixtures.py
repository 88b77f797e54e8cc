"""The session's servers answer."""

import aiohttp
import pytest
from pymongo import AsyncMongoClient
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from temporalio.client import Client


class TestServers:
    async def test_redis(self, redis_url: str) -> None:
        async with Redis.from_url(redis_url) as client:
            assert await client.ping()

    async def test_mongo(self, mongo_url: str) -> None:
        async with AsyncMongoClient[dict[str, object]](mongo_url) as client:
            await client["fixtures"]["c"].insert_one({"_id": 1})
            assert await client["fixtures"]["c"].find_one({}) == {"_id": 1}

    async def test_temporal(self, temporal_address: str) -> None:
        client = await Client.connect(temporal_address)
        assert [run async for run in client.list_workflows("StudioSession = 'none'")] == []

    async def test_postgres(self, postgres_url: str) -> None:
        engine = create_async_engine(postgres_url)
        async with engine.connect() as connection:
            assert await connection.scalar(text("select 41 + 1")) == 42
        await engine.dispose()

    @pytest.mark.parametrize("server", ["model_url", "embeddings_url"])
    async def test_models(self, server: str, request: pytest.FixtureRequest) -> None:
        url = request.getfixturevalue(server)
        async with aiohttp.ClientSession() as session, session.get(f"{url}/v1/models") as answer:
            assert answer.status == 200
