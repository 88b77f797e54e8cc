"""What callers see of the cache: across processes, and when a dependency is gone."""

import asyncio
from collections.abc import Generator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from redis.asyncio import Redis

from cli.stack import parts
from cli.stack.probes import http_probe
from tests.support.ports import free_port
from tests.support.prompt_engine import Project, eventually, migrated, project, prompt_engine
from tests.support.servers import running


class TestPromoteAcrossProcesses:
    async def test_when_promote_has_answered_no_process_serves_the_old_version(
        self, prompts: Project, small_payload_url: str
    ):
        await prompts.create(template="1")
        for version in range(2, 22):
            await prompts.add_version(str(version))
        current = 1
        stop = asyncio.Event()
        stale: list[tuple[int, str]] = []

        async def read(at: str) -> None:
            while not stop.is_set():
                promoted = current
                text = (await prompts.render({}, at=at)).body["text"]
                if int(text) < promoted:
                    stale.append((promoted, text))

        readers = [asyncio.create_task(read(at)) for at in (prompts.url, small_payload_url) for _ in range(4)]
        for version in range(2, 22):
            assert (await prompts.promote(version)).status == 200
            current = version
        stop.set()
        await asyncio.gather(*readers)
        assert stale == []

    async def test_the_other_process_hits_what_the_promotion_wrote(self, prompts: Project, small_payload_url: str):
        await prompts.create(template="one")
        await prompts.add_version("two")
        await prompts.promote(2)
        found = await prompts.get("prompts/greet/resolve", at=small_payload_url)
        assert found["version"] == 2
        assert (await prompts.get("prompts/greet/resolve", at=small_payload_url))["cache"] == "hit"

    async def test_forgetting_everything_costs_a_miss(self, prompts: Project, redis_url: str):
        await prompts.create(template="one")
        await prompts.get("prompts/greet/resolve")
        async with Redis.from_url(redis_url) as redis:  # pyright: ignore[reportUnknownMemberType]
            assert await redis.delete(*await keys_of(redis, prompts.id)) > 0
        states = [(await prompts.get("prompts/greet/resolve"))["cache"] for _ in range(2)]
        assert states == ["miss", "hit"]


class TestDependenciesThatDie:
    async def test_the_engine_starts_without_them_and_comes_back_by_itself(self, tmp_path: Path):
        mongo_port, redis_port = free_port(), free_port()
        mongo_url = f"mongodb://127.0.0.1:{mongo_port}"
        env = {
            "STUDIO_MONGO_URL": mongo_url,
            "STUDIO_MONGO_DATABASE": "prompts_test",
            "STUDIO_REDIS_URL": f"redis://127.0.0.1:{redis_port}",
            "STUDIO_CLICKHOUSE_URL": "clickhouse://127.0.0.1:9/traces",
        }
        part = parts.service("prompts", "prompt_service", "127.0.0.1", free_port(), env, ())
        alive = replace(part, probe=http_probe(f"{part.address}/health/live"))
        with running(alive, tmp_path / "engine.log"):
            async with project(part.address) as prompts:
                assert await missing(prompts) == (503, {"mongo", "clickhouse"}, {"redis"})
                answer = await prompts.call("GET", "prompts/greet")
                assert (answer.status, answer.body["dependency"]) == (503, "mongo")
                assert answer.headers["Retry-After"]
                refused = await prompts.call("POST", "traces", {"spans": [{"name": "bad"}]})
                assert (refused.status, refused.body["dependency"]) == (503, "clickhouse")
                assert (await prompts.call("GET", "traces")).status == 503
                with mongo_server(tmp_path, mongo_port), redis_server(tmp_path, redis_port):
                    assert (await prompts.call("POST", "prompts", {"name": "early"})).status == 503
                    await migrated(mongo_url)
                    await eventually(lambda: only_degraded(prompts, "clickhouse"))
                    await prompts.create(template="back")
                    assert (await prompts.render({})).body["text"] == "back"

    async def test_without_redis_everything_is_still_right(self, tmp_path: Path, prompt_mongo: str):
        port = free_port()
        url = f"redis://127.0.0.1:{port}"
        async with AsyncExitStack() as connections:
            stack = connections.enter_context(ExitStack())
            redis = stack.enter_context(ExitStack())
            redis.enter_context(redis_server(tmp_path, port))
            first, second = (
                stack.enter_context(prompt_engine(folder(tmp_path, name), mongo_url=prompt_mongo, redis_url=url))
                for name in ("first", "second")
            )
            prompts = await connections.enter_async_context(project(first))
            await prompts.create(template="one")
            await prompts.add_version("two")
            for at in (first, second):
                await prompts.get("prompts/greet/resolve", at=at)
                assert (await prompts.get("prompts/greet/resolve", at=at))["cache"] == "hit"
            redis.close()
            found = await prompts.get("prompts/greet/resolve")
            assert (found["cache"], found["version"]) == ("bypass", 1)
            assert (await prompts.promote(2)).status == 200
            assert [(await prompts.get("prompts/greet/resolve", at=at))["version"] for at in (first, second)] == [2, 2]
            assert await missing(prompts) == (200, set(), {"redis"})
            redis.enter_context(redis_server(tmp_path, port))  # remembers what it knew before the promotion
            states: set[str] = set()
            while "hit" not in states:
                found = [await prompts.get("prompts/greet/resolve", at=at) for at in (first, second)]
                assert {one["version"] for one in found} == {2}
                states |= {one["cache"] for one in found}


async def keys_of(redis: Any, project_id: str) -> list[bytes]:
    return [key async for key in redis.scan_iter(match=f"studio:prompt:*{project_id}*")]


def folder(parent: Path, name: str) -> Path:
    made = parent / name
    made.mkdir(exist_ok=True)
    return made


@contextmanager
def mongo_server(parent: Path, port: int) -> Generator[None]:
    with running(parts.mongo(port, folder(parent, "mongo")), parent / "mongo.log"):
        yield


@contextmanager
def redis_server(parent: Path, port: int) -> Generator[None]:
    with running(parts.redis(port, folder(parent, "redis")), parent / "redis.log"):
        yield


async def missing(prompts: Project) -> tuple[int, set[str], set[str]]:
    """The status of readiness, what is down and what is degraded."""
    async with prompts.session.get(f"{prompts.url}/health/ready") as response:
        body = await response.json()
        return response.status, set(body["down"]), {one["dependency"] for one in body["degraded"]}


async def only_degraded(prompts: Project, name: str) -> bool:
    return await missing(prompts) == (200, set(), {name})
