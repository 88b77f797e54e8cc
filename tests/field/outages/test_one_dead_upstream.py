"""One dead upstream, or a slow one, must not hurt those who call the others."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.support.llm_engine import StartEngine
from tests.support.scripted_upstream import ScriptedUpstream

NOBODY = "http://127.0.0.1:9/v1"


async def get(url: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.json()


class Lister:
    """An upstream whose `/models` a test changes, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.body = '{"data": [{"id": "m"}]}'
        self.headers: dict[str, str] = {"Content-Type": "application/json"}
        self.silent = False
        self.url = ""

    async def models(self, _request: web.Request) -> web.Response:
        self.asked += 1
        if self.silent:
            await asyncio.Event().wait()
        return web.Response(status=self.status, text=self.body, headers=self.headers)


@contextlib.asynccontextmanager
async def listing() -> AsyncGenerator[Lister]:
    lister = Lister()
    app = web.Application()
    app.router.add_get("/v1/models", lister.models)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    lister.url = f"{site.name}/v1"
    try:
        yield lister
    finally:
        await runner.cleanup()


def beside(upstream: ScriptedUpstream, *others: tuple[str, str]) -> dict[str, Any]:
    named = [{"name": name, "base_url": url} for name, url in others]
    return {"upstreams": [{"name": "good", "base_url": upstream.url}, *named], "model_aliases": {}}


class TestReadiness:
    async def test_ready_and_degraded_beside_a_good_one(
        self, start_engine: StartEngine, upstream: ScriptedUpstream
    ) -> None:
        async with start_engine(settings=beside(upstream, ("dead", NOBODY))) as url:
            status, body = await get(url + "/health/ready")
        assert (status, body["status"], body["down"]) == (200, "ready", [])
        assert [one["dependency"] for one in body["degraded"]] == ["dead"]
        assert "'dead' does not answer" in body["degraded"][0]["error"]
        assert "127.0.0.1" not in str(body)

    async def test_not_ready_when_none_answers(self, start_engine: StartEngine, upstream: ScriptedUpstream) -> None:
        settings = beside(upstream, ("dead", NOBODY))
        settings["upstreams"][0]["base_url"] = NOBODY
        async with start_engine(settings=settings) as url:
            status, body = await get(url + "/health/ready")
        assert (status, body["status"]) == (503, "not_ready")
        assert sorted(body["down"]) == ["dead", "good"]
        assert body["degraded"] == []

    async def test_probes_do_not_reach_the_provider_each_time(self, start_engine: StartEngine) -> None:
        async with listing() as lister, start_engine(base_url=lister.url) as url:
            found = await asyncio.gather(*(get(url + "/health/ready") for _ in range(20)))
            assert {status for status, _ in found} == {200}
            assert lister.asked == 1

    @pytest.mark.parametrize(
        ("status", "headers", "body", "says"),
        [
            (200, {"Content-Type": "text/html"}, "<html>Sign in to the Wi-Fi</html>", "check its base_url"),
            (307, {"Location": "/login"}, "", "correct its base_url"),
            (401, {}, "{}", "status 401"),
            (503, {}, "", "status 503"),
        ],
    )
    async def test_an_answer_that_is_no_listing_says_what_is_wrong(
        self, start_engine: StartEngine, status: int, headers: dict[str, str], body: str, says: str
    ) -> None:
        async with listing() as lister, start_engine(base_url=lister.url) as url:
            lister.status, lister.headers, lister.body = status, headers, body
            ready, found = await get(url + "/health/ready")
        assert ready == 503
        assert says in found["dependencies"][0]["detail"]

    @pytest.mark.parametrize("body", ['{"data": 5}', "[]", '{"data": [5, {"id": 5}, {"id": "m"}]}', "null"])
    async def test_odd_listings_hurt_nobody(self, start_engine: StartEngine, body: str) -> None:
        async with listing() as lister, start_engine(base_url=lister.url) as url:
            lister.body = body
            assert (await get(url + "/health/ready"))[0] == 200
            assert (await get(url + "/v1/models"))[0] == 200


class TestModels:
    async def test_a_silent_upstream_costs_one_listing_a_second_and_the_next_nothing(
        self, start_engine: StartEngine, upstream: ScriptedUpstream
    ) -> None:
        async with listing() as lister, start_engine(settings=beside(upstream, ("silent", lister.url))) as url:
            lister.silent = True
            assert {entry["owned_by"] for entry in (await get(url + "/v1/models"))[1]["data"]} == {"good"}
            await get(url + "/health/ready")  # until the question has failed
            began = time.monotonic()
            await asyncio.gather(*(get(url + "/v1/models") for _ in range(5)))
            assert time.monotonic() - began < 0.5
            assert lister.asked == 1

    async def test_what_it_listed_last_stays_when_it_goes(
        self, start_engine: StartEngine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("llm_service.upstreams.catalog.LISTED_SECONDS", 0.0)
        async with listing() as lister, start_engine(base_url=lister.url) as url:
            first = (await get(url + "/v1/models"))[1]
            assert "up/m" in {entry["id"] for entry in first["data"]}
            for status in (500, 429, 401):
                lister.status, lister.body = status, "{}"
                assert (await get(url + "/v1/models"))[1] == first
            assert (await get(url + "/v1/models/up/m"))[0] == 200
            lister.status, lister.body = 200, '{"data": [{"id": "n"}]}'
            monkeypatch.setattr("llm_service.upstreams.catalog.FAILED_SECONDS", 0.0)
            ids = {entry["id"] for entry in (await get(url + "/v1/models"))[1]["data"]}
            assert ids == {"small", "up/n"}
