import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from fastapi import FastAPI

from studio.settings import StudioSettings
from studio.web.app import create_base_app
from studio.web.health import Checks
from tests.support.asgi_server import serving


@asynccontextmanager
async def _nothing(_app: FastAPI) -> AsyncGenerator[None]:
    yield


def _no_checks(_app: FastAPI) -> Checks:
    return Checks()


class TestDescription:
    async def test_others_are_answered_while_it_is_made(self, monkeypatch: pytest.MonkeyPatch) -> None:
        app = create_base_app(
            service="test", title="t", description="d", settings=StudioSettings(), lifespan=_nothing, checks=_no_checks
        )
        others, describe = threading.Event(), app.openapi

        def slow() -> dict[str, Any]:
            assert others.wait(20), "nobody else was answered"
            return describe()

        monkeypatch.setattr(app, "openapi", slow)
        async with serving(app) as url, aiohttp.ClientSession(url) as session:
            described = asyncio.create_task(session.get("/openapi.json"))
            async with session.get("/health/live") as answer:
                assert answer.status == 200
            others.set()
            answer = await described
            assert (answer.status, (await answer.json())["info"]["title"]) == (200, "t")
