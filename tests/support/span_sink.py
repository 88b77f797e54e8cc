"""The prompt engine's edge that span senders talk to: takes spans as the contract says and keeps them."""

import asyncio
from typing import Any, Self, cast

from aiohttp import web

from studio.contracts.spans import Span


class SpanSink:
    """`POST /api/v1/traces` on loopback. A span that breaks the contract fails the request, and so the test."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.url = ""
        self._changed = asyncio.Event()

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_routes([web.post("/api/v1/traces", self._take), *self.routes()])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = cast("tuple[str, int]", self._runner.addresses[0])[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def routes(self) -> list[web.RouteDef]:
        """What else a subclass answers."""
        return []

    async def __aexit__(self, *_exc: object) -> None:
        await self._runner.cleanup()

    async def wait_for(self, count: int) -> list[Span]:
        """All spans so far, once there are `count`."""
        async with asyncio.timeout(10):
            while len(self.spans) < count:
                await self._changed.wait()
        return self.spans

    async def one(self) -> Span:
        """The only span."""
        spans = await self.wait_for(1)
        assert len(spans) == 1
        return spans[0]

    async def _take(self, request: web.Request) -> web.Response:
        document: dict[str, Any] = await request.json()
        spans = [Span.model_validate(span) for span in document["spans"]]
        assert all(span.keys() <= Span.model_fields.keys() for span in document["spans"])
        self.spans.extend(spans)
        self._changed.set()
        self._changed = asyncio.Event()
        return web.json_response({"accepted": len(spans), "rejected": []}, status=202)
