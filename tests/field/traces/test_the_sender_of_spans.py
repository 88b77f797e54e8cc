"""Our own sender: one span that a trace store refuses, or falls over, costs no other span."""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import orjson
import pytest
from aiohttp import web
from prometheus_client import REGISTRY

from studio.contracts.base import JsonObject
from studio.contracts.ids import new_span_id, new_trace_id
from studio.contracts.spans import Span
from studio.tracing import SpanSender
from tests.support.prompt_engine import Project, eventually

Verdict = Callable[[list[JsonObject]], int]
"""The status that a batch of spans is answered with."""


class Store:
    def __init__(self, verdict: Verdict) -> None:
        self._verdict = verdict
        self.stored: list[str] = []
        self.asked = 0

    async def take(self, request: web.Request) -> web.Response:
        spans: list[JsonObject] = orjson.loads(await request.read())["spans"]
        self.asked += 1
        status = self._verdict(spans)
        if status == 202:
            self.stored += [span["name"] for span in spans]
        return web.json_response({"accepted": len(spans), "rejected": []}, status=status)


@asynccontextmanager
async def store_that(verdict: Verdict) -> AsyncGenerator[tuple[Store, SpanSender]]:
    store = Store(verdict)
    app = web.Application(client_max_size=2**26)
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


def dropped() -> float:
    return REGISTRY.get_sample_value("studio_spans_dropped_total", {"reason": "refused"}) or 0.0


NAMES = [f"s{index}" for index in range(300)]


class TestOneSpanThatIsRefused:
    @pytest.mark.parametrize("status", [400, 413, 422, 500])
    async def test_is_put_apart_and_the_rest_arrive(self, status: int):
        before = dropped()
        bad = {"s0", "s150", "s299"}
        verdict: Verdict = lambda spans: 202 if bad.isdisjoint(span["name"] for span in spans) else status  # noqa: E731
        async with store_that(verdict) as (store, sender):
            for name in NAMES:
                sender.send_document({"name": name})
            await eventually(lambda: _true(len(store.stored) == 297))
            await eventually(lambda: _true(dropped() == before + 3))
            sender.send_document({"name": "later"})
            await eventually(lambda: _true("later" in store.stored))
        assert sorted(store.stored) == sorted([*(set(NAMES) - bad), "later"])

    async def test_a_store_that_fails_at_all_loses_nothing(self):
        before, broken = dropped(), [True]
        async with store_that(lambda _: 500 if broken else 202) as (store, sender):
            for name in NAMES:
                sender.send_document({"name": name})
            await eventually(lambda: _true(store.asked > 30))
            broken.clear()
            await eventually(lambda: _true(len(store.stored) == len(NAMES)))
        assert sorted(store.stored) == sorted(NAMES)
        assert dropped() == before


async def _true(found: bool) -> bool:
    return found


def deep(levels: int) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = [value]
    return value


class TestWhatCannotBeWritten:
    @pytest.mark.parametrize(
        "held", ["half \ud83d", 2**80, deep(90), deep(150), deep(400), float("nan"), {"a": [-(2**70), {"b": "\udc00"}]}]
    )
    async def test_arrives_as_near_to_it_as_json_allows(self, prompts: Project, prompt_url: str, held: Any):
        now = datetime.now(UTC)
        base: JsonObject = {"name": "call", "kind": "llm", "project_id": prompts.id, "prompt_tokens": 7}
        base |= {"started_at": now, "ended_at": now}
        spans = [
            Span.model_validate({"trace_id": new_trace_id(), "span_id": new_span_id(), **base, **more})
            for more in ({"input": held}, {"params": {"x": held}}, {"output": "good"})
        ]
        async with SpanSender(prompt_url) as sender:
            for span in spans:
                sender.send(span)
            document = spans[0].model_dump() | {"trace_id": new_trace_id()}
            document |= {"started_at": now.isoformat(), "ended_at": now.isoformat()}
            sender.send_document(document)
            listed = await eventually(lambda: _four(prompts))
        assert all(item["totals"]["prompt_tokens"] == 7 for item in listed)


async def _four(project: Project) -> Any:
    items = (await project.get("traces"))["items"]
    return items if len(items) == 4 else None
