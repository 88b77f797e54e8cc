"""What holds when things die, and what Temporal gets to see."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from studio.contracts.base import JsonObject
from tests.support.platform import Engine, open_engine, scripted_llm_engine, worker_process, worker_settings
from tests.support.scripted_upstream import Reply
from tests.support.span_sink import SpanSink


@pytest.fixture
async def engine(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Engine, None]:
    """Without a worker: each test starts its own."""
    async with SpanSink() as spans, scripted_llm_engine(spans.url) as (llm_url, upstream):
        settings = worker_settings(
            tmp_path, temporal_address=temporal_address, redis_url=redis_url, llm_url=llm_url, prompt_url=spans.url
        )
        async with open_engine(settings, upstream, spans, worker=False) as running:
            yield running


def ask(step_id: str) -> JsonObject:
    return {"id": step_id, "agent": {"message": f"step {step_id}"}}


class TestWorkerStopped:
    async def test_a_call_under_way_is_finished_first(self, engine: Engine) -> None:
        engine.upstream.default = Reply(text="a b c", hold_after=1)
        async with worker_process(engine.settings) as worker:
            handle = await engine.start([ask("one")])
            await engine.upstream.wait_for_calls(1, "held")
            worker.send_signal(signal.SIGTERM)
            await worker.logged("worker.stopping")
            engine.upstream.release()
            assert await worker.wait() == 0
        async with worker_process(engine.settings):
            assert await handle.result() == "a b c"
        assert len(engine.upstream.calls) == 1


SECRET = "the-quick-brown-fox"


async def raw_history(engine: Engine, handle: WorkflowHandle[Any, Any]) -> bytes:
    """As somebody without the key sees it."""
    plain = await Client.connect(engine.settings.temporal_address)
    history = await plain.get_workflow_handle(handle.id).fetch_history()
    return b"".join(event.SerializeToString() for event in history.events)


class TestHistory:
    async def test_payloads_cannot_be_read_and_names_can(self, engine: Engine) -> None:
        engine.upstream.default = Reply(text=f"answer {SECRET}")
        async with worker_process(engine.settings):
            handle = await engine.start([{"id": "ask", "agent": "poet", "input": SECRET}], agents={"poet": {}})
            await handle.result()
        history = await raw_history(engine, handle)
        assert SECRET.encode() not in history
        assert "agent poet · turn 1".encode() in history

    async def test_failures_cannot_be_read(self, engine: Engine) -> None:
        engine.upstream.default = Reply(status=400, error={"error": {"message": f"no {SECRET}"}})
        async with worker_process(engine.settings):
            handle = await engine.start([ask("one")])
            await asyncio.gather(handle.result(), return_exceptions=True)
        assert SECRET in str((await engine.run(handle.id)).error)
        assert SECRET.encode() not in await raw_history(engine, handle)

    async def test_large_payloads_are_kept_apart_and_a_definition_once(self, engine: Engine) -> None:
        big = "0123456789abcdef" * 65_536
        steps: list[JsonObject] = [
            {"id": "pass", "agent": {"message": "short"}, "input": {"big": "${{ input }}"}},
            {"id": "last", "transform": "${{ input }}"},
        ]
        async with worker_process(engine.settings):
            handle = await engine.start(steps, big, description=random_text(300_000))
            assert await handle.result() == big
            again = await engine.start(steps, "small", description=random_text(300_000))
            await again.result()
        assert len(await raw_history(engine, handle)) < 64 * 1024
        assert len(await raw_history(engine, again)) < 64 * 1024
        first, second = await definition_claim(engine, handle), await definition_claim(engine, again)
        assert first == second


def random_text(length: int) -> str:
    """Does not compress well, and is the same each time."""
    state, pieces = 1, list[str]()
    while len(pieces) < length:
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        pieces.append(chr(33 + (state >> 33) % 90))
    return "".join(pieces)


async def definition_claim(engine: Engine, handle: WorkflowHandle[Any, Any]) -> bytes:
    """What stands in the history in place of the definition: the second argument of the start."""
    history = await handle.fetch_history()
    return history.events[0].workflow_execution_started_event_attributes.input.payloads[1].data
