"""What every answer has, also that to a bug of ours."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from studio.settings import StudioSettings
from studio.web.app import create_base_app
from studio.web.health import Checks
from tests.support.asgi_server import serving


@asynccontextmanager
async def _nothing(_app: FastAPI) -> AsyncGenerator[None]:
    yield


def _no_checks(_app: FastAPI) -> Checks:
    return Checks()


async def _tokens() -> AsyncGenerator[bytes]:
    yield b"first"
    raise KeyError("late")


@pytest.fixture
async def http() -> AsyncGenerator[aiohttp.ClientSession]:
    app = create_base_app(
        service="test", title="t", description="d", settings=StudioSettings(), lifespan=_nothing, checks=_no_checks
    )

    @app.get("/bug")
    async def bug() -> None:  # pyright: ignore[reportUnusedFunction]
        raise KeyError("boom")

    @app.get("/late")
    async def late() -> StreamingResponse:  # pyright: ignore[reportUnusedFunction]
        return StreamingResponse(_tokens())

    async with serving(app) as url, aiohttp.ClientSession(url) as session:
        yield session


class TestBug:
    async def test_is_a_problem_that_names_the_request(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/bug", headers={"X-Request-Id": "r-1"}) as answer:
            assert answer.status == 500
            assert answer.headers["X-Request-Id"] == "r-1"
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert (await answer.json(content_type=None))["type"] == "urn:studio:internal-error"

    async def test_in_the_middle_of_an_answer_breaks_the_connection(self, http: aiohttp.ClientSession) -> None:
        async with http.get("/late") as answer:
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
