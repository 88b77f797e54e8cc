"""Every door at which a JSON Schema is stored, or a value is checked against one."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from studio.contracts.base import Json, JsonObject

PATIENCE = 300
GIVEN = "${{ input.value }}"
OTHER = "w1"
"""The workflow that is stored first: somebody else's."""


@dataclass
class Site:
    """The stack, and what is asked of it for one schema and value; each document has a name of its own."""

    http: aiohttp.ClientSession
    urls: dict[str, str]
    answer: str = ""
    """What the model says."""
    count: int = 0
    took: float = 0
    longest: float = 0
    """That somebody else waited meanwhile, in seconds."""

    async def send(self, path: str, body: Json = None, *, service: str = "api", timed: bool = False) -> Any:
        data = None if body is None else orjson.dumps(body)
        method = "GET" if body is None else "POST"
        began = time.perf_counter()
        headers = {"Content-Type": "application/json"}
        async with self.http.request(method, self.urls[service] + path, data=data, headers=headers) as answer:
            text = await answer.read()
        if timed:
            self.took = time.perf_counter() - began
        if answer.status >= 500:
            raise RuntimeError(f"{path}: {answer.status} {text[:500]!r}")
        return orjson.loads(text)

    async def store(self, *steps: Json, timed: bool = False, **fields: Json) -> str:
        self.count += 1
        document = {"name": f"w{self.count}", "pattern": "sequential", "steps": list(steps), **fields}
        stored = await self.send("/workflows", document, timed=timed)
        return str(stored.get("name"))

    async def run(self, workflow: str, value: Json, *, timed: bool = False) -> JsonObject:
        """Until it has ended, or waits for somebody."""
        began = time.perf_counter()
        run = await self.send(f"/workflows/{workflow}/runs", {"input": {"value": value}})
        async with asyncio.timeout(PATIENCE):
            while run["status"] in {"queued", "running"}:
                await asyncio.sleep(0.02)
                run = await self.send(f"/runs/{run['id']}")
        if timed:
            self.took = time.perf_counter() - began
        return run


def whole(schema: JsonObject) -> JsonObject:
    return {"type": "object", "properties": {"value": {**schema, "$id": "urn:case"}}}


COPY: JsonObject = {"id": "a", "transform": GIVEN}
Door = Callable[[Site, JsonObject, Json], Awaitable[object]]


async def store_input(site: Site, schema: JsonObject, _: Json) -> None:
    await site.store(COPY, input_schema=whole(schema), timed=True)


async def store_output(site: Site, schema: JsonObject, _: Json) -> None:
    await site.store({**COPY, "output_schema": schema}, timed=True)


async def store_written(site: Site, schema: JsonObject, value: Json) -> None:
    child = await site.store(COPY, input_schema=whole(schema))
    await site.store({"id": "a", "workflow": child, "input": {"value": value}}, timed=True)


async def start(site: Site, schema: JsonObject, value: Json) -> None:
    name = await site.store({"id": "a", "transform": 1}, input_schema=whole(schema))
    await site.send(f"/workflows/{name}/runs", {"input": {"value": value}}, timed=True)


async def batch(site: Site, schema: JsonObject, value: Json) -> None:
    name = await site.store({"id": "a", "transform": 1}, input_schema=whole(schema))
    await site.send(f"/workflows/{name}/runs:batch", {"items": [{"input": {"value": value}}] * 3}, timed=True)


async def schedule(site: Site, schema: JsonObject, value: Json) -> None:
    name = await site.store(COPY, input_schema=whole(schema))
    body: JsonObject = {"name": name, "workflow": name, "cron": "0 0 1 1 *", "input": {"value": value}}
    await site.send("/schedules", body, timed=True)


async def output(site: Site, schema: JsonObject, value: Json) -> None:
    await site.run(await site.store({**COPY, "output_schema": schema}), value, timed=True)


async def child_input(site: Site, schema: JsonObject, value: Json) -> None:
    child = await site.store({"id": "a", "transform": 1}, input_schema=whole(schema))
    await site.run(await site.store({"id": "a", "workflow": child, "input": {"value": GIVEN}}), value, timed=True)


async def resolved(site: Site, schema: JsonObject, value: Json) -> None:
    step: JsonObject = {"id": "a", "transform": "${{ 1 / (input.value - 1) }}", "output_schema": schema}
    run = await site.run(await site.store(step, on_failure="pause"), 1)
    await site.send(f"/runs/{run['id']}/steps/a/resolve", {"action": "done", "output": value}, timed=True)


async def answered(site: Site, schema: JsonObject, value: Json) -> None:
    site.answer = orjson.dumps({"value": value}).decode()
    step: JsonObject = {"id": "a", "agent": "asked", "cache": {"ttl": "1h"}, "output_schema": whole(schema)}
    await site.run(await site.store(step), site.count, timed=True)


async def store_prompt(site: Site, schema: JsonObject, _: Json, *, timed: bool = True) -> str:
    site.count += 1
    body = {"name": f"p{site.count}", "template": "{{ value }}", "variables": whole(schema), "label": "production"}
    await site.send("/prompts", body, service="prompts", timed=timed)
    return f"p{site.count}"


async def render(site: Site, schema: JsonObject, value: Json) -> None:
    name = await store_prompt(site, schema, None, timed=False)
    await site.send(f"/prompts/{name}/render", {"variables": {"value": value}}, service="prompts", timed=True)


DOORS: dict[str, tuple[str, Door]] = {
    "a workflow's input_schema, stored": ("api", store_input),
    "a step's output_schema, stored": ("api", store_output),
    "a child's written input, stored": ("api", store_written),
    "a run's input": ("api", start),
    "the inputs of a batch of three": ("api", batch),
    "a schedule's input": ("api", schedule),
    "a step's output, in a run": ("worker", output),
    "a child's input, in a run": ("worker", child_input),
    "an output that resolves a step": ("worker", resolved),
    "a model's answer, kept": ("worker", answered),
    "a prompt's variables, stored": ("prompts", store_prompt),
    "a prompt's variables, rendered": ("prompts", render),
}
