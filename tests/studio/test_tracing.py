"""The sender against a trace store that misbehaves."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import cast

import orjson
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from studio import tracing
from studio.contracts.base import JsonObject
from studio.tracing import SpanSender

Answer = Callable[[int], web.Response]
ACCEPTED: JsonObject = {"accepted": 1, "rejected": []}


class Store:
    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.batches: asyncio.Queue[list[str]] = asyncio.Queue()
        self._count = 0

    async def take(self, request: web.Request) -> web.Response:
        self._count += 1
        document = orjson.loads(await request.read())
        self.batches.put_nowait([span["name"] for span in document["spans"]])
        return self._answer(self._count)

    async def next(self) -> list[str]:
        async with asyncio.timeout(10):
            return await self.batches.get()


@asynccontextmanager
async def sending(answer: Answer) -> AsyncGenerator[tuple[Store, SpanSender]]:
    store = Store(answer)
    app = web.Application()
    app.router.add_post("/api/v1/traces", store.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port = cast("tuple[str, int]", runner.addresses[0])[1]
        async with SpanSender(f"http://127.0.0.1:{port}") as sender:
            yield store, sender
    finally:
        await runner.cleanup()


def dropped(reason: str) -> float:
    return REGISTRY.get_sample_value("studio_spans_dropped_total", {"reason": reason}) or 0.0


class TestSend:
    @pytest.mark.parametrize(
        "body", [b"<html>", b"", b"null", b"[]", b'{"accepted": "x"}', b'{"accepted": 1, "rejected": 5}']
    )
    async def test_goes_on_after_an_answer_that_cannot_be_read(self, body: bytes) -> None:
        def answer(count: int) -> web.Response:
            return web.Response(status=202, body=body) if count == 1 else web.json_response(ACCEPTED, status=202)

        before = dropped("answer_unreadable")
        async with sending(answer) as (store, sender):
            sender.send_document({"name": "a"})
            assert await store.next() == ["a"]
            sender.send_document({"name": "b"})
            assert await store.next() == ["b"]
        assert dropped("answer_unreadable") == before + 1

    async def test_keeps_a_bounded_number_of_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tracing, "BUFFERED_BYTES", 1000)
        before = dropped("buffer_full")
        async with sending(lambda _: web.json_response(ACCEPTED, status=202)) as (store, sender):
            for number in range(5):
                sender.send_document({"name": str(number), "input": "x" * 350})
            assert await store.next() == ["3", "4"]
        assert dropped("buffer_full") == before + 3
