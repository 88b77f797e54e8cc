"""How a worker starts and leaves, as a process of its own."""

import asyncio
import signal
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from activities.worker import open_worker
from studio.db.migrate import migrate
from tests.support.platform import Engine, open_engine, scripted_llm_engine, worker_process, worker_settings
from tests.support.ports import free_port
from tests.support.scripted_upstream import Reply
from tests.support.span_sink import SpanSink


@pytest.fixture
async def engine(tmp_path: Path, temporal_address: str, redis_url: str) -> AsyncGenerator[Engine, None]:
    """Without a worker: each test starts its own."""
    async with SpanSink() as spans, scripted_llm_engine(spans.url) as (llm_url, upstream):
        settings = worker_settings(
            tmp_path, temporal_address=temporal_address, redis_url=redis_url, llm_url=llm_url, prompt_url=spans.url
        )
        async with open_engine(settings, upstream, spans, worker=False) as served:
            yield served


def with_drain(engine: Engine, seconds: float) -> Any:
    return worker_process(engine.settings.model_copy(update={"worker_drain_seconds": seconds}))


ONCE = {"id": "ask", "agent": {}, "retry": {"max_attempts": 1}}


class TestDrain:
    async def test_a_stream_that_outlasts_it_is_taken_over_and_costs_no_attempt(self, engine: Engine) -> None:
        engine.upstream.when("", Reply(text="a b c", hold_after=1), Reply(text="a b c"))
        async with with_drain(engine, 0.3) as first:
            handle = await engine.start([ONCE], "go")
            await engine.upstream.wait_for_calls(1, "held")
            assert await first.stop(signal.SIGTERM) == 0
        assert engine.upstream.calls[0].outcome == "abandoned"
        async with worker_process(engine.settings):
            assert await handle.result() == "a b c"
        run = await engine.run(handle.id)
        assert (run.status, run.steps[0].status, run.steps[0].attempt) == ("succeeded", "succeeded", 2)
        assert run.usage.llm_calls == len(engine.upstream.calls) == 2  # what was asked twice is told
        events = await engine.events(handle.id)
        assert [event.data for event in events if event.type == "step.retrying"] == [{"superseded_attempt": 1}]
        types = [event.type for event in events if event.type.startswith(("run.", "step."))]
        assert types == ["run.started", "step.started", "step.retrying", "step.succeeded", "run.succeeded"]

    async def test_attempts_that_failed_before_still_count(self, engine: Engine) -> None:
        refused = Reply(status=500)
        engine.upstream.when("", refused, Reply(text="a b", hold_after=1), refused)
        retry = {"max_attempts": 2, "initial_interval": "10ms"}
        async with with_drain(engine, 0.3) as first:
            handle = await engine.start([ONCE | {"retry": retry}], "go")
            await engine.upstream.wait_for_calls(1, "held")
            await first.stop(signal.SIGTERM)
        async with worker_process(engine.settings):
            await asyncio.gather(handle.result(), return_exceptions=True)
        run = await engine.run(handle.id)
        assert (run.status, run.steps[0].attempt, run.usage.llm_calls) == ("failed", 3, 3)

    async def test_a_second_signal_ends_it_at_once(self, engine: Engine) -> None:
        engine.upstream.default = Reply(text="a b", hold_after=1)
        async with with_drain(engine, 600) as worker:
            await engine.start([ONCE])
            await engine.upstream.wait_for_calls(1, "held")
            worker.send_signal(signal.SIGTERM)
            await worker.logged("worker.stopping")
            assert await worker.stop(signal.SIGINT) == 128 + signal.SIGINT


class TestTuner:
    async def test_one_that_watches_the_machine_carries_runs_out(self, engine: Engine) -> None:
        settings = engine.settings.model_copy(update={"worker_tuner": "resource", "worker_max_pollers": 5})
        async with open_worker(settings) as worker, worker:
            handle = await engine.start([ONCE], "go")
            assert await handle.result() == "Hello from the script."


class TestStart:
    async def test_a_worker_waits_for_what_it_needs_and_says_so(self, tmp_path: Path, temporal_address: str) -> None:
        """It does not need Redis, which is away here."""
        nowhere = f"redis://127.0.0.1:{free_port()}"
        settings = worker_settings(tmp_path, temporal_address=temporal_address, redis_url=nowhere)
        async with worker_process(settings) as worker:
            await worker.logged("studio migrate")
            await migrate(settings)
            await worker.logged("worker.started")
            assert await worker.stop(signal.SIGTERM) == 0

    async def test_a_worker_that_waits_can_be_stopped(self, tmp_path: Path) -> None:
        nowhere = f"127.0.0.1:{free_port()}"
        settings = worker_settings(tmp_path, temporal_address=nowhere, redis_url=f"redis://{nowhere}")
        async with worker_process(settings) as worker:
            await worker.logged("worker.waiting")
            assert await worker.stop(signal.SIGTERM) == 0
