"""Many at once, the same thing many times, and nonsense: nothing is lost, done twice, left hanging or a bug of ours."""

import asyncio
import importlib
import pkgutil
from collections import Counter
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

import api.runs
from studio.contracts.base import JsonObject
from tests.api.conftest import Live, open_live
from tests.support.databases import sqlite_database
from tests.support.platform import worker_process
from tests.support.services import Answer

LIMIT = 8 * 1024 * 1024
RUNS = 100
NONSENSE = [
    *(b"", b"{", b"nul", b"\xff\xfe\x00", b"[" * 100_000, b'{"a":' * 100_000, b"1e999", b"NaN", b'"\\ud800"'),
    *(b"null", b"[]", b"1", b'"x"', b'{"": 1}', b'{"\\u0000": "\\u0000"}', b'{"input": NaN}', b'{"input": 1e999}'),
    *(b'{"input": "\\ud800"}', b'{"a": 1, "a": 2}', b"9" * 5000, b'{"limits": {"max_steps": 99999999999999999999}}'),
]
MEDIA_TYPES = ["application/json", "application/yaml", "text/plain", "application/json; charset=utf-7", "x"]
WAIT: JsonObject = {"id": "hear", "wait": {"signal": "go"}}


@pytest.fixture
async def live(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Live]:
    async with open_live(tmp_path, temporal_address, redis_url, sqlite_database(tmp_path)) as running:
        yield running


@pytest.fixture
async def idle(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Live]:
    """Without a worker, on the embedded stack's own database."""
    async with open_live(tmp_path, temporal_address, redis_url, sqlite_database(tmp_path), worker=False) as running:
        yield running


class TestManyRuns:
    async def test_a_hundred_at_once_on_sqlite_all_end_and_none_twice(self, idle: Live) -> None:
        """API and worker write to one SQLite file while others read: nobody is turned away, no step needs a retry."""
        await idle.workflow(
            {"id": "ask", "agent": {"message": "number {{ n }}."}, "input": {"n": "${{ input }}"}},
            {"id": "again", "agent": {"message": "and {{ n }}!"}, "input": {"n": "${{ input }}"}},
        )
        async with worker_process(idle.engine.settings):
            runs = await asyncio.gather(*(idle.start(input=number) for number in range(RUNS)))
            reading = asyncio.gather(*(idle.api.get(f"/runs/{run_id}") for run_id in runs))
            ended = await asyncio.gather(*(idle.api.finished(run_id, 60) for run_id in runs))
            assert {answer.status for answer in await reading} == {200}
        assert {run["status"] for run in ended} == {"succeeded"}
        assert {step["attempt"] for run in ended for step in run["steps"]} == {1}
        asked = Counter(call.text for call in idle.upstream.calls)
        assert asked == Counter([f"number {n}." for n in range(RUNS)] + [f"and {n}!" for n in range(RUNS)])


class TestNonsense:
    async def test_no_body_at_any_address_of_a_run_is_a_bug_of_ours(self, live: Live) -> None:
        await live.workflow(WAIT)
        addresses = addresses_of_runs()
        assert len(addresses) > 5
        for method, path in addresses:
            run_id = await live.start()
            where = path.replace("{run_id}", run_id).replace("{step_id}", "hear").replace("{name}", "other")
            bodies = [(body, "application/json") for body in NONSENSE] + [(b'{"a": 1}', kind) for kind in MEDIA_TYPES]
            answers = await asyncio.gather(
                *(live.api.request(method, where, data=data, content_type=kind) for data, kind in bodies)
            )
            for (data, kind), answer in zip(bodies, answers, strict=True):
                assert answer.status < 500, (method, path, data[:40], kind, answer.body[:500])
                if answer.status >= 400:
                    assert answer.headers["content-type"] == "application/problem+json"
            await live.api.post(f"/runs/{run_id}/cancel")
            assert (await live.api.finished(run_id))["status"] in {"cancelled", "terminated"}

    async def test_a_body_of_exactly_the_limit_runs_and_one_byte_more_does_not(self, live: Live) -> None:
        await live.workflow({"id": "count", "transform": "${{ size(input) }}"})

        async def start(size: int) -> Answer:
            around = b'{"input": ""}'
            body = b'{"input": "%b"}' % (b"x" * (size - len(around)))
            return await live.api.request(
                "POST", "/workflows/test/runs", data=body, content_type="application/json", wait=30
            )

        assert (await start(LIMIT)).ok(200)["output"] == LIMIT - len(b'{"input": ""}')
        (await start(LIMIT + 1)).problem(413, "payload-too-large")


def addresses_of_runs() -> list[tuple[str, str]]:
    """Every method and path below `/runs/{run_id}` that takes a body."""
    modules = [importlib.import_module(f"api.runs.{module.name}") for module in pkgutil.iter_modules(api.runs.__path__)]
    routers = [module.router for module in modules if hasattr(module, "router")]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    return [
        (method, route.path_format.removeprefix("/api/v1"))
        for route in routes
        if route.path.startswith("/api/v1/runs/{run_id}/")
        for method in sorted({"POST", "PUT", "PATCH"}.intersection(route.methods or ()))
    ]
