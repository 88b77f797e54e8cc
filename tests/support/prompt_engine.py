"""A prompt engine as a process of its own (chDB belongs to one), and a client that is one project."""

import asyncio
import uuid
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from cli.stack import parts
from cli.stack.parts import LOOPBACK
from prompt_service.migrations import migrate
from prompt_service.settings import PromptSettings
from studio.contracts.base import JsonObject
from studio.settings import load_settings
from tests.support.ports import free_port
from tests.support.servers import running


@contextmanager
def prompt_engine(folder: Path, *, mongo_url: str, redis_url: str, **variables: str) -> Generator[str]:
    """Yields its address; the trace store is chDB in `folder` unless `STUDIO_CLICKHOUSE_URL` is given."""
    given = {
        "STUDIO_MONGO_URL": mongo_url,
        "STUDIO_MONGO_DATABASE": "prompts_test",
        "STUDIO_REDIS_URL": redis_url,
        "STUDIO_CLICKHOUSE_URL": f"chdb://{folder / 'traces'}",
    } | variables
    port = free_port()
    env = given | {"STUDIO_PORT": str(port)}
    part = parts.service("prompts", "prompt_service", LOOPBACK, port, env, ())
    with running(part, folder / "prompts.log"):
        yield f"http://{LOOPBACK}:{port}"


async def migrated(mongo_url: str, database: str = "prompts_test") -> None:
    await migrate(
        load_settings(
            PromptSettings,
            mongo_url=mongo_url,
            mongo_database=database,
            redis_url="redis://unused",
            clickhouse_url="chdb:///unused",
        )
    )


_WITHOUT_PROJECT = {("POST", "prompts"), ("POST", "prompts:apply"), ("POST", "render"), ("POST", "traces")}
"""Calls whose body says the project, or that have none."""


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]


class Project:
    """Calls the engine with a project of its own, so that tests share the servers and nothing else."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self.session = session
        self.url = url
        self.id = f"p{uuid.uuid4().hex[:20]}"

    async def call(
        self, method: str, path: str, body: Any = None, *, at: str | None = None, headers: JsonObject | None = None
    ) -> Answer:
        """`path` below `/api/v1`; `at` is another engine's address."""
        url = f"{at or self.url}/api/v1/{path}"
        if (method, path) not in _WITHOUT_PROJECT and not path.startswith("traces/"):
            url += f"{'&' if '?' in path else '?'}project_id={self.id}"
        async with self.session.request(method, url, json=body, headers=headers) as response:
            text = await response.read()
            return Answer(response.status, await response.json(content_type=None) if text else None, response.headers)

    async def get(self, path: str, **kwargs: Any) -> Any:
        answer = await self.call("GET", path, **kwargs)
        assert answer.status == 200, answer
        return answer.body

    async def create(self, name: str = "greet", template: str = "Hello {{ name }}", **fields: Any) -> Any:
        """A text prompt whose first version is in production."""
        body = {"name": name, "project_id": self.id, "template": template, "label": "production", **fields}
        async with self.session.post(f"{self.url}/api/v1/prompts", json=body) as response:
            assert response.status == 201, await response.text()
            return await response.json()

    async def add_version(self, template: str, name: str = "greet") -> int:
        answer = await self.call("POST", f"prompts/{name}/versions", {"template": template})
        assert answer.status == 201, answer
        return answer.body["version"]

    async def render(self, variables: JsonObject, name: str = "greet", **choice: Any) -> Answer:
        at = choice.pop("at", None)
        return await self.call("POST", f"prompts/{name}/render", {"variables": variables, **choice}, at=at)

    async def promote(self, version: int, name: str = "greet", **fields: Any) -> Answer:
        headers = fields.pop("headers", None)
        return await self.call("POST", f"prompts/{name}/promote", {"version": version, **fields}, headers=headers)


@asynccontextmanager
async def project(url: str) -> AsyncGenerator[Project]:
    async with aiohttp.ClientSession() as session:
        yield Project(session, url)


async def eventually(check: Any, *, seconds: float = 15.0) -> Any:
    """Ask until the answer is true; give it back."""
    async with asyncio.timeout(seconds):
        while not (found := await check()):  # noqa: ASYNC110 - what is awaited happens in other processes
            await asyncio.sleep(0.05)
        return found
