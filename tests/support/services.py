"""The API on a real socket, over a migrated database of the test's own."""

import asyncio
import io
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import orjson
from pydantic import SecretStr

from api.app import create_app
from api.settings import ApiSettings
from studio.contracts.base import Json, JsonObject
from studio.contracts.ids import IdPrefix, new_id
from tests.support.asgi_server import serving
from tests.support.databases import migrate_new
from tests.support.ports import free_port

SECRET_KEY = SecretStr("MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=")


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    def ok(self, status: int = 200) -> Any:
        """The JSON body of an answer that must have this status."""
        assert self.status == status, (self.status, self.body[:2000])
        return self.json if self.body else None

    def problem(self, status: int, code: str) -> JsonObject:
        """The problem document of an answer that must be this problem."""
        assert self.status == status, (self.status, self.body[:2000])
        assert self.headers["content-type"] == "application/problem+json"
        document: JsonObject = self.json
        assert document["type"] == f"urn:studio:{code}", document
        assert document["status"] == status
        assert document["detail"]
        return document

    def places(self, status: int = 422, code: str = "invalid-input") -> list[list[str | int]]:
        """Where the input is wrong."""
        errors = cast("list[JsonObject]", self.problem(status, code)["errors"])
        return [error["loc"] for error in errors]


@dataclass(frozen=True)
class RunningApi:
    url: str
    settings: ApiSettings
    http: aiohttp.ClientSession

    async def request(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        data: bytes | str | None = None,
        content_type: str | None = None,
        headers: dict[str, str] | None = None,
        **query: Any,
    ) -> Answer:
        """`path` is below `/api/v1`, or whole when it begins with two slashes; `body` is sent as JSON."""
        sent = {"Content-Type": content_type} if content_type else {}
        if data is None and body is not None:
            data, sent = orjson.dumps(body), {"Content-Type": content_type or "application/json"}
        payload = data.encode() if isinstance(data, str) else data
        address = path[1:] if path.startswith("//") else f"/api/v1{path}"
        pairs = [
            (key, str(one))
            for key, value in query.items()
            for one in (cast("list[Any]", value) if isinstance(value, list) else [value])
        ]
        async with self.http.request(
            method,
            address,
            data=None if payload is None else io.BytesIO(payload),
            params=pairs or None,
            headers=sent | (headers or {}),
            skip_auto_headers=["Content-Type"],
        ) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return Answer(answer.status, found, await answer.read())

    async def get(self, path: str, **query: Any) -> Answer:
        return await self.request("GET", path, **query)

    async def post(self, path: str, body: Json = None, **query: Any) -> Answer:
        return await self.request("POST", path, body, **query)

    async def patch(self, path: str, body: Json = None, **query: Any) -> Answer:
        return await self.request("PATCH", path, body, **query)

    async def until(self, path: str, holds: Callable[[JsonObject], bool], seconds: float = 30) -> JsonObject:
        """Ask until what `path` answers is so."""
        async with asyncio.timeout(seconds):
            while not holds(found := (await self.get(path)).ok()):  # noqa: ASYNC110 - HTTP has no event to wait for
                await asyncio.sleep(0.05)
        return found

    async def yaml(self, path: str, text: str, **query: Any) -> Answer:
        return await self.request("POST", path, data=text, content_type="application/yaml", **query)

    async def finished(self, run_id: str, seconds: int = 30) -> JsonObject:
        """The run once it has ended, through the events that end with it."""
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with self.http.get(f"/api/v1/runs/{run_id}/events", timeout=timeout) as answer:
            await answer.read()
        return (await self.get(f"/runs/{run_id}")).ok()


def api_settings(folder: Path, **overrides: Any) -> ApiSettings:
    """Parts that are not given are where nobody listens."""
    nowhere = f"127.0.0.1:{free_port()}"
    values: dict[str, Any] = {
        "data_dir": folder,
        "temporal_address": nowhere,
        "redis_url": f"redis://{nowhere}",
        "prompt_url": f"http://{nowhere}",
        "temporal_task_queue": new_id(IdPrefix.RUN),
        "secret_keys": [SECRET_KEY],
    }
    return ApiSettings(**values | overrides)


@asynccontextmanager
async def serving_api(settings: ApiSettings, *, migrated: bool = True) -> AsyncGenerator[RunningApi]:
    if migrated:
        await migrate_new(settings.resolved_database_url())
    async with serving(create_app(settings)) as url, aiohttp.ClientSession(url) as http:
        yield RunningApi(url, settings, http)
