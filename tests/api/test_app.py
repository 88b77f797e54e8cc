import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Self

import aiohttp
import pytest

from cli.stack import parts
from studio.db.migrate import migrate
from tests.support.databases import postgres_database, sqlite_database
from tests.support.object_store import new_bucket
from tests.support.ports import free_port
from tests.support.servers import running
from tests.support.services import SECRET_KEY, RunningApi, api_settings, serving_api


class TestReady:
    async def test_all_there(self, tmp_path: Path, temporal_address: str, redis_url: str, database_url: str) -> None:
        settings = api_settings(
            tmp_path, temporal_address=temporal_address, redis_url=redis_url, database_url=database_url
        )
        async with serving_api(settings) as api:
            ready = (await api.get("//health/ready")).ok()
            assert ready["status"] == "ready"
            assert {part["name"] for part in ready["dependencies"]} == {"database", "temporal", "redis"}
            assert (await api.get("//health/live")).ok()["status"] == "live"

    async def test_names_who_is_away_and_starts_without_them(self, api: RunningApi) -> None:
        answer = await api.get("//health/ready")
        assert answer.status == 503
        assert answer.headers["retry-after"]
        assert answer.json["down"] == ["temporal"]
        assert [one["dependency"] for one in answer.json["degraded"]] == ["redis"]
        assert (await api.get("/agents")).ok()["items"] == []

    async def test_a_blob_store_is_named_when_there_is_one(self, tmp_path: Path, s3_endpoint: str) -> None:
        url = await new_bucket(s3_endpoint)
        for blob_url, ready in ((url, True), (url.replace("s3://test-", "s3://gone-"), False)):
            settings = api_settings(tmp_path, database_url=sqlite_database(tmp_path), blob_url=blob_url)
            async with serving_api(settings) as api:
                degraded = (await api.get("//health/ready")).json["degraded"]
            assert ("blob-store" not in {one["dependency"] for one in degraded}) is ready

    async def test_schema_is_missing(self, tmp_path: Path, database_url: str) -> None:
        settings = api_settings(tmp_path, database_url=database_url)
        async with serving_api(settings, migrated=False) as api:
            ready = (await api.get("//health/ready")).json
            detail = next(part["detail"] for part in ready["dependencies"] if part["name"] == "database")
            assert "studio migrate" in detail
            problem = (await api.get("/agents")).problem(503, "dependency-unavailable")
            assert problem["dependency"] == "database"
            assert "studio migrate" in problem["detail"]
            await migrate(settings)
            assert (await api.get("/agents")).ok()["items"] == []
            assert "database" not in (await api.get("//health/ready")).json["down"]

    async def test_temporal_comes_later(self, tmp_path: Path) -> None:
        part = parts.temporal(free_port(), None, None)
        settings = api_settings(tmp_path, temporal_address=part.address, database_url=sqlite_database(tmp_path))
        async with serving_api(settings) as api:
            assert "temporal" in (await api.get("//health/ready")).json["down"]
            workflow = {"name": "w", "pattern": "sequential", "steps": [{"id": "s", "transform": 1}]}
            (await api.post("/workflows", workflow)).ok(201)
            (await api.post("/workflows/w/runs", {})).problem(503, "dependency-unavailable")
            with running(part, tmp_path / "temporal.log"):
                assert "temporal" not in (await api.get("//health/ready")).json["down"]
                run = (await api.post("/workflows/w/runs", {})).ok(202)
                assert (await api.get(f"/runs/{run['id']}")).ok()["status"] == "queued"

    async def test_database_goes_and_comes_back(self, tmp_path: Path, postgres_url: str) -> None:
        """Through a door that closes: the server itself is shared."""
        url = postgres_database(postgres_url)
        async with Door(url) as door, serving_api(api_settings(tmp_path, database_url=door.url)) as api:
            (await api.post("/agents", {"name": "a"})).ok(201)
            await door.close()
            assert "database" in (await api.get("//health/ready")).json["down"]
            problem = (await api.get("/agents/a")).problem(503, "dependency-unavailable")
            assert problem["dependency"] == "database"
            (await api.post("/agents", {"name": "b"})).problem(503, "dependency-unavailable")
            await door.open()
            assert (await api.get("/agents/a")).ok()["name"] == "a"


class Door:
    """A TCP forwarder in front of PostgreSQL that can be shut."""

    def __init__(self, url: str) -> None:
        before, _, after = url.rpartition("@")
        host, _, self._database = after.partition("/")
        self._target = host.split(":")
        self._before = before
        self._port = free_port()
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = f"{before}@127.0.0.1:{self._port}/{self._database}"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.close()

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self._port)

    async def close(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_connection(self._target[0], int(self._target[1]))
        try:
            await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))
        finally:
            writer.close()
            far_writer.close()
            self._tasks.discard(task)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


class TestDocs:
    async def test_pages(self, api: RunningApi) -> None:
        assert (await api.get("//docs")).status == 200
        document = (await api.get("//openapi.json")).ok()
        operations = [operation for path in document["paths"].values() for operation in path.values()]
        assert all(operation.get("summary") for operation in operations)
        assert "application/problem+json" in document["paths"]["/api/v1/agents"]["post"]["responses"]["409"]["content"]
        assert "application/yaml" in document["paths"]["/api/v1/apply"]["post"]["requestBody"]["content"]
        assert b"studio_http_request_duration_seconds" in (await api.get("//metrics")).body


async def spawn(environment: dict[str, str], folder: Path) -> asyncio.subprocess.Process:
    path = {"PATH": os.environ["PATH"]}  # noqa: TID251 - a child's environment
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "api"), env=path | environment, cwd=folder, stderr=asyncio.subprocess.PIPE
    )


class TestProcess:
    async def test_refuses_to_start_without_its_settings(self, tmp_path: Path) -> None:
        process = await spawn({"STUDIO_PORT": "none"}, tmp_path)
        _, errors = await process.communicate()
        assert process.returncode == 2
        text = errors.decode()
        assert "STUDIO_REDIS_URL is not set" in text
        assert "STUDIO_PORT is 'none'" in text
        assert "Traceback" not in text

    @pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT])
    async def test_serves_and_stops(self, tmp_path: Path, kind: signal.Signals) -> None:
        port = free_port()
        environment = {
            "STUDIO_PORT": str(port),
            "STUDIO_REDIS_URL": "redis://127.0.0.1:1",
            "STUDIO_TEMPORAL_ADDRESS": "127.0.0.1:1",
            "STUDIO_SECRET_KEYS": SECRET_KEY.get_secret_value(),
        }
        process = await spawn(environment, tmp_path)
        try:
            async with aiohttp.ClientSession() as http, asyncio.timeout(30):
                while True:
                    try:
                        async with http.get(f"http://127.0.0.1:{port}/health/live") as answer:
                            assert answer.status == 200
                            break
                    except aiohttp.ClientConnectionError:
                        await asyncio.sleep(0.1)
            process.send_signal(kind)
            async with asyncio.timeout(10):
                _, errors = await process.communicate()
            assert b"Traceback" not in errors
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
